// The pointer of the keyboard: Alt and arrows move it over the picture, Enter clicks there.

import { Box } from "./tools.js";

const ARM = 9; // screen pixels

export class Crosshair {
  constructor(studio) {
    this.studio = studio;
    this.at = null; // a point of the picture; null: the mouse is in use
  }

  /** Move it, in screen pixels. */
  move(dx, dy) {
    const { view, tool } = this.studio;
    const middle = { x: view.canvas.clientWidth / 2, y: view.canvas.clientHeight / 2 };
    const before = this.at ? view.toStage(this.at) : middle;
    this.at = this.studio.clamped(view.toPicture({ x: before.x + dx, y: before.y + dy }));
    tool.move(this.at, {});
    view.redraw();
  }

  /** Click where it is, or without it confirm what the tool has begun. */
  enter() {
    const { tool, mayDraw } = this.studio;
    if (!this.at || !mayDraw) return tool.confirm();
    if (tool instanceof Box && !tool.isBusy) return tool.down(this.at, {});
    if (!(tool instanceof Box)) tool.down(this.at, {});
    return tool.up(this.at, {});
  }

  hide() {
    this.at = null;
  }

  draw(context) {
    if (!this.at) return;
    const { x, y } = this.studio.view.toStage(this.at);
    for (const [colour, width] of [["rgb(0 0 0 / 0.7)", 3], ["white", 1.25]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(x - ARM, y);
      context.lineTo(x + ARM, y);
      context.moveTo(x, y - ARM);
      context.lineTo(x, y + ARM);
      context.stroke();
    }
  }
}
