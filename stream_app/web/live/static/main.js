// The page put together.
import * as alerts from "./alerts.js";
import { byId, text } from "./dom.js";
import * as engine from "./engine.js";
import * as feed from "./feed.js";
import * as figures from "./figures.js";
import * as letters from "./letters.js";
import * as prices from "./prices.js";
import { notice, say } from "./say.js";
import { Stream } from "./stream.js";
import * as user from "./user.js";

const LINKS = { wait: "connecting", live: "live", paused: "paused", lost: "lost, trying again", login: "signed out" };
let worker = null;
let linked = "";

for (const part of [figures, feed, user, alerts, prices, engine, letters]) part.setUp();

const stream = new Stream("/live/events", {
  worker: (data) => {
    worker = data;
    who();
    alerts.know(worker);
    engine.know(worker);
  },
  numbers: (data) => {
    notice(data.ready ? "" : "The worker is recovering its state, or reading the catalog: figures are incomplete.");
    figures.show(data, worker);
    engine.show(data, worker);
    letters.counted(data.dead_letters);
    held(data.held);
  },
  lists: feed.show,
  alerts: alerts.show,
  prices: prices.show,
  busy: (data) => notice(`The stream is busy and did not answer: ${data.why}.`),
}, link);

function link(state, why = "") {
  if (state === linked) return;
  if (state === "lost") say(`Connection lost: ${why}`);
  linked = state;
  byId("link").dataset.state = state;
  text(byId("link-text"), LINKS[state]);
  if (state === "lost") notice(`No connection: ${why}. What you see is what was known last.`);
  if (state === "login") location.reload(); // the login page is in its place
  if (state === "live") notice("");
}

let partitions = "";

function held(topics) {
  const clicks = worker?.topics.find((topic) => topic.ours === "clicks");
  const mine = clicks ? topics[clicks.name] ?? [] : [];
  const shown = !clicks ? "" : mine.length === clicks.partitions ? `all ${clicks.partitions} partitions` : mine.length ? `partitions ${mine.join(", ")} of ${clicks.partitions}` : "no partitions";
  if (shown !== partitions) {
    partitions = shown;
    who();
  }
}

function who() {
  if (!worker) return;
  text(byId("who"), `group ${worker.group}${partitions ? ` · this worker: ${partitions}` : ""}`);
  const others = byId("others");
  if (worker.others.length) {
    others.replaceChildren("Figures, lists and prices are of this worker's partitions; alerts are of the whole group. Other workers: ",
      ...worker.others.flatMap((url) => [Object.assign(document.createElement("a"), { href: url, textContent: url }), " "]));
  } else text(others, "All partitions are here: this is the whole group. Lists are a sample of what is published.");
}

const pause = byId("pause");
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
  text(pause, paused ? "Go on" : "Pause");
  stream.pause(paused);
  user.pause(paused);
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "p") pause.click();
  if (event.key === "/") {
    event.preventDefault();
    byId("user-id").focus();
  }
});

const theme = byId("theme");
theme.value = document.documentElement.dataset.theme;
theme.addEventListener("change", () => {
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem("tsrec-theme", theme.value);
  } catch {
    // It holds until the page is left.
  }
});

stream.start();
