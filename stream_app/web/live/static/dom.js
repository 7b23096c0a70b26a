// Elements, texts and numbers. Text always goes in as text: what comes from a topic is never read as markup.

export const byId = (id) => document.getElementById(id);

/** An element: h("li", {class: "row", onclick: f}, "text", child, null). */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set a text only where it changed: a screen reader and a selection stay where they are. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Rows by key: known ones are kept and moved, new ones made, the others removed; focus and open details survive. */
export function reconcile(parent, rows, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const row of rows) {
    const name = String(key(row));
    let child = known.get(name);
    if (child) known.delete(name);
    else {
      child = make(row);
      child.dataset.key = name;
    }
    update?.(child, row);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const child of known.values()) child.remove();
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));
export const rate = (n) => (n === null || n === undefined ? "–" : n >= 100 ? whole.format(n) : tenth.format(n));
export const amount = (n) => (n === null || n === undefined ? "" : money.format(n));
export const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)}\u00a0%`;

/** A price with the digits that its size needs. */
export function price(n) {
  if (n === null || n === undefined) return "–";
  const digits = n === 0 ? 2 : Math.max(2, Math.min(8, 5 - Math.floor(Math.log10(Math.abs(n)) + 1)));
  return n.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Any number of an evidence: five significant digits, or all before the point. */
export function number(n) {
  if (!Number.isFinite(n)) return String(n);
  return Number.isInteger(n) || Math.abs(n) >= 1e4 ? whole.format(n) : n.toLocaleString("en", { maximumSignificantDigits: 5 });
}

export function bytes(n) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i ? n.toFixed(n < 10 ? 1 : 0) : n} ${units[i]}`;
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const a = Math.abs(seconds);
  if (a < 60) return `${seconds.toFixed(a < 10 ? 1 : 0)} s`;
  if (a < 5400) return `${Math.round(seconds / 60)} min`;
  if (a < 172800) return `${Math.round(seconds / 3600)} h`;
  if (a < 86400 * 730) return `${Math.round(seconds / 86400)} days`;
  return `${(seconds / 86400 / 365.25).toFixed(1)} years`;
}

const pad = (n) => String(n).padStart(2, "0");

/** Local time of day; with the date where it is not today's. */
export function when(ts) {
  if (ts === null || ts === undefined || !Number.isFinite(ts)) return "–";
  const d = new Date(ts * 1000);
  const clock = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  return d.toDateString() === new Date().toDateString() ? clock : `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock}`;
}

/** `forecast_break` as people write it. */
export function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
