// The timeline: a slider over a strip that shows what is followed and what is marked.

// Of each kind of mark its word, a colour of the stylesheet, and how it is drawn at the middle of
// its frame, or a cut at its beginning, where the bar is `tall` and begins at `top`.
const MARKS = {
  given: { word: "painted", colour: "--mark", draw: drawDot },
  doubtful: { word: "doubtful", colour: "--doubt", draw: drawTriangle },
  cut: { word: "first of a scene", colour: "--cut", draw: drawCut },
};

/** A dot above the bar. */
function drawDot(context, { middle, top, tall }) {
  context.arc(middle, top / 2, 3, 0, 2 * Math.PI);
  context.fill();
  context.fillRect(middle - 0.75, top, 1.5, tall);
}

/** A triangle below the bar. */
function drawTriangle(context, { middle, top, tall }) {
  const height = 2 * top + tall;
  for (const [dx, dy] of [[0, -7], [5, 0], [-5, 0]]) context.lineTo(middle + dx, height + dy);
  context.fill();
  context.fillRect(middle - 0.75, top, 1.5, tall);
}

/** Dashes from top to bottom. */
function drawCut(context, { begin, top, tall }) {
  context.setLineDash([4, 2]);
  context.lineWidth = 1.5;
  context.moveTo(begin, 0);
  context.lineTo(begin, 2 * top + tall);
  context.stroke();
}

export class Timeline {
  constructor(slider, strip, onFrame) {
    this.slider = slider;
    this.strip = strip;
    this.state = null;
    this.frame = 0;
    slider.addEventListener("input", () => onFrame(Number(slider.value)));
    new ResizeObserver(() => this.draw()).observe(strip);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(state, frame) {
    this.state = state;
    this.frame = frame;
    this.slider.max = Math.max(0, state.video.frames - 1);
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", this.describe());
    this.draw();
  }

  describe() {
    const { valid, followed, marks } = this.state;
    const words = [`frame ${this.frame}`];
    for (const [kind, { word }] of Object.entries(MARKS)) {
      if (marks.some((mark) => mark.kind === kind && mark.frame === this.frame)) words.push(word);
    }
    if (this.frame < valid) words.push("followed");
    else if (this.frame < followed) words.push("to be followed again");
    return words.join(", ");
  }

  draw() {
    if (!this.state) return;
    const { strip, state } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = strip.clientWidth;
    const height = strip.clientHeight;
    strip.width = Math.max(1, Math.round(width * ratio));
    strip.height = Math.max(1, Math.round(height * ratio));
    const context = strip.getContext("2d");
    context.scale(ratio, ratio);
    const colours = getComputedStyle(strip);
    const colour = (name) => colours.getPropertyValue(name).trim();
    const frames = Math.max(1, state.video.frames);
    const at = (frame) => (frame / frames) * width;
    const bar = (from, to, top, tall, fill) => {
      context.fillStyle = fill;
      context.fillRect(at(from), top, at(to) - at(from), tall);
    };
    const top = 10;
    const tall = height - 2 * top;
    bar(0, frames, top, tall, colour("--track"));
    bar(0, state.video.read, top, tall, colour("--track-read"));
    bar(0, state.followed, top, tall, colour("--track-stale"));
    bar(0, state.valid, top, tall, colour("--track-done"));
    for (const { frame, kind } of state.marks) {
      const mark = MARKS[kind];
      context.fillStyle = context.strokeStyle = colour(mark.colour);
      context.beginPath();
      mark.draw(context, { begin: at(frame), middle: at(frame + 0.5), top, tall });
    }
    context.fillStyle = colour("--text");
    context.fillRect(at(this.frame + 0.5) - 1, 4, 2, height - 8);
  }
}
