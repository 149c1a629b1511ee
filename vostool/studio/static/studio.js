// The studio's page: one object that knows what is shown and what is chosen.
//
// The server has the truth. Each change is sent there at once, one after another, and the answer
// brings the new state; the page keeps no history of its own.

import { stayConnected } from "./connection.js";
import { Crosshair } from "./crosshair.js";
import { decodeRuns, encodeRuns } from "./labels.js";
import { listenToKeys } from "./keys.js";
import * as panel from "./panel.js";
import { $ } from "./panel.js";
import { listenToPointers } from "./pointers.js";
import * as server from "./server.js";
import { Timeline } from "./timeline.js";
import { Box, Brush, Hand, Polygon } from "./tools.js";
import { View } from "./view.js";
import { wire } from "./wiring.js";

const CACHED = 2 ** 26; // pixels of pictures
const FEWEST = 8; // pictures
const NOTICE = 6000; // milliseconds that a message is shown
const MOST_BRUSH = 200;

class Studio {
  constructor(state) {
    this.state = state;
    this.frame = 0;
    this.object = state.objects[0].id;
    this.labels = null; // of the frame on the stage; null: on their way
    this.brush = 24;
    this.live = false; // whether the stage shows the frame followed last
    this.ended = false;
    this.pictures = new Map();
    this.changes = Promise.resolve(); // the last one sent
    this.pending = 0; // changes on their way
    this.shaping = 0; // of these, those whose labels the server makes
    this.seen = -1; // the revision whose labels are shown
    this.pace = { time: 0, done: 0, speed: 0 };
    this.view = new View($("canvas"), state.video.width, state.video.height);
    this.view.drawTool = (context) => this.drawTool(context);
    this.tools = {
      polygon: new Polygon(this),
      box: new Box(this),
      brush: new Brush(this, false),
      eraser: new Brush(this, true),
      hand: new Hand(this),
    };
    this.crosshair = new Crosshair(this);
    this.timeline = new Timeline($("slider"), $("strip"), (frame) => this.go(frame));
    this.objects = new panel.Objects($("objects"), {
      choose: (id) => this.choose(id),
      rename: (id, name) => this.change(() => server.renameObject(id, name)),
      remove: (id, name) => this.removeObject(id, name),
    });
    this.setTool("polygon");
    this.resizeBrush(1);
  }

  // what is shown

  /** Show a state; the promise is kept once its labels are shown too. */
  async take(state) {
    if (state.time >= this.state.time) this.turnToState(state); // else it was overtaken
    const { revision, run, video } = this.state;
    const isStale = revision !== this.seen && !this.pending && !this.tool.isPainting;
    if (isStale && !run && video.read > this.frame) await this.show(this.frame);
  }

  turnToState(state) {
    const wasRunning = this.state.run;
    this.state = state;
    if (!state.objects.some(({ id }) => id === this.object)) this.object = state.objects[0].id;
    if (wasRunning && !state.run && this.live) {
      this.live = false;
      if (wasRunning.kind === "follow") this.turnTo(this.lastFollowed);
    }
    this.measurePace(state.run);
    this.refresh();
  }

  get isIdle() {
    return !this.state.run;
  }

  get lastFollowed() {
    return Math.max(0, this.state.valid - 1);
  }

  refresh() {
    const { state, frame, isIdle } = this;
    $("title").textContent = `${state.video.name} · ${state.video.width}×${state.video.height}`;
    this.view.setColours(state.objects);
    this.view.canvas.classList.toggle("locked", !isIdle);
    this.timeline.show(state, frame);
    this.objects.show(state.objects, this.object, isIdle);
    panel.showRun(state, this.pace.speed);
    panel.showFrame(state, frame, isIdle);
    panel.showSaved(state);
    panel.showWarnings(state);
    panel.showSettings(state.options, isIdle);
    panel.showCommand(state.command);
    $("finish").disabled = $("add-object").disabled = $("snap").disabled = !isIdle;
    $("undo").disabled = !isIdle || !(state.undo || this.tool.isBusy);
    $("redo").disabled = !isIdle || !state.redo;
    $("hint").textContent = isIdle ? this.tool.hint : "";
    this.view.redraw();
  }

  measurePace(run) {
    const now = performance.now();
    if (!run || !run.done || run.done < this.pace.done) {
      this.pace = { time: now, done: run ? run.done : 0, speed: 0 };
    } else if (now - this.pace.time > 1000) {
      const speed = ((run.done - this.pace.done) * 1000) / (now - this.pace.time);
      this.pace = { time: now, done: run.done, speed };
    }
  }

  /** Go to a frame, as the user asks to. */
  go(frame) {
    this.live = false;
    this.tool.cancel();
    this.show(Math.min(Math.max(0, frame), Math.max(0, this.state.video.read - 1)));
  }

  /** Go to the next frame with a mark of a kind, after the last one to the first. */
  goToNext(kind) {
    const frames = panel.marksOf(this.state, kind).map(({ frame }) => frame);
    const next = frames.find((frame) => frame > this.frame) ?? frames[0];
    if (next !== undefined) this.go(next);
  }

  /** Make another frame the one on the stage, whose labels are not known yet. */
  turnTo(frame) {
    if (frame === this.frame) return;
    this.frame = frame;
    this.labels = null;
    this.view.setLabels(null);
  }

  /** Show a frame, with labels that are known already or else those that the server has. */
  async show(frame, known = null) {
    this.turnTo(frame);
    this.seen = this.state.revision;
    const wanted = (this.wanted = {}); // until another frame is, or this one changes
    this.refresh();
    try {
      const [picture, labels] = await Promise.all([
        this.picture(frame).then((picture) => {
          if (wanted === this.wanted) this.view.setPicture(picture);
        }),
        known || server.getRuns(frame).then((runs) => this.decode(runs)),
      ]);
      if (wanted !== this.wanted) return;
      this.labels = labels;
      this.view.setLabels(labels);
      this.view.canvas.dataset.frame = frame;
      this.prefetch(frame);
    } catch (error) {
      this.complain(error);
    }
  }

  decode(buffer, begin = 0) {
    return decodeRuns(buffer, this.view.width * this.view.height, begin);
  }

  picture(frame) {
    const known = this.pictures.get(frame);
    this.pictures.delete(frame); // the one used last is the last to go
    const picture = known || server.getPicture(frame);
    this.pictures.set(frame, picture);
    picture.catch(() => this.pictures.delete(frame));
    const most = Math.max(FEWEST, CACHED / (this.view.width * this.view.height));
    if (this.pictures.size > most) this.pictures.delete(this.pictures.keys().next().value);
    return picture;
  }

  prefetch(frame) {
    for (const near of [frame + 1, frame + 2, frame - 1]) {
      if (near >= 0 && near < this.state.video.read) this.picture(near).catch(() => {});
    }
  }

  /** Show a frame that has just been followed, if the user looks on. */
  takeLabels(frame, buffer) {
    if (this.live) this.show(frame, this.decode(buffer, 4));
  }

  // what is changed

  /** Send a change after those before it, and show what it leads to. */
  change(call) {
    this.pending += 1;
    const sent = this.changes.then(call);
    this.changes = sent.then(
      (answer) => this.took(answer),
      (error) => {
        this.pending -= 1;
        this.complain(error);
        return this.show(this.frame); // as it is
      },
    );
    return this.changes.then(() => sent.catch(() => null));
  }

  took(answer) {
    this.pending -= 1;
    return this.take(answer.state);
  }

  /** Send a change of labels that the server makes. */
  async shape(call) {
    this.shaping += 1;
    this.markBusy();
    try {
      return await this.change(call);
    } finally {
      this.shaping -= 1;
      this.markBusy();
    }
  }

  /** Mark the stage as busy while the labels on it are about to change. */
  markBusy() {
    this.view.canvas.setAttribute("aria-busy", this.shaping > 0);
  }

  /** Send a change of labels on some frame, and go there. */
  async step(call) {
    const answer = await this.shape(call);
    if (answer && answer.frame !== null && answer.frame !== this.frame) this.go(answer.frame);
  }

  /** Show no labels that are on their way: they are older than what is being painted. */
  holdLabels() {
    this.wanted = {};
  }

  commitLabels(labels) {
    this.labels = labels;
    const { frame } = this;
    this.change(() => server.putRuns(frame, encodeRuns(labels)));
  }

  commitPolygon(points) {
    const { frame, object } = this;
    // the server has (0, 0) in the middle of the first pixel
    const corners = points.map(({ x, y }) => [x - 0.5, y - 0.5]);
    return this.shape(() => server.fillPolygon(frame, object, corners));
  }

  commitBox(box) {
    const { frame, object } = this;
    return this.shape(() => server.cutBox(frame, object, box));
  }

  snap() {
    const { frame, object } = this;
    if (this.isIdle) this.shape(() => server.snap(frame, object));
  }

  undo() {
    if (this.tool instanceof Polygon && this.tool.undo()) return;
    this.tool.cancel();
    if (this.isIdle && (this.state.undo || this.pending)) this.step(server.undo);
  }

  redo() {
    if (this.isIdle && (this.state.redo || this.pending)) this.step(server.redo);
  }

  clear() {
    const { frame } = this;
    this.shape(() => server.clearFrame(frame));
  }

  async addObject() {
    const answer = await this.change(server.addObject);
    if (answer) this.choose(answer.id);
  }

  removeObject(id, name) {
    const isPainted = this.state.marks.some(({ ids }) => ids.includes(id));
    const question = `Remove ${name}, with all that is painted of it? This cannot be undone.`;
    if (!isPainted || confirm(question)) this.change(() => server.removeObject(id));
  }

  follow() {
    if (!this.isIdle) return;
    this.tool.cancel();
    this.live = true;
    this.change(server.follow);
  }

  toggleFollowing() {
    if (this.isIdle && !$("follow").disabled) this.follow();
    else if (!$("stop").hidden) this.stop();
  }

  stop() {
    server.stop().catch((error) => this.complain(error)); // it must not wait for others
  }

  save() {
    const boxes = [...document.querySelectorAll("input[name=output]:checked")];
    this.change(() => server.save(boxes.map(({ value }) => value)));
  }

  async finish() {
    this.ended = true; // the connection may end before the answer is there
    const answer = await this.change(server.finish);
    this.ended = Boolean(answer);
    if (!answer) return;
    const words = "Everything is on disk; this window can be closed.";
    panel.showEnd("Finished", words, answer.paths);
  }

  // what is chosen

  setTool(name) {
    if (this.tool) this.tool.cancel();
    this.tool = this.tools[name];
    this.view.canvas.style.cursor = this.tool.cursor;
    for (const button of document.querySelectorAll("[data-tool]")) {
      const isChosen = button.dataset.tool === name;
      button.setAttribute("aria-checked", isChosen);
      button.tabIndex = isChosen ? 0 : -1;
    }
    $("size").hidden = !(this.tool instanceof Brush);
    this.refresh();
  }

  choose(id) {
    if (!this.state.objects.some((object) => object.id === id)) return;
    this.object = id;
    this.refresh();
  }

  resizeBrush(factor) {
    const wanted = this.brush * factor;
    const size = factor > 1 ? Math.ceil(wanted) : Math.floor(wanted);
    this.brush = Math.min(MOST_BRUSH, Math.max(1, size));
    $("brush-size").value = this.brush;
    $("brush-value").textContent = `${this.brush} px`;
    this.view.redraw();
  }

  toggleMasks() {
    this.view.showsLabels = !this.view.showsLabels;
    $("masks").setAttribute("aria-pressed", this.view.showsLabels);
    this.view.redraw();
  }

  help() {
    $("help").showModal();
  }

  cancel() {
    this.tool.cancel();
  }

  // pointers

  clamped({ x, y }) {
    const { width, height } = this.view;
    return { x: Math.min(width, Math.max(0, x)), y: Math.min(height, Math.max(0, y)) };
  }

  /** Whether the tool may be used: the hand always may. */
  get mayDraw() {
    return this.isIdle || this.tool instanceof Hand;
  }

  drawTool(context) {
    $("zoom-value").textContent = `${Math.round(this.view.scale * 100)}%`;
    if (this.mayDraw) this.tool.draw(context);
    this.crosshair.draw(context);
  }

  complain(error) {
    if (this.ended) return;
    const notice = $("notice");
    notice.textContent = error.message;
    notice.hidden = false;
    clearTimeout(this.noticed);
    this.noticed = setTimeout(() => (notice.hidden = true), NOTICE);
    if (!(error instanceof server.Refusal)) console.error(error);
  }
}

async function start() {
  const [state, choices] = await Promise.all([server.getState(), server.getChoices()]);
  panel.offerChoices(choices);
  const studio = new Studio(state);
  wire(studio);
  listenToKeys(studio);
  listenToPointers(studio);
  stayConnected(studio);
  await studio.take(state);
}

start().catch((error) => panel.showEnd("The studio cannot be shown", error.message));
