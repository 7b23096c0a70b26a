// Alerts, worst first, with their evidence, and what a person does about them.
import { byId, count, duration, h, number, reconcile, text, when, words } from "./dom.js";
import { say } from "./say.js";
import { ask } from "./stream.js";

const SEVERITIES = ["critical", "warning", "info"];
const MARKS = { critical: "▲", warning: "◆", info: "●" };
const STATES = { firing: "", acknowledged: "acknowledged", silenced: "silenced", held: "held back by the rate cap", resolved: "over" };
const JUDGED = { confirmed: "judged right", rejected: "judged wrong" };
const SAID = { acknowledge: "Acknowledged.", silence: "Silenced.", verdict: "Judged." };
// What a value and its threshold count, where the alert's own words are not enough.
const UNITS = { velocity: "orders in 60 s", price_spike: "bp", price_acceleration: "bp" };
const RECORDS_SHOWN = 10;
const RESOLVED_SHOWN = 8;
const OTHERS_MS = 4000;
const chosen = new Set(SEVERITIES);
let here = { alerts: [], total: 0 };
let elsewhere = [];
let others = [];
let silenceS = 3600;
let heard = null;
let pending = new Map();

export function setUp() {
  byId("alert-filter").append(...SEVERITIES.map((severity) => h("button", {
    type: "button", "aria-pressed": "true", id: `show-${severity}`,
    onclick: (event) => {
      if (chosen.has(severity)) chosen.delete(severity);
      else chosen.add(severity);
      event.currentTarget.setAttribute("aria-pressed", String(chosen.has(severity)));
      draw();
    },
  }, severity)));
  const by = byId("by");
  try {
    by.value = localStorage.getItem("tsrec-by") ?? "";
  } catch {
    // Nothing is kept.
  }
  by.addEventListener("change", () => {
    try {
      localStorage.setItem("tsrec-by", by.value.trim());
    } catch {
      // It holds until the page is left.
    }
  });
  setInterval(askOthers, OTHERS_MS);
}

export function know(worker) {
  others = worker.others;
  silenceS = worker.silence_s;
}

export function show(data) {
  here = data;
  draw();
}

/** Alerts of the whole group, where there are other workers; ours come with the frames. */
async function askOthers() {
  if (!others.length || document.hidden) {
    if (!others.length) elsewhere = [];
    return;
  }
  try {
    elsewhere = (await ask("/alerts?state=open&limit=60")).alerts;
    draw();
  } catch {
    // The link's state says it already; the next time may do.
  }
}

const stands = (alert) => `${alert.state} ${alert.verdict ?? ""}`;
const isOpen = (alert) => alert.state !== "resolved";

function draw() {
  const known = new Set(here.alerts.map((alert) => alert.alert_id));
  const every = here.alerts.concat(elsewhere.filter((alert) => !known.has(alert.alert_id)));
  const open = every.filter(isOpen);
  for (const severity of SEVERITIES) {
    text(byId(`show-${severity}`), `${words(severity)} ${count(open.filter((alert) => alert.severity === severity).length)}`);
  }
  const rank = (alert) => (isOpen(alert) ? 0 : 10) + SEVERITIES.indexOf(alert.severity);
  const wanted = every.filter((alert) => chosen.has(alert.severity)).sort((a, b) => rank(a) - rank(b) || b.last_ts - a.last_ts);
  const over = wanted.filter((alert) => !isOpen(alert)).slice(0, RESOLVED_SHOWN);
  const shown = wanted.filter(isOpen).concat(over);
  reconcile(byId("alerts"), shown, (alert) => alert.alert_id, make, update);
  const empty = byId("alerts-empty");
  empty.hidden = wanted.some(isOpen);
  text(empty, open.length ? "Nothing of the severities chosen is open." : "Nothing is open.");
  text(byId("alerts-note"), `${count(open.length)} open${here.total > here.alerts.length ? `, ${count(here.total - here.alerts.length)} more` : ""}`);
  announce(open);
}

function announce(open) {
  const critical = open.filter((alert) => alert.severity === "critical" && alert.state === "firing");
  const fresh = heard === null ? [] : critical.filter((alert) => !heard.has(alert.alert_id));
  heard = new Set(critical.map((alert) => alert.alert_id));
  if (fresh.length) say(`Critical alert: ${words(fresh[0].kind)} of ${fresh[0].subject}. ${fresh[0].message}`);
}

function make(alert) {
  const { alert_id: id } = alert;
  const choice = h("select", { "aria-label": "Silence for" },
    [900, 3600, 28800, 86400].map((s) => h("option", { value: s, selected: s === 3600 }, duration(s).replace("24 h", "1 day"))));
  return h("li", {},
    h("span", { class: "sev" }),
    h("div", {},
      h("p", { class: "head" }, h("span", { class: "kind" }), h("span", { class: "subject id" }), h("span", { class: "when" })),
      h("p", { class: "message" }),
      h("div", { class: "acts" },
        h("details", {}, h("summary", {}, "Evidence"), h("div", { class: "holds" })),
        h("button", { type: "button", class: "ack", onclick: () => act(id, "acknowledge", {}) }, "Acknowledge"),
        h("button", { type: "button", class: "mute", onclick: () => act(id, "silence", { duration_s: Number(choice.value) }) }, "Silence"),
        choice,
        h("span", { class: "muted judge" }, "Was it right?"),
        h("button", { type: "button", class: "right", title: "The alert was right: kept as a label", onclick: () => act(id, "verdict", { confirmed: true }) }, "Right"),
        h("button", { type: "button", class: "wrong", title: "The alert was wrong: kept as a label", onclick: () => act(id, "verdict", { confirmed: false }) }, "Wrong"),
        h("span", { class: "state", role: "status" }))));
}

function update(row, alert) {
  const find = (name) => row.querySelector(name);
  row.classList.toggle("over", !isOpen(alert));
  const severity = find(".sev");
  severity.className = `sev ${alert.severity}`;
  text(severity, `${MARKS[alert.severity]} ${alert.severity}`);
  text(find(".kind"), words(alert.kind));
  text(find(".subject"), alert.subject);
  text(find(".when"), alert.first_ts === alert.last_ts ? when(alert.last_ts) : `${when(alert.last_ts)}, for ${duration(alert.last_ts - alert.first_ts)}`);
  text(find(".message"), alert.message);
  const holds = find(".holds");
  const facts = JSON.stringify([alert.evidence, alert.value, alert.occurrences]);
  if (holds.dataset.facts !== facts) {
    holds.dataset.facts = facts;
    holds.replaceChildren(evidence(alert));
  }
  if (pending.has(alert.alert_id) && pending.get(alert.alert_id) !== stands(alert)) pending.delete(alert.alert_id);
  const waits = pending.has(alert.alert_id);
  const over = !isOpen(alert);
  find(".ack").hidden = over || alert.state !== "firing";
  find(".mute").hidden = find("select").hidden = over || alert.state === "silenced";
  find(".right").hidden = alert.verdict === "confirmed";
  find(".wrong").hidden = alert.verdict === "rejected";
  for (const name of [".ack", ".mute", ".right", ".wrong"]) find(name).disabled = waits;
  const by = alert.acknowledged_by ? ` by ${alert.acknowledged_by}` : "";
  const state = find(".state");
  const said = [`${STATES[alert.state] ?? alert.state}${by}`, JUDGED[alert.verdict] ?? ""].filter(Boolean).join(", ");
  if (!state.dataset.error) text(state, waits ? "sent …" : said);
}

async function act(id, action, body) {
  const by = byId("by").value.trim();
  const row = [...byId("alerts").children].find((child) => child.dataset.key === id);
  const state = row?.querySelector(".state");
  const alert = here.alerts.concat(elsewhere).find((one) => one.alert_id === id);
  pending.set(id, alert ? stands(alert) : "");
  if (state) delete state.dataset.error;
  draw();
  try {
    await ask(`/alerts/${encodeURIComponent(id)}/${action}`, { ...body, ...(by ? { by } : {}) });
    say(SAID[action]);
    setTimeout(() => { pending.delete(id); draw(); }, 5000);
  } catch (error) {
    pending.delete(id);
    if (state) {
      state.dataset.error = "1";
      text(state, error.message);
      setTimeout(() => { delete state.dataset.error; draw(); }, 8000);
    }
    draw();
  }
}

// -- evidence

function evidence(alert) {
  const unit = UNITS[alert.kind] ? ` ${UNITS[alert.kind]}` : "";
  const { occurrences, ...rest } = alert.evidence; // there once it is over
  const seen = alert.occurrences ?? occurrences;
  const facts = [["Value", number(alert.value) + unit], ["Threshold", number(alert.threshold) + unit], ["Seen", seen ? `${count(seen)} ×` : null], ["Caused by", alert.source]];
  return h("dl", { class: "evidence" },
    facts.filter(([, value]) => value !== null).concat(Object.entries(rest)).map(([name, value]) => [h("dt", {}, words(name)), h("dd", {}, shown(name, value, alert.subject))]));
}

/** Values as they are: numbers short, times as times, rows of records as a table, without what all say of the subject. */
function shown(name, value, subject) {
  if (typeof value === "number") return isTime(name, value) ? when(value) : number(value);
  if (Array.isArray(value) && value.length && value.every((one) => one && typeof one === "object" && !Array.isArray(one))) {
    const columns = [...new Set(value.flatMap((one) => Object.keys(one)))].filter((column) => value.some((one) => one[column] !== subject));
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": words(name) },
      value.length > RECORDS_SHOWN ? h("p", { class: "muted" }, `the last ${RECORDS_SHOWN} of ${count(value.length)}`) : null,
      h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column === "ts" ? "Time" : words(column))))),
        h("tbody", {}, value.slice(-RECORDS_SHOWN).map((one) => h("tr", {}, columns.map((column) => h("td", {}, shown(column, one[column]))))))));
  }
  if (Array.isArray(value)) return value.map((one) => (typeof one === "number" ? number(one) : String(one))).join(", ");
  if (value && typeof value === "object") return Object.entries(value).map(([key, one]) => `${key}: ${typeof one === "number" ? number(one) : JSON.stringify(one)}`).join(", ");
  return value === null || value === undefined ? "–" : String(value);
}

const isTime = (name, value) => (name === "ts" || name === "start" || name.endsWith("_ts")) && value > 1e8;
