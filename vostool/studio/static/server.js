// What the page asks of the server, and what the server reports by itself.

/** An answer that says why something was refused. */
export class Refusal extends Error {}

async function ask(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, headers });
  } catch {
    throw new Refusal("the studio does not answer; is it still running?");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    message = JSON.parse(text).error || text;
  } catch {
    // not every refusal is JSON
  }
  throw new Refusal(message || `refused (${response.status})`);
}

async function asJson(method, path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const response = await ask(method, path, body, body ? { "Content-Type": "application/json" } : {});
  return response.json();
}

export const getState = () => asJson("GET", "state");
export const getChoices = () => asJson("GET", "choices");

export async function getPicture(frame) {
  const response = await ask("GET", `frames/${frame}`);
  return createImageBitmap(await response.blob());
}

export async function getRuns(frame) {
  const response = await ask("GET", `frames/${frame}/labels`);
  return response.arrayBuffer();
}

export async function putRuns(frame, runs) {
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await ask("PUT", `frames/${frame}/labels`, runs, headers);
  return response.json();
}

export const clearFrame = (frame) => asJson("DELETE", `frames/${frame}/labels`);
export const fillPolygon = (frame, id, points) =>
  asJson("POST", `frames/${frame}/polygon`, { id, points });
export const cutBox = (frame, id, box) => asJson("POST", `frames/${frame}/box`, { id, box });
export const snap = (frame, id) => asJson("POST", `frames/${frame}/snap`, { id });
export const undo = () => asJson("POST", "undo");
export const redo = () => asJson("POST", "redo");
export const addObject = () => asJson("POST", "objects");
export const renameObject = (id, name) => asJson("PUT", `objects/${id}`, { name });
export const removeObject = (id) => asJson("DELETE", `objects/${id}`);
export const setOptions = (options) => asJson("PUT", "options", options);
export const follow = () => asJson("POST", "follow");
export const stop = () => asJson("POST", "stop");
export const save = (outputs) => asJson("POST", "save", { outputs });
export const finish = () => asJson("POST", "finish");

/**
 * Listen to what the server reports: its state whenever that changes, and the labels of the frame
 * followed last, as a number and a buffer in which runs begin at byte 4.
 */
export function listen({ onState, onLabels, onEnd }) {
  const socket = new WebSocket(new URL("live", location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => {
    if (typeof data === "string") onState(JSON.parse(data));
    else onLabels(new DataView(data).getUint32(0, true), data);
  });
  socket.addEventListener("close", onEnd);
}
