// Label maps: one id for each pixel of a frame, row by row, 0 for the background.
//
// They come and go as runs (pairs of 32-bit little-endian integers, an id and a length), and are
// shown tinted. What is painted is exact: no edge is smoothed, as a canvas would do.

const TINT = 128; // of 255
const BYTES_PER_RUN = 8;

/** Return the labels that runs stand for; they begin at a byte of the buffer. */
export function decodeRuns(buffer, length, begin = 0) {
  const labels = new Uint8Array(length);
  const view = new DataView(buffer, begin);
  let position = 0;
  for (let byte = 0; byte < view.byteLength; byte += BYTES_PER_RUN) {
    const end = position + view.getUint32(byte + 4, true);
    labels.fill(view.getUint32(byte, true), position, end);
    position = end;
  }
  return labels;
}

/** Return labels as runs. */
export function encodeRuns(labels) {
  let count = 1;
  for (let i = 1; i < labels.length; i++) count += labels[i] !== labels[i - 1];
  const view = new DataView(new ArrayBuffer(count * BYTES_PER_RUN));
  let byte = 0;
  let start = 0;
  for (let i = 1; i <= labels.length; i++) {
    if (i < labels.length && labels[i] === labels[start]) continue;
    view.setUint32(byte, labels[start], true);
    view.setUint32(byte + 4, i - start, true);
    byte += BYTES_PER_RUN;
    start = i;
  }
  return view.buffer;
}

/**
 * Paint a stroke of a round brush from one point to another, in place.
 *
 * `replace(id)` returns the new id of a pixel. A pixel is covered if its middle is within the
 * radius of the line. Returns the rectangle that may have changed.
 */
export function stroke(labels, width, height, from, to, radius, replace) {
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const right = Math.min(width, Math.ceil(Math.max(from.x, to.x) + radius));
  const bottom = Math.min(height, Math.ceil(Math.max(from.y, to.y) + radius));
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const squared = dx * dx + dy * dy;
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const x = column + 0.5 - from.x;
      const y = row + 0.5 - from.y;
      const along = squared ? Math.min(1, Math.max(0, (x * dx + y * dy) / squared)) : 0;
      const away = (x - along * dx) ** 2 + (y - along * dy) ** 2;
      if (away <= radius * radius) {
        const place = row * width + column;
        labels[place] = replace(labels[place]);
      }
    }
  }
  return { left, top, right, bottom };
}

/** The labels of a frame as a picture to lay over it. */
export class Tint {
  constructor(width, height) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d");
    this.fills = new Uint32Array(256);
    this.lines = new Uint32Array(256);
  }

  /** Take the colours of objects; returns whether they are others than before. */
  setColours(objects) {
    const before = this.fills.join();
    this.fills.fill(0);
    this.lines.fill(0);
    for (const { id, colour } of objects) {
      // as in the overlay that is saved: the outline is a lighter shade
      this.fills[id] = packed(colour, TINT);
      this.lines[id] = packed(colour.map((value) => Math.min(255, value * 1.5 + 60)), 255);
    }
    return this.fills.join() !== before;
  }

  /** Show labels, or of them those in a rectangle. */
  show(labels, area) {
    const { width, height } = this.canvas;
    // a changed pixel changes the outline beside it
    const left = area ? Math.max(0, area.left - 1) : 0;
    const top = area ? Math.max(0, area.top - 1) : 0;
    const right = area ? Math.min(width, area.right + 1) : width;
    const bottom = area ? Math.min(height, area.bottom + 1) : height;
    if (right <= left || bottom <= top) return;
    const image = this.context.createImageData(right - left, bottom - top);
    const pixels = new Uint32Array(image.data.buffer);
    let out = 0;
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++, out++) {
        const place = row * width + column;
        const id = labels[place];
        if (!id) continue;
        const isEdge =
          (column > 0 && labels[place - 1] !== id) ||
          (column < width - 1 && labels[place + 1] !== id) ||
          (row > 0 && labels[place - width] !== id) ||
          (row < height - 1 && labels[place + width] !== id);
        pixels[out] = isEdge ? this.lines[id] : this.fills[id];
      }
    }
    this.context.putImageData(image, left, top);
  }
}

/** Return a colour as a pixel of an ImageData, whose bytes are r, g, b, alpha. */
function packed([red, green, blue], alpha) {
  const bytes = Uint8Array.of(red, green, blue, alpha);
  return new Uint32Array(bytes.buffer)[0];
}
