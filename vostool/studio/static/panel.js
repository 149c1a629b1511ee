// The panels around the stage: what they show of the state. What they do is wired in studio.js.

export const $ = (id) => document.getElementById(id);

const DOING = {
  follow: "Following",
  save: "Saving",
  snap: "Snapping",
  cut: "Cutting out",
  open: "Looking at what is there",
};

/** Fill a list with elements. */
function fill(list, items) {
  list.replaceChildren(...items);
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** The objects: one is chosen, each can be named or removed. */
export class Objects {
  constructor(list, { choose, rename, remove }) {
    this.list = list;
    this.calls = { choose, rename, remove };
    this.shown = "";
  }

  show(objects, chosen, isIdle) {
    const shown = JSON.stringify([objects, chosen, isIdle]);
    if (shown === this.shown) return;
    if (this.list.contains(document.activeElement) && document.activeElement.type === "text") {
      this.list.querySelectorAll("li").forEach((item) => {
        item.classList.toggle("chosen", Number(item.dataset.id) === chosen);
      });
      return; // a name is being typed
    }
    this.shown = shown;
    fill(this.list, objects.map((object) => this.item(object, chosen, isIdle, objects.length > 1)));
  }

  item({ id, name, colour }, chosen, isIdle, isRemovable) {
    const swatch = element("button", { type: "button", className: "swatch", textContent: id });
    swatch.style.setProperty("--colour", `rgb(${colour.join(" ")})`);
    swatch.setAttribute("aria-pressed", id === chosen);
    swatch.setAttribute("aria-label", `Choose ${name}, object ${id}`);
    swatch.title = id < 10 ? `Choose (${id})` : "Choose";
    swatch.addEventListener("click", () => this.calls.choose(id));
    const field = element("input", { type: "text", value: name, maxLength: 60 });
    field.setAttribute("aria-label", `Name of object ${id}`);
    field.addEventListener("focus", () => this.calls.choose(id));
    field.addEventListener("change", () => this.calls.rename(id, field.value));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") field.blur();
    });
    const item = element("li", {}, swatch, field);
    item.dataset.id = id;
    item.classList.toggle("chosen", id === chosen);
    if (isRemovable) {
      const remove = element("button", { type: "button", className: "icon" }, icon("i-bin"));
      remove.setAttribute("aria-label", `Remove ${name}`);
      remove.title = "Remove, with all that is painted of it";
      remove.disabled = !isIdle;
      remove.addEventListener("click", () => this.calls.remove(id, name));
      item.append(remove);
    }
    return item;
  }
}

/** Offer the choices of the settings. */
export function offerChoices({ sizes, gc_every, weights }) {
  const option = (value, text) => element("option", { value: JSON.stringify(value), textContent: text });
  fill($("size-choice"), [
    option(null, "as trained"),
    ...sizes.map((size) => option(size, `${size} lines`)),
  ]);
  fill($("gc-choice"), [
    option(null, "off"),
    ...gc_every.map((every) => option(every, `every ${every} frames`)),
  ]);
  fill($("weights-choice"), weights.map((name) => option(name, name)));
}

export function showSettings(options, isIdle) {
  for (const [name, id] of [["size", "size-choice"], ["gc_every", "gc-choice"], ["weights", "weights-choice"]]) {
    $(id).value = JSON.stringify(options[name]);
    $(id).disabled = !isIdle;
  }
  $("backward").checked = options.backward;
  $("backward").disabled = !isIdle;
}

export function chosenSettings() {
  const value = (id) => JSON.parse($(id).value);
  return {
    size: value("size-choice"),
    gc_every: value("gc-choice"),
    weights: value("weights-choice"),
    backward: $("backward").checked,
  };
}

/** Show what is being done, or what there is to do next. */
export function showRun(state, speed) {
  const { run, video, valid, complete, problem } = state;
  const follow = $("follow");
  const stoppable = run && (run.kind === "follow" || run.kind === "save");
  $("stop").hidden = !stoppable;
  follow.hidden = Boolean(stoppable);
  follow.disabled = Boolean(run) || complete || !marksOf(state, "given").length;
  follow.querySelector("span").textContent = complete
    ? "Followed"
    : valid
      ? "Go on"
      : "Follow";
  const status = $("status");
  status.classList.toggle("problem", Boolean(problem && !run));
  status.textContent = run ? describeRun(run, speed) : problem || describeRest(state, video);
}

function describeRun({ kind, done, total, words }, speed) {
  const of = total ? ` of ${total}` : "";
  const pace = speed ? ` · ${speed.toFixed(1)} frames/s` : "";
  const doing = words ? `${DOING[kind]} ${words}` : DOING[kind];
  return done ? `${doing}: ${done}${of} frames${pace}` : `${doing} …`;
}

function describeRest(state, video) {
  const { valid, followed, complete, options } = state;
  const given = marksOf(state, "given");
  if (video.problem) return video.problem;
  if (!video.ended) return `Reading the video: ${video.read} frames`;
  if (!given.length) return "Draw an object to begin.";
  if (complete) return "Every frame is followed. Go through them, repair where needed, and save.";
  if (valid && followed > valid) return `Frames from ${valid} on are from before the repair.`;
  if (valid) return `Followed up to frame ${valid - 1}.`;
  if (given[0].frame && !options.backward) {
    const before = given[0].frame > 1 ? `Frames 0 to ${given[0].frame - 1} stay` : "Frame 0 stays";
    return `${before} empty unless followed backward too.`;
  }
  return "Ready to follow.";
}

/** The marks of a kind, in order of frames: "given", "doubtful" or "cut". */
export function marksOf({ marks }, kind) {
  return marks.filter((mark) => mark.kind === kind);
}

/** Show what is known of the frame on the stage. */
export function showFrame(state, frame, isIdle) {
  const names = new Map(state.objects.map(({ id, name }) => [id, name]));
  const named = ({ ids }) => ids.map((id) => names.get(id)).join(", ");
  const of = (kind) => marksOf(state, kind).find((each) => each.frame === frame);
  const [mark, doubt, cut] = [of("given"), of("doubtful"), of("cut")];
  const words = mark
    ? `Painted: ${named(mark)}.`
    : frame < state.valid
      ? "Followed. Paint over it to repair it."
      : frame < state.followed
        ? "From before the repair."
        : "Nothing yet.";
  const doubtful = doubt ? `Doubtful: ${named(doubt)} (mean probability ${doubt.confidence.toFixed(2)}). ` : "";
  fill($("frame-state"), [
    element("span", { className: "cut", textContent: cut ? "A scene begins here. " : "" }),
    element("span", { className: "doubt", textContent: doubtful }),
    words,
  ]);
  offerNext($("next-doubt"), marksOf(state, "doubtful").length, "doubtful frame");
  offerNext($("next-cut"), marksOf(state, "cut").length, "scene cut");
  $("clear").hidden = !mark;
  $("clear").disabled = !isIdle;
  $("frame").value = frame;
  $("frame").max = Math.max(0, state.video.read - 1);
  $("frames").textContent = `of ${Math.max(0, state.video.frames - 1)}${timeOf(state, frame)}`;
}

/** Offer to go to the next of so many frames, if there are any. */
function offerNext(button, count, what) {
  button.hidden = !count;
  button.querySelector("span").textContent =
    count === 1 ? `Go to the ${what}` : `Next of ${count} ${what}s`;
}

function timeOf({ video }, frame) {
  if (!video.rate) return "";
  const seconds = frame / video.rate;
  const rest = (seconds % 60).toFixed(2).padStart(5, "0");
  return ` · ${Math.floor(seconds / 60)}:${rest}`;
}

export function showSaved(state) {
  fill($("saved"), state.saved.map((path) => element("li", { textContent: nameOf(path), title: path })));
  $("saved-in").hidden = !state.saved.length;
  $("saved-in").textContent = `Saved in ${state.folder}`;
  const some = state.valid && !state.complete;
  // frames followed backward depend on all masks
  $("save").disabled = Boolean(state.run) || !state.valid || (some && state.options.backward);
  $("save").textContent = some ? `Save frames 0 to ${state.valid - 1}` : "Save";
}

export function showWarnings({ warnings }) {
  $("warnings-section").hidden = !warnings.length;
  fill($("warnings"), warnings.map((words) => element("li", { textContent: words })));
}

/** Show the command line, wrapped between its words. */
export function showCommand(command) {
  const words = command ? command.split(" ") : ["Paint an object first."];
  fill($("command"), words.flatMap((word) => [element("span", { textContent: word }), " "]));
  $("copy").disabled = !command;
}

function nameOf(path) {
  return path.split(/[\\/]/).pop();
}

/** Show the last page: the studio has ended. */
export function showEnd(title, text, paths = []) {
  $("over-title").textContent = title;
  $("over-text").textContent = text;
  fill($("over-paths"), paths.map((path) => element("li", { textContent: path })));
  if (!$("over").open) $("over").showModal();
}
