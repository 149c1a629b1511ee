// The stage: a frame with its labels, which can be zoomed about the pointer and moved.
//
// Points of the picture are in its pixels, (0, 0) the upper left corner of the first one.

import { Tint } from "./labels.js";

const MOST_ZOOM = 40; // screen pixels for one of the picture
const STEP = 1.25;
// screen pixels around the picture when it fits: the controls on the stage do not cover it
const MARGIN = { side: 12, top: 54, bottom: 50 };

export class View {
  constructor(canvas, width, height) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.width = width;
    this.height = height;
    this.tint = new Tint(width, height);
    this.picture = null;
    this.labels = null; // null: not known yet
    this.showsLabels = true;
    this.fits = true; // until the user zooms
    this.drawTool = () => {};
    this.scale = 1;
    this.x = 0; // of the picture's corner on the stage
    this.y = 0;
    this.waiting = false;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    if (this.fits) this.fit();
    else this.redraw();
  }

  get fittingScale() {
    const { clientWidth, clientHeight } = this.canvas;
    const across = (clientWidth - 2 * MARGIN.side) / this.width;
    const down = (clientHeight - MARGIN.top - MARGIN.bottom) / this.height;
    return Math.max(0.01, Math.min(across, down));
  }

  fit() {
    this.fits = true;
    this.scale = this.fittingScale;
    this.x = (this.canvas.clientWidth - this.width * this.scale) / 2;
    const below = this.canvas.clientHeight - MARGIN.top - MARGIN.bottom - this.height * this.scale;
    this.y = MARGIN.top + below / 2;
    this.redraw();
  }

  /** Zoom about a point of the stage, by default its middle. */
  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const least = Math.min(1, this.fittingScale);
    const scale = Math.min(MOST_ZOOM, Math.max(least, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fits = false;
    this.keepInSight();
    this.redraw();
  }

  zoomIn(at) {
    this.zoom(STEP, at);
  }

  zoomOut(at) {
    this.zoom(1 / STEP, at);
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fits = false;
    this.keepInSight();
    this.redraw();
  }

  /** Leave some of the picture on the stage. */
  keepInSight() {
    const least = 48;
    const { clientWidth, clientHeight } = this.canvas;
    this.x = Math.min(clientWidth - least, Math.max(least - this.width * this.scale, this.x));
    this.y = Math.min(clientHeight - least, Math.max(least - this.height * this.scale, this.y));
  }

  /** Return the point of the stage at which an event happened. */
  onStage(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** Return the point of the picture at a point of the stage. */
  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  /** Return the point of the stage at a point of the picture. */
  toStage({ x, y }) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  setPicture(picture) {
    this.picture = picture;
    this.redraw();
  }

  setLabels(labels, area) {
    this.labels = labels;
    if (labels) this.tint.show(labels, area);
    this.redraw();
  }

  setColours(objects) {
    if (this.tint.setColours(objects) && this.labels) this.setLabels(this.labels);
  }

  /** Draw with the next picture of the screen, once for all that changes until then. */
  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { context, canvas, scale } = this;
    const ratio = canvas.width / Math.max(1, canvas.clientWidth);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.picture) {
      const place = [this.x, this.y, this.width * scale, this.height * scale];
      context.imageSmoothingEnabled = scale * ratio < 3; // pixels show when it matters
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, ...place);
      if (this.labels && this.showsLabels) {
        context.imageSmoothingEnabled = scale * ratio < 1;
        context.drawImage(this.tint.canvas, ...place);
      }
    }
    this.drawTool(context);
  }
}
