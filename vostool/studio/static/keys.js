// The keyboard: what a key does, unless a field has it.

const KEYBOARD_STEP = 8; // screen pixels that Alt and an arrow move the pointer; with Shift 1

/** Return whether a key belongs to the element that has the focus. */
function isTaken(event) {
  const { target, key } = event;
  if (target.closest("dialog")) return true;
  if (target.matches("input[type=text], input[type=number], select, textarea")) return true;
  if (target.matches("input[type=range]") && target.id !== "slider") return key.startsWith("Arrow");
  // a button is pressed by these, a checkbox too
  return [" ", "Enter"].includes(key) && target.matches("button, summary, input[type=checkbox]");
}

export function listenToKeys(studio) {
  const tools = { p: "polygon", g: "box", b: "brush", e: "eraser", h: "hand" };
  const plain = {
    n: () => studio.snap(),
    m: () => studio.toggleMasks(),
    d: () => studio.goToNext("doubtful"),
    c: () => studio.goToNext("cut"),
    "?": () => studio.help(),
    "[": () => studio.resizeBrush(1 / 1.2),
    "]": () => studio.resizeBrush(1.2),
    "+": () => studio.view.zoomIn(),
    "=": () => studio.view.zoomIn(),
    "-": () => studio.view.zoomOut(),
    0: () => studio.view.fit(),
    Home: () => studio.go(0),
    End: () => studio.go(studio.lastFollowed),
    " ": () => studio.toggleFollowing(),
    Enter: () => studio.crosshair.enter(),
    Escape: () => studio.cancel(),
  };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  document.addEventListener("keydown", (event) => {
    if (isTaken(event)) return;
    const call = actionOf(event);
    if (!call) return;
    event.preventDefault();
    call();
  });

  function actionOf(event) {
    const { key, shiftKey, altKey } = event;
    if (event.ctrlKey || event.metaKey) {
      const letter = key.toLowerCase();
      if (letter === "z") return () => (shiftKey ? studio.redo() : studio.undo());
      return letter === "y" ? () => studio.redo() : null;
    }
    const arrow = arrows[key];
    if (arrow && altKey) {
      const step = shiftKey ? 1 : KEYBOARD_STEP;
      return () => studio.crosshair.move(arrow[0] * step, arrow[1] * step);
    }
    if (altKey) return null;
    if (arrow && arrow[0]) return () => studio.go(studio.frame + arrow[0] * (shiftKey ? 10 : 1));
    if (/^[1-9]$/.test(key)) return () => studio.choose(Number(key));
    const tool = tools[key.toLowerCase()];
    return tool ? () => studio.setTool(tool) : plain[key.length === 1 ? key.toLowerCase() : key];
  }
}
