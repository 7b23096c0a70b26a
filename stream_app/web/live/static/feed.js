// Recommendations as they arrive: a sample at the speed of reading, and still while somebody reads.
import { amount, byId, count, h, reconcile, text, when } from "./dom.js";
import { look } from "./user.js";

const MOST = 14;
const EVERY_MS = 1200;
let waiting = [];
let shown = [];
let passed = 0;
let drawnAt = 0;
let still = false;
let recent = [];

export function setUp() {
  const list = byId("feed");
  for (const [begin, end] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
    list.addEventListener(begin, () => { still = true; });
    list.addEventListener(end, () => { still = false; });
  }
}

export function show({ n, rows }) {
  passed += n;
  waiting = rows.slice().reverse().concat(waiting).slice(0, MOST);
  const now = performance.now();
  if (still) {
    text(byId("feed-note"), "standing still while you read");
    return;
  }
  if (now - drawnAt < EVERY_MS) return;
  drawnAt = now;
  // A few at a time, of different users: what moves faster than it can be read says nothing.
  const fresh = [];
  for (const row of waiting) {
    if (fresh.length < 3 && !fresh.some((other) => other.user === row.user) && !shown.some((old) => old.id === row.id)) fresh.push(row);
  }
  if (!shown.length) fresh.push(...waiting.filter((row) => !fresh.includes(row)));
  waiting = [];
  shown = fresh.concat(shown).slice(0, MOST);
  byId("feed-empty").hidden = shown.length > 0;
  const list = byId("feed");
  reconcile(list, shown, (row) => row.id, draw);
  if (list.scrollTop < 40) list.scrollTop = 0;
  if (passed) text(byId("feed-note"), `${fresh.length} shown of ${count(passed)} published`);
  passed = 0;
  offer(fresh.map((row) => row.user));
}

/** Users of the last lists as suggestions of the search. */
function offer(users) {
  recent = [...new Set(users.concat(recent))].slice(0, 12);
  reconcile(byId("user-recent"), recent, (user) => user, (user) => h("option", { value: user }));
}

function draw(row) {
  return h("li", {},
    h("div", { class: "head" },
      h("button", { type: "button", class: "plain", onclick: () => look(row.user), "aria-label": `Look up user ${row.user}` }, row.user),
      h("span", { class: "muted" }, h("span", { class: `key ${row.rung}`, "aria-hidden": "true" }), row.rung),
      h("span", { class: "muted when", title: `event time ${when(row.ts)}, decision ${row.id}` }, when(row.made)),
    ),
    row.note ? h("p", { class: "held" }, row.note) : null,
    row.items.length ? h("ol", { class: "goods" }, row.items.slice(0, 3).map((item, i) => goods(item, i))) : row.note ? null : h("p", { class: "muted" }, "an empty list"),
  );
}

function goods(item, i) {
  return h("li", {},
    h("span", { class: "rank" }, String(i + 1)),
    h("span", { class: "title", title: item.id }, item.title ?? item.id),
    h("span", { class: "num" }, amount(item.price)),
    h("span", { class: "why", title: item.why ?? "" }, item.why ?? ""),
  );
}
