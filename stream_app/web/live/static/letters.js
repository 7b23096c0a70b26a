// Dead letters: by reason, each record beside the complaint, and back to where it came from, after a dry run.
import { byId, count, h, text, when } from "./dom.js";
import { say } from "./say.js";
import { ask } from "./stream.js";

let wanted = null;
let known = 0; // set aside so far, as the worker counts them
let read = null; // how many of them were known when the letters were read; null: not read yet, or just being read

export function setUp() {
  byId("letters-load").addEventListener("click", () => load());
}

/** What this worker has set aside since it began, from its metrics. */
export function counted(letters) {
  known = Object.values(letters).flatMap(Object.values).reduce((a, b) => a + b, 0);
  text(byId("letters-note"), known ? `${count(known)} set aside by this worker since it began` : "none since this worker began");
  if (read !== null) text(byId("letters-load"), known > read ? `Read again: ${count(known - read)} new` : "Read again");
}

async function load() {
  const box = byId("letters"), button = byId("letters-load");
  button.disabled = true;
  text(button, "Reading …");
  read = null;
  const before = known;
  try {
    const found = await ask(`/live/dead-letters?${new URLSearchParams(wanted ?? {})}`);
    box.replaceChildren(...draw(found));
    say(`${count(found.read)} dead letters in ${found.groups.length} groups.`);
  } catch (error) {
    box.replaceChildren(h("p", { class: "empty", role: "alert" }, error.message));
  }
  button.disabled = false;
  text(button, "Read again");
  read = before;
}

const same = (group) => wanted && wanted.reason === group.reason && wanted.stage === group.stage && wanted.topic === group.topic && wanted.message === part(group);

/** The longest piece of a group's message that has no digits or values in it: what its letters have in common. */
const part = (group) => group.message.split(/N|'…'|`/).reduce((a, b) => (b.length > a.length ? b : a), "").trim();

function draw(found) {
  if (!found.groups.length) return [h("p", { class: "empty" }, "No dead letters.")];
  const rows = found.groups.map((group) => h("tr", { class: same(group) ? "chosen" : null },
    h("th", { scope: "row" }, h("button", { type: "button", class: "plain", "aria-pressed": String(Boolean(same(group))), onclick: () => choose(group) }, group.reason)),
    h("td", {}, group.topic), h("td", { class: "num" }, count(group.letters)), h("td", { class: "num optional" }, count(group.requeued)),
    h("td", { class: "optional" }, when(group.last)), h("td", {}, group.message)));
  const out = [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Dead letters by reason" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Reason"), h("th", { scope: "col" }, "From"), h("th", { scope: "col", class: "num" }, "Letters"), h("th", { scope: "col", class: "num optional" }, "Sent back"), h("th", { scope: "col", class: "optional" }, "Last"), h("th", { scope: "col" }, "Complaint"))),
    h("tbody", {}, rows)))];
  if (wanted) out.push(requeue(), h("div", { class: "letters", tabindex: "0", role: "region", "aria-label": "Letters, latest first" }, found.letters.map(letter)));
  else out.push(h("p", { class: "empty" }, `Choose a reason to see its letters. Looked at: the latest ${count(found.most)} of each partition.`));
  return out;
}

function choose(group) {
  wanted = same(group) ? null : { reason: group.reason, stage: group.stage, topic: group.topic, message: part(group) };
  load();
}

function requeue() {
  const said = h("span", { role: "status" });
  const go = h("button", { type: "button", class: "primary", hidden: true, onclick: () => send(false, said, go) }, "Send back");
  return h("div", { class: "actions" }, h("button", { type: "button", onclick: () => send(true, said, go) }, "Requeue: dry run"), go, said);
}

async function send(dry, said, go) {
  text(said, dry ? "looking …" : "sending …");
  go.disabled = true;
  try {
    const done = await ask("/live/dead-letters/requeue", { ...wanted, dry_run: dry });
    if (!dry) {
      text(said, `${count(done.sent)} sent back${done.homeless ? `, ${count(done.homeless)} have no topic to go to` : ""}.`);
      go.hidden = true;
      say(said.textContent);
      return;
    }
    const homes = Object.entries(done.would_send);
    const all = homes.reduce((a, [, n]) => a + n, 0);
    text(said, `${homes.map(([topic, n]) => `${count(n)} would go to ${topic || "nowhere"}`).join(", ") || "Nothing would go"}; ${count(done.already)} were sent back before${done.exhausted ? `; ${count(done.exhausted)} failed too often and stay` : ""}${done.still_refused ? `; the contract still refuses ${count(done.still_refused)}, they would come back` : ""}.`);
    go.hidden = !all;
    const useless = done.still_refused >= all; // they would only come back: not what is offered first
    go.classList.toggle("primary", !useless);
    text(go, `Send ${count(all)} back${useless ? " anyway" : ""}`);
  } catch (error) {
    text(said, error.message);
  }
  go.disabled = false;
}

function letter(one) {
  return h("article", { class: "letter", "aria-label": `Letter ${one.position}` },
    h("div", {},
      h("p", {}, h("strong", {}, one.reason), ` at ${one.stage}${one.requeued ? ", sent back" : ""}`),
      h("p", {}, one.message),
      h("p", { class: one.today ? "refused" : "accepted" }, one.today ? `The contract today: ${one.today}` : "The contract would accept it today."),
      h("p", { class: "muted" }, `${one.source} · ${when(one.ts)} · key `, h("code", {}, one.key ?? "–"))),
    h("pre", { tabindex: "0", "aria-label": "The record" }, marked(pretty(one.value), field(one.message))));
}

function pretty(value) {
  if (value === null) return "no value";
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}

/** The field that a complaint names: `$.price` is price. */
const field = (message) => message.match(/`\$\.([\w-]+)/)?.[1];

function marked(shown, name) {
  const at = name ? shown.indexOf(`"${name}"`) : -1;
  if (at < 0) return [shown];
  const end = shown.indexOf("\n", at) < 0 ? shown.length : shown.indexOf("\n", at);
  return [shown.slice(0, at), h("mark", {}, shown.slice(at, end)), shown.slice(end)];
}
