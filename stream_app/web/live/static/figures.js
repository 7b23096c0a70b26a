// The strip of key figures.
import { bytes, byId, count, duration, h, milliseconds, percent, rate, s, text, when } from "./dom.js";
import { mention } from "./say.js";

const SPARK = 120;
// Event time so far behind the clock is history that is read again, and no trouble.
const REPLAY_S = 14 * 86400;
const history = [];
const cells = {};

function cell(name, title, ...extra) {
  const big = h("dd", { class: "big" }, "–");
  const sub = h("dd", { class: "sub" }, "\u00a0");
  cells[name] = { big, sub, box: h("div", {}, h("dt", { title }, name), big, ...extra, sub) };
  return cells[name].box;
}

function put(name, big, unit, sub, bad = false) {
  const { big: b, sub: u } = cells[name];
  if (b.dataset.shown !== `${big}|${unit}`) {
    b.dataset.shown = `${big}|${unit}`;
    b.replaceChildren(big, ...(unit ? [" ", h("small", {}, unit)] : []));
  }
  b.classList.toggle("bad", bad);
  text(u, sub);
}

const spark = s("svg", { class: "spark", viewBox: `0 0 ${SPARK - 1} 30`, preserveAspectRatio: "none", "aria-hidden": "true" }, s("path", {}));
const rungs = h("div", { class: "rungs", "aria-hidden": "true" });

export function setUp() {
  byId("figures").append(
    cell("Events in", "Events read, a second", spark),
    cell("Decision latency", "From the arrival of an event to its decision, last 30 seconds"),
    cell("Lag", "Records not yet processed and committed"),
    cell("Watermark delay", "Clock less the slowest watermark of this worker"),
    cell("Who answered", "Share of recommendations by rung of the deadline ladder, last 30 seconds", rungs),
    cell("State", "Rows and memory of the tables"),
  );
}

const sum = (values) => Object.values(values).reduce((a, b) => a + (b ?? 0), 0);

export function show(numbers, worker) {
  const events = sum(numbers.events_s);
  if (Object.values(numbers.events_s).some((n) => n !== null)) history.push(events);
  if (history.length > SPARK) history.shift();
  drawSpark();
  put("Events in", rate(events), "/s", `${rate(numbers.decisions_s)} decisions/s`);
  const { p50, p90, p99 } = numbers.latency_ms;
  put("Decision latency", milliseconds(p99), "p99", `p50 ${milliseconds(p50)} · p90 ${milliseconds(p90)} · budget ${count(numbers.budget_ms)} ms`, p99 > numbers.budget_ms);
  const lag = sum(numbers.lag);
  const age = numbers.checkpoint_age_s;
  put("Lag", count(lag), lag === 1 ? "record" : "records", age === null ? "no checkpoint yet" : `checkpoint ${duration(age)} ago`);
  const delays = Object.entries(numbers.watermark_delay_s).filter(([topic]) => worker?.topics.some((t) => t.name === topic && t.role === "input"));
  const worst = delays.reduce((a, b) => (b[1] > a[1] ? b : a), ["", -Infinity]);
  const past = worst[1] > REPLAY_S;
  if (past) put("Watermark delay", when(numbers.at - worst[1]).slice(0, 10), "", `a replay of ${worst[0]}, ${duration(worst[1])} ago`);
  else put("Watermark delay", worst[0] ? duration(worst[1]) : "–", "", worst[0] ? `slowest: ${worst[0]}` : "nothing read yet");
  drawRungs(numbers, worker);
  const rows = Object.values(numbers.tables);
  put("State", bytes(rows.reduce((a, [, size]) => a + size, 0)), "", `${count(rows.reduce((a, [n]) => a + n, 0))} rows · ${bytes(numbers.outbox_bytes)} outgoing`);
  mention(`${rate(events)} events a second, lag ${count(lag)}, ninety-nine percent of decisions within ${milliseconds(p99)}.`);
}

function drawSpark() {
  const most = Math.max(...history, 1);
  const from = SPARK - history.length;
  const path = history.map((n, i) => `${i ? "L" : "M"}${from + i} ${(29 - (28 * n) / most).toFixed(1)}`).join("");
  spark.firstChild.setAttribute("d", path);
}

/** A share with as many digits as tell it from all and nothing. */
function share(part) {
  return part < 0.001 ? "< 0.1 %" : percent(part, part > 0.995 || part < 0.005 ? 1 : 0);
}

function drawRungs(numbers, worker) {
  const shares = Object.entries(numbers.rungs).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const all = shares.reduce((a, [, n]) => a + n, 0);
  const shown = shares.map(([rung, n]) => `${rung} ${share(n / all)}`).join(" · ");
  if (rungs.dataset.shown !== shown) {
    rungs.dataset.shown = shown;
    rungs.replaceChildren(...shares.map(([rung, n]) => {
      const part = h("span", { class: rung });
      part.style.flex = String(n / all);
      return part;
    }));
  }
  const first = shares[0];
  put("Who answered", first ? percent(first[1] / all, 0) : "–", first ? first[0] : "", shares.length > 1 ? shown : `model ${worker?.model ?? "none: rules"}`);
}
