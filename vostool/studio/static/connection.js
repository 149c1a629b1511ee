// What the server reports by itself, for as long as it is there.

import * as panel from "./panel.js";
import * as server from "./server.js";

const TRIES = 3; // to connect again
const AGAIN = 700; // milliseconds between them

/** Let a studio know what the server reports, until one of them ends. */
export function stayConnected(studio) {
  server.listen({
    onState: (news) => studio.take(news),
    onLabels: (frame, buffer) => studio.takeLabels(frame, buffer),
    onEnd: () => reconnect(studio),
  });
}

/** Connect again if the connection broke off, as that of a tunnel may; else say that it ended. */
async function reconnect(studio) {
  for (let tries = 0; tries < TRIES && !studio.ended; tries++) {
    try {
      await studio.take(await server.getState());
      return stayConnected(studio);
    } catch {
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }
  if (studio.ended) return undefined;
  studio.ended = true;
  const words = "It was stopped where it was started. What was painted and followed is kept.";
  return panel.showEnd("The studio has ended", words);
}
