// The tools that draw on the stage.
//
// Each has `down`, `move` and `up` for a pointer at a point of the picture, `cancel`, and `draw` in
// stage coordinates; those that need several clicks have `confirm`. What they make is handed to
// the studio (see studio.js), which sends it to the server.

import { stroke } from "./labels.js";

const CLOSE = 10; // screen pixels from the first corner at which a click closes a polygon
const CLOSE_TOUCH = 22; // of a finger

class Tool {
  constructor(studio) {
    this.studio = studio;
  }

  down() {}
  move() {}
  up() {}
  confirm() {}
  cancel() {}
  draw() {}

  /** Whether something is begun that Escape would give up. */
  get isBusy() {
    return false;
  }

  /** Whether it changes the labels that are shown, before the server knows. */
  get isPainting() {
    return false;
  }
}

/** Moves the picture. */
export class Hand extends Tool {
  cursor = "grab";
  hint = "Drag to move the picture; the wheel zooms.";

  down(point, event) {
    this.last = { x: event.clientX, y: event.clientY };
  }

  move(point, event) {
    if (!this.last) return;
    this.studio.view.move(event.clientX - this.last.x, event.clientY - this.last.y);
    this.last = { x: event.clientX, y: event.clientY };
  }

  up() {
    this.last = null;
  }
}

/** Paints the chosen object, or takes it away, with a round brush. */
export class Brush extends Tool {
  cursor = "none";

  constructor(studio, erases) {
    super(studio);
    this.erases = erases;
    this.hint = erases
      ? "Drag to take the object away. [ and ] change the size."
      : "Drag to paint the object. [ and ] change the size.";
  }

  down(point) {
    if (!this.studio.labels || this.studio.shaping) return; // what is shown is about to change
    this.studio.holdLabels();
    this.labels = this.studio.labels.slice();
    this.last = point;
    this.paint(point);
  }

  move(point) {
    this.at = point;
    if (this.labels) this.paint(point);
    this.studio.view.redraw();
  }

  paint(point) {
    const { view, object, brush } = this.studio;
    const replace = this.erases ? (id) => (id === object ? 0 : id) : () => object;
    const { width, height } = view;
    const area = stroke(this.labels, width, height, this.last, point, brush / 2, replace);
    view.setLabels(this.labels, area);
    this.last = point;
  }

  up() {
    if (this.labels) this.studio.commitLabels(this.labels);
    this.labels = null;
  }

  cancel() {
    if (this.labels) this.studio.view.setLabels(this.studio.labels);
    this.labels = null;
  }

  get isBusy() {
    return Boolean(this.labels);
  }

  get isPainting() {
    return this.isBusy;
  }

  draw(context) {
    if (!this.at) return;
    const { view, brush } = this.studio;
    const { x, y } = view.toStage(this.at);
    outline(context, () => {
      context.beginPath();
      context.arc(x, y, Math.max(1, (brush / 2) * view.scale), 0, 2 * Math.PI);
    });
  }
}

/** Fills a polygon with the chosen object. */
export class Polygon extends Tool {
  cursor = "crosshair";
  hint = "Click around the object, corner by corner; Enter or the first corner closes it.";
  points = [];

  down(point, event) {
    if (this.isClosing(point, event.pointerType === "touch" ? CLOSE_TOUCH : CLOSE)) {
      this.confirm();
      return;
    }
    this.points.push(this.studio.clamped(point));
    this.at = point;
    this.studio.refresh();
  }

  move(point) {
    this.at = point;
    if (this.points.length) this.studio.view.redraw();
  }

  isClosing(point, distance) {
    if (this.points.length < 3) return false;
    const { view } = this.studio;
    const [one, other] = [view.toStage(this.points[0]), view.toStage(point)];
    return Math.hypot(one.x - other.x, one.y - other.y) <= distance;
  }

  confirm() {
    const { points } = this;
    if (points.length < 3) return;
    this.points = [];
    this.sent = points;
    this.studio.commitPolygon(points).then(() => (this.sent = null));
  }

  /** Take back the last corner; returns whether there was one. */
  undo() {
    const removed = this.points.pop();
    this.studio.refresh();
    return Boolean(removed);
  }

  cancel() {
    this.points = [];
    this.studio.refresh();
  }

  get isBusy() {
    return this.points.length > 0;
  }

  draw(context) {
    const { view } = this.studio;
    const corners = this.points.map((point) => view.toStage(point));
    const ends = this.at && corners.length ? [view.toStage(this.at)] : [];
    const sent = (this.sent || []).map((point) => view.toStage(point));
    for (const line of [[...corners, ...ends], sent]) {
      outline(context, () => {
        context.beginPath();
        for (const { x, y } of line) context.lineTo(x, y);
        if (line.length > 3) context.closePath();
      });
    }
    corners.forEach(({ x, y }, number) => {
      context.beginPath();
      context.arc(x, y, number ? 3.5 : 5.5, 0, 2 * Math.PI);
      context.fillStyle = "white";
      context.fill();
      context.strokeStyle = "rgb(0 0 0 / 0.7)";
      context.lineWidth = 1.5;
      context.stroke();
    });
  }
}

/** Asks for the object in a box. */
export class Box extends Tool {
  cursor = "crosshair";
  hint = "Drag a box around the object, with some room: its colours are cut out of it.";

  down(point) {
    this.from = this.to = this.studio.clamped(point);
  }

  move(point) {
    if (!this.from) return;
    this.to = this.studio.clamped(point);
    this.studio.view.redraw();
  }

  up() {
    const { from, to } = this;
    this.cancel();
    if (!from) return;
    this.sent = { from, to };
    const [left, right] = [from.x, to.x].sort((a, b) => a - b).map(Math.round);
    const [top, bottom] = [from.y, to.y].sort((a, b) => a - b).map(Math.round);
    const isBox = right - left > 2 && bottom - top > 2;
    const box = [left, top, right - left, bottom - top];
    const done = isBox ? this.studio.commitBox(box) : Promise.resolve();
    done.then(() => (this.sent = null));
  }

  cancel() {
    this.from = this.to = null;
    this.studio.view.redraw();
  }

  get isBusy() {
    return Boolean(this.from);
  }

  draw(context) {
    const box = this.from ? this : this.sent;
    if (!box) return;
    const { view } = this.studio;
    const [a, b] = [view.toStage(box.from), view.toStage(box.to)];
    outline(context, () => {
      context.beginPath();
      context.rect(a.x, a.y, b.x - a.x, b.y - a.y);
    });
  }
}

/** Draw a line that can be seen on whatever is beneath. */
function outline(context, path) {
  path();
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 0.6)";
  context.stroke();
  context.lineWidth = 1.25;
  context.strokeStyle = "white";
  context.stroke();
}
