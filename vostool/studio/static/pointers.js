// Mouse, pen and touch on the stage: one pointer draws, two zoom and move, the wheel zooms.

const WHEEL = 0.0015; // zoom for a pixel that the wheel scrolls
const LINE = 30; // pixels of a line, where the wheel counts lines

export function listenToPointers(studio) {
  const { view } = studio;
  const { canvas } = view;
  const fingers = new Map();
  let drawing = null; // the pointer that draws
  let panned = null; // where the middle button was last

  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    studio.crosshair.hide();
    const at = view.onStage(event);
    if (event.button === 1) {
      panned = at;
      return;
    }
    if (event.button !== 0) return;
    fingers.set(event.pointerId, at);
    if (fingers.size === 2) {
      drawing = null;
      studio.cancel();
      return;
    }
    if (fingers.size > 1 || !studio.mayDraw) return;
    drawing = event.pointerId;
    studio.tool.down(view.toPicture(at), event);
  });

  canvas.addEventListener("pointermove", (event) => {
    const at = view.onStage(event);
    if (panned) {
      view.move(at.x - panned.x, at.y - panned.y);
      panned = at;
    } else if (fingers.size === 2 && fingers.has(event.pointerId)) {
      pinch(event.pointerId, at);
    } else if (fingers.size < 2 && studio.mayDraw) {
      // a pen reports more points than there are pictures
      const events = drawing === null ? [event] : event.getCoalescedEvents();
      for (const each of events.length ? events : [event]) {
        studio.tool.move(view.toPicture(view.onStage(each)), each);
      }
    }
  });

  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      panned = null;
      fingers.delete(event.pointerId);
      if (drawing !== event.pointerId) return;
      drawing = null;
      if (kind === "pointerup") studio.tool.up(view.toPicture(view.onStage(event)), event);
      else studio.cancel();
    });
  }

  canvas.addEventListener("pointerleave", () => {
    if (drawing !== null) return;
    studio.tool.at = null;
    view.redraw();
  });

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1);
    view.zoom(Math.exp(-pixels * WHEEL), view.onStage(event));
    studio.refresh();
  }, { passive: false });

  function pinch(id, at) {
    const before = fingers.get(id);
    const [other] = [...fingers].filter(([key]) => key !== id).map(([, point]) => point);
    const apart = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
    view.zoom(apart(at) / apart(before), other);
    view.move((at.x - before.x) / 2, (at.y - before.y) / 2);
    fingers.set(id, at);
    studio.refresh();
  }
}
