// The controls of the page, connected to the studio.

import { $, chosenSettings } from "./panel.js";
import * as server from "./server.js";

/** Connect the controls of the page. */
export function wire(studio) {
  const click = (id, call) => $(id).addEventListener("click", call);
  click("snap", () => studio.snap());
  click("undo", () => studio.undo());
  click("redo", () => studio.redo());
  click("zoom-in", () => studio.view.zoomIn());
  click("zoom-out", () => studio.view.zoomOut());
  click("zoom-fit", () => studio.view.fit());
  click("masks", () => studio.toggleMasks());
  click("add-object", () => studio.addObject());
  click("clear", () => studio.clear());
  click("next-doubt", () => studio.goToNext("doubtful"));
  click("next-cut", () => studio.goToNext("cut"));
  click("follow", () => studio.follow());
  click("stop", () => studio.stop());
  click("save", () => studio.save());
  click("finish", () => studio.finish());
  click("help-open", () => studio.help());
  click("back", () => studio.go(studio.frame - 1));
  click("next", () => studio.go(studio.frame + 1));
  click("copy", () => navigator.clipboard.writeText(studio.state.command).catch(() => selectCommand()));
  $("frame").addEventListener("change", () => studio.go(Number($("frame").value) || 0));
  $("frame").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") $("canvas").focus();
  });
  $("brush-size").addEventListener("input", () => {
    studio.brush = Number($("brush-size").value);
    studio.resizeBrush(1);
  });
  for (const id of ["size-choice", "gc-choice", "weights-choice", "backward"]) {
    $(id).addEventListener("change", () => {
      const chosen = chosenSettings(); // now: a state that is on its way has those of before
      studio.change(() => server.setOptions(chosen));
    });
  }
  const buttons = [...document.querySelectorAll("[data-tool]")];
  buttons.forEach((button, number) => {
    button.addEventListener("click", () => studio.setTool(button.dataset.tool));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (!step || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      const other = buttons[(number + step + buttons.length) % buttons.length];
      other.focus();
      studio.setTool(other.dataset.tool);
    });
  });
}

/** Where the browser does not let the page copy, the user can. */
function selectCommand() {
  getSelection().selectAllChildren($("command"));
}
