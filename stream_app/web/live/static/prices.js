// Symbols, the chart of the one chosen, and the same as a table.
import { Chart, bars, verdict } from "./chart.js";
import { byId, count, h, percent, price, reconcile, text, when } from "./dom.js";

const KEEP = 180;
const TABLE = 40;
const EVERY_MS = 700;
let lines = new Map();
let level = 0.9;
let chosen = null;
let chart = null;
let drawnAt = 0;
let timer = 0;

export function setUp() {
  byId("prices-details").addEventListener("toggle", drawTable);
  new ResizeObserver(() => draw()).observe(byId("chart"));
}

export function show(data) {
  if (data.all) lines = new Map();
  if (data.level) level = data.level;
  for (const [symbol, points] of Object.entries(data.lines)) {
    const line = lines.get(symbol) ?? [];
    line.push(...points);
    lines.set(symbol, line.slice(-KEEP));
  }
  clearTimeout(timer);
  timer = setTimeout(draw, Math.max(0, EVERY_MS - (performance.now() - drawnAt)));
}

function draw() {
  if (!lines.size) return;
  drawnAt = performance.now();
  byId("prices-empty").hidden = true;
  byId("prices-details").hidden = false;
  const symbols = [...lines.keys()].sort();
  if (!lines.has(chosen)) chosen = symbols.reduce((a, b) => (lines.get(b).length > lines.get(a).length ? b : a));
  reconcile(byId("symbols"), symbols, (name) => name, make, update);
  const points = lines.get(chosen);
  const rows = bars(points);
  const [ts, value, mean, lower, upper, risk, step] = points.at(-1);
  const next = step && value !== null ? { ts: ts + step, step, value: NaN, mean, lower, upper, floor: risk === null || risk === undefined ? null : value * (1 - risk) } : null;
  chart ??= new Chart(byId("chart"), chosen);
  chart.draw(rows, next, chosen);
  const v = verdict(rows);
  text(byId("prices-note"), v.told ? `${v.inside} of ${v.told} bars in their interval (${percent(v.inside / v.told, 0)}, meant ${percent(level, 0)}) · ${v.risky ? `${v.hits} of ${v.risky} below VaR 99 %` : "VaR 99 % needs 99 bars"}` : `a bar is ${step} s`);
  drawTable();
}

function make(name) {
  return h("button", { type: "button", onclick: () => { chosen = name; chart && (chart.cursor = null); draw(); } },
    h("span", { class: "name" }), h("span", {}, h("span", { class: "price" }), " ", h("span", { class: "hits" })));
}

function update(button, name) {
  const points = lines.get(name);
  const hits = bars(points).filter((row) => row.hit).length;
  button.setAttribute("aria-pressed", String(name === chosen));
  button.setAttribute("title", hits ? `${name}: ${hits} bars below value at risk` : name);
  text(button.firstChild, name);
  text(button.querySelector(".price"), price(points.at(-1)[1]));
  text(button.querySelector(".hits"), hits ? `▼${count(hits)}` : "");
}

function drawTable() {
  const details = byId("prices-details");
  if (!details.open || !lines.has(chosen)) return;
  const rows = bars(lines.get(chosen)).slice(-TABLE).reverse();
  const cell = (value) => h("td", { class: "num" }, value);
  byId("prices-table").replaceChildren(h("table", {},
    h("caption", { class: "hidden" }, `${chosen}: last bars, latest first`),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Bar ended"), ...["Price", "Forecast from", "to", "VaR 99 % line"].map((name) => h("th", { scope: "col", class: "num" }, name)), h("th", { scope: "col" }, "Verdict"))),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, when(row.ts)), cell(price(row.value)), cell(price(row.lower)), cell(price(row.upper)), cell(price(row.floor)),
      h("td", {}, row.hit ? "below value at risk" : row.lower === undefined ? "" : row.inside ? "within" : "outside the interval"))))));
}
