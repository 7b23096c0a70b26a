// A line with its forecast band and risk line, in SVG by hand.
import { h, percent, price, s, when } from "./dom.js";

const WIDTH = 720, HEIGHT = 330, LEFT = 8, RIGHT = 66, TOP = 8, BOTTOM = 22;

/** Bars of a symbol: what each was, and what had been said of it by the one before. points: see the server's Prices. */
export function bars(points) {
  const at = new Map(points.map((point) => [key(point[0]), point]));
  return points.filter((point) => point[1] !== null).map(([ts, value, , , , , step]) => {
    const said = step ? at.get(key(ts - step)) : undefined;
    if (!said || said[1] === null) return { ts, value, step };
    const [, before, mean, lower, upper, risk] = said;
    const floor = risk === null || risk === undefined ? null : before * (1 - risk);
    return { ts, value, step, mean, lower, upper, floor, hit: floor !== null && value < floor, inside: value >= lower && value <= upper };
  });
}

const key = (ts) => Math.round(ts * 1000);

/** What the bars say of the model: how many were in the band, how many fell below the risk line. */
export function verdict(rows) {
  const told = rows.filter((row) => row.lower !== undefined);
  const risky = told.filter((row) => row.floor !== null);
  return { told: told.length, inside: told.filter((row) => row.inside).length, risky: risky.length, hits: risky.filter((row) => row.hit).length };
}

export class Chart {
  constructor(box, name) {
    this.box = box;
    this.cursor = null;
    this.readout = h("p", { class: "readout", "aria-live": "off" });
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", tabindex: "0" });
    this.rows = [];
    this.name = name;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.move(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    box.replaceChildren(this.readout, this.svg);
  }

  draw(rows, next, name) {
    this.rows = rows;
    this.next = next;
    this.name = name;
    if (rows.length < 2) return;
    const { width, height } = this.size();
    const first = rows[0].ts, last = next ? next.ts : rows.at(-1).ts;
    const values = rows.flatMap((row) => [row.value, row.lower, row.upper, row.floor]).concat(next ? [next.lower, next.upper, next.floor] : []).filter((v) => Number.isFinite(v));
    let low = Math.min(...values), high = Math.max(...values);
    const margin = (high - low || high * 1e-4) * 0.06;
    low -= margin;
    high += margin;
    this.x = (ts) => LEFT + ((ts - first) / (last - first || 1)) * (width - LEFT - RIGHT);
    this.y = (v) => TOP + ((high - v) / (high - low)) * (height - TOP - BOTTOM);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const told = runs(next ? rows.concat([next]) : rows, (row) => row.lower !== undefined);
    this.svg.replaceChildren(
      ...this.axis(low, high, first, last, width, height),
      ...told.filter((run) => run.length === 1).map(([row]) => this.lone(row)),
      ...told.filter((run) => run.length > 1).map((run) => s("path", { class: "band", d: line(run, this.x, (row) => this.y(row.upper)) + line(run.slice().reverse(), this.x, (row) => this.y(row.lower), "L") + "Z" })),
      ...told.map((run) => s("path", { class: "mean", d: line(run, this.x, (row) => this.y(row.mean)) })),
      ...runs(next ? rows.concat([next]) : rows, (row) => Number.isFinite(row.floor)).map((run) => s("path", { class: "var", d: line(run, this.x, (row) => this.y(row.floor)) })),
      s("path", { class: "price", d: line(rows, this.x, (row) => this.y(row.value)) }),
      ...rows.filter((row) => row.hit).map((row) => this.mark(row)),
      (this.cross = s("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" })),
    );
    const v = verdict(rows);
    const end = rows.at(-1);
    this.svg.setAttribute("aria-label", `Price of ${name}: ${price(end.value)} at ${when(end.ts)}. ${v.inside} of ${v.told} bars were within their interval, ${v.hits} of ${v.risky} fell below value at risk. Arrow keys read single bars; a table follows.`);
    this.move(this.cursor === null ? null : Math.min(this.cursor, rows.length - 1));
  }

  size() {
    const box = this.svg.getBoundingClientRect();
    return { width: box.width || WIDTH, height: box.height || HEIGHT };
  }

  axis(low, high, first, last, width, height) {
    const out = [];
    for (const v of ticks(low, high)) {
      const y = this.y(v);
      out.push(s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }), s("text", { x: width - RIGHT + 8, y: y + 4 }, price(v)));
    }
    for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      out.push(s("text", { x: LEFT + share * (width - LEFT - RIGHT), y: height - 5, "text-anchor": anchor }, when(first + share * (last - first)).slice(-8)));
    }
    return out;
  }

  /** The interval of a bar whose neighbours have none: a box as wide as the bar. */
  lone(row) {
    const half = ((this.x(row.ts) - this.x(row.ts - row.step)) || 4) / 2;
    return s("rect", { class: "band", x: this.x(row.ts) - half, width: 2 * half, y: this.y(row.upper), height: Math.max(1, this.y(row.lower) - this.y(row.upper)) });
  }

  mark(row) {
    const x = this.x(row.ts), y = this.y(row.value);
    return s("path", { class: "hit", d: `M${x} ${y + 6}L${x - 6} ${y - 4}L${x + 6} ${y - 4}Z` }, s("title", {}, `below value at risk: ${price(row.value)}`));
  }

  point(event) {
    if (!this.x || this.rows.length < 2) return;
    const at = event.clientX - this.svg.getBoundingClientRect().left;
    let best = 0;
    this.rows.forEach((row, i) => { if (Math.abs(this.x(row.ts) - at) < Math.abs(this.x(this.rows[best].ts) - at)) best = i; });
    this.move(best);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined || !this.rows.length) return;
    event.preventDefault();
    this.readout.setAttribute("aria-live", "polite");
    this.move(Math.max(0, Math.min(this.rows.length - 1, (this.cursor ?? this.rows.length - 1) + step)));
  }

  move(i) {
    this.cursor = i;
    const row = this.rows[i ?? this.rows.length - 1];
    if (!row) return;
    this.cross?.setAttribute("visibility", i === null ? "hidden" : "visible");
    this.cross?.setAttribute("x1", this.x(row.ts));
    this.cross?.setAttribute("x2", this.x(row.ts));
    const part = (kind, words) => h("span", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), words);
    this.readout.replaceChildren(
      h("span", { class: "muted" }, when(row.ts)), part("price", `price ${price(row.value)}`),
      ...(row.lower === undefined ? [] : [part("band", `forecast ${price(row.lower)} – ${price(row.upper)}${row.inside ? "" : ", missed"}`)]),
      ...(Number.isFinite(row.floor) ? [part("var", `value at risk 99 % ${price(row.floor)} (${percent(Math.abs(1 - row.floor / row.value), 2)} ${row.hit ? "above" : "below"} the price)${row.hit ? ", exceeded" : ""}`)] : []),
    );
  }
}

function line(rows, x, y, begin = "M") {
  return rows.map((row, i) => `${i ? "L" : begin}${x(row.ts).toFixed(1)} ${y(row).toFixed(1)}`).join("");
}

/** Round numbers between two, three to seven. */
export function ticks(low, high) {
  const rough = (high - low) / 6;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** Stretches of rows in a row that fit. */
function runs(rows, fits) {
  const out = [];
  let run = [];
  for (const row of rows) {
    if (fits(row)) run.push(row);
    else if (run.length) { out.push(run); run = []; }
  }
  if (run.length) out.push(run);
  return out;
}
