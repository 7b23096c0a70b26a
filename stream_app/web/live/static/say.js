// What a screen reader hears: the state of things every so often, what is urgent at once, never a stream of numbers.
import { byId } from "./dom.js";

const EVERY_MS = 20000;
let saidAt = 0;

/** Say something now. */
export function say(words) {
  byId("said").textContent = words;
  saidAt = Date.now();
}

/** Say it if nothing was said for a while. */
export function mention(words) {
  if (Date.now() - saidAt > EVERY_MS) say(words);
}

/** A line above everything, until the next; empty: gone. */
export function notice(words) {
  const line = byId("notice");
  line.hidden = !words;
  if (line.textContent !== words) line.textContent = words;
}
