// One user: what they did and what was recommended, side by side; asked for again while it is open.
import { amount, byId, count, h, percent, when } from "./dom.js";
import { say } from "./say.js";
import { ask } from "./stream.js";

const AGAIN_MS = 3000;
// Shares of a score that would be shown as 0 % are not.
const TOLD = 0.005;
let current = null;
let explain = false;
let paused = false;
let drawn = "";

export function setUp() {
  byId("user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    look(byId("user-id").value.trim(), true);
  });
  setInterval(() => {
    if (current && !paused && !document.hidden) load(current, false);
  }, AGAIN_MS);
}

export function pause(is) {
  paused = is;
}

/** Show a user; `here`: the search was used, so the focus stays in it. */
export function look(user, here = false) {
  if (!user) return;
  current = user;
  explain = false;
  drawn = "";
  byId("user-id").value = user;
  if (!here) byId("user-form").scrollIntoView({ block: "nearest" });
  load(user, true);
}

async function load(user, first) {
  const name = encodeURIComponent(user);
  const box = byId("user");
  try {
    const [known, list] = await Promise.all([
      ask(`/live/users/${name}`),
      ask(`/recommendations/${name}${explain ? "?explain=true" : ""}`).catch((error) => ({ items: [], note: error.message })),
    ]);
    if (user !== current) return;
    const now = JSON.stringify([known, list]);
    if (now !== drawn && !box.contains(document.activeElement)) {
      box.replaceChildren(draw(known, list));
      drawn = now;
    }
    if (first) say(`User ${user}: ${known.history.length} events remembered, ${list.items.length} items recommended.`);
  } catch (error) {
    if (user !== current || !first) return;
    current = null;
    box.replaceChildren(h("p", { class: "empty", role: "alert" }, error.message));
  }
}

function draw(known, list) {
  return h("div", {},
    known.withheld ? h("p", { class: "held" }, `Promotions are withheld: ${known.withheld}`) : null,
    h("div", { class: "windows" }, known.windows.map(draw_window)),
    h("div", { class: "pair" },
      h("section", { "aria-label": "History" }, h("h3", {}, `Last ${known.history.length} events`),
        h("ul", { class: "list", tabindex: "0", "aria-label": "Events, latest first" }, known.history.map(event))),
      h("section", { "aria-label": "Recommended" }, h("h3", {}, list.made === "computed" ? "Recommended now, computed" : "Recommended last"),
        list.note ? h("p", { class: "held" }, list.note) : null,
        h("ol", { class: "list", tabindex: "0", "aria-label": "Recommended items, best first" }, list.items.map(item))),
    ),
    h("p", { class: "facts" },
      h("span", {}, `partition ${known.partition}`),
      list.model ? h("span", {}, [...new Set([list.rung, list.model])].join(" · ")) : null,
      list.decision_id ? h("span", { class: "id" }, list.decision_id) : null,
      h("button", { type: "button", class: "plain", "aria-pressed": String(explain), onclick: toggle }, explain ? "Without contributions" : "Explain the scores"),
    ),
  );
}

function toggle(event) {
  explain = !explain;
  drawn = "";
  event.target.blur();
  load(current, true);
}

function draw_window(window) {
  const most = Math.max(1, ...window.buckets.map(([, n]) => n));
  const bars = window.buckets.map(([day, n]) => {
    const bar = h("span", { class: n ? "" : "none", title: `${day}: ${count(n)}` });
    bar.style.height = `${Math.max(2, Math.round((28 * n) / most))}px`;
    return bar;
  });
  const said = window.buckets.map(([day, n]) => `${day}: ${n}`).join(", ");
  return h("div", { class: "window" }, h("h3", {}, window.name), h("p", { class: "total" }, count(window.total)),
    h("div", { class: "bars", role: "img", "aria-label": `By ${window.unit}: ${said}` }, bars));
}

function event(one) {
  return h("li", {},
    h("p", { class: "line" }, h("span", { class: "title", title: one.id }, one.title ?? one.id), h("span", { class: "price" }, amount(one.price))),
    h("p", { class: "muted" }, `${one.action} · ${when(one.ts)}`));
}

function item(one, i) {
  return h("li", {},
    h("p", { class: "line" }, h("span", { class: "muted" }, String(i + 1)), h("span", { class: "title", title: one.item_id }, one.title ?? one.item_id), h("span", { class: "price" }, amount(one.price))),
    h("p", { class: "muted" }, one.reason ?? ""),
    one.why ? h("p", { class: "muted" }, why(one)) : null);
}

/** Shares of a score, the largest past items by name. */
function why(one) {
  const all = Math.abs(one.score) || 1;
  const parts = (one.why.rules ?? []).slice(0, 3).map((part) => [part.title ?? part.item_id, part.contribution / all]);
  if (one.why.model) parts.unshift(["model", one.why.model / all]);
  const told = parts.filter(([, share]) => Math.abs(share) >= TOLD).map(([name, share]) => `${name} ${percent(share, 0)}`);
  return told.length ? `score from ${told.join(", ")}` : one.why.source;
}
