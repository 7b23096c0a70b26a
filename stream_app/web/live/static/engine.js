// Topics and tables of the worker.
import { bytes, byId, count, duration, h, rate, reconcile, text } from "./dom.js";

let topics = [];
const known = new Set();

export function setUp() {
  byId("topics").append(
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Topic"), h("th", { scope: "col", class: "optional" }, "Partitions here"),
      ...["In /s", "Out /s", "Lag", "Watermark delay", "Late", "Dead"].map((name) => h("th", { scope: "col", class: name === "Late" ? "num optional" : "num" }, name)))),
    h("tbody"));
  byId("state").append(
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Table"), h("th", { scope: "col", class: "num" }, "Rows"), h("th", { scope: "col", class: "num" }, "Memory"))),
    h("tbody"));
}

export function know(worker) {
  topics = worker.topics;
}

export function show(numbers, worker) {
  const used = (topic) => numbers.events[topic.name] > 0 || numbers.published_s[topic.name] > 0 || known.has(topic.name) || topic.role === "errors";
  const live = topics.filter(used);
  for (const topic of live) known.add(topic.name);
  const idle = topics.filter((topic) => !known.has(topic.name)).map((topic) => topic.name);
  text(byId("topics-idle"), idle.length ? `Quiet since this page was opened: ${idle.join(", ")}.` : "");
  reconcile(byId("topics").tBodies[0], live, (topic) => topic.name, makeTopic, (row, topic) => updateTopic(row, topic, numbers));
  text(byId("topics-note"), worker ? `${worker.guarantee.replaceAll("_", " ")} · ${numbers.models.join(", ") || "rules answer"}` : "");
  const tables = Object.entries(numbers.tables).sort((a, b) => b[1][1] - a[1][1]);
  reconcile(byId("state").tBodies[0], tables, ([name]) => name,
    ([name]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "num" }), h("td", { class: "num" })),
    (row, [, [rows, size]]) => {
      text(row.children[1], count(rows));
      text(row.children[2], bytes(size));
    });
  text(byId("state-note"), numbers.gated ? `promotions withheld from ${count(numbers.gated)}` : "");
}

function makeTopic(topic) {
  return h("tr", {}, h("th", { scope: "row", title: topic.summary }, topic.name), h("td", { class: "optional" }),
    ...[2, 3, 4, 5].map(() => h("td", { class: "num" })), h("td", { class: "num optional" }), h("td", { class: "num" }));
}

function updateTopic(row, topic, numbers) {
  const held = numbers.held[topic.name];
  const reads = topic.name in numbers.events;
  const dead = Object.values(numbers.dead_letters[topic.name] ?? {}).reduce((a, b) => a + b, 0);
  const of = (map, format) => (map[topic.name] === undefined ? "" : format(map[topic.name]));
  const cells = [
    held ? (held.length === topic.partitions ? `all ${topic.partitions}` : `${held.join(", ")} of ${topic.partitions}`) : "",
    reads ? rate(numbers.events_s[topic.name]) : "", of(numbers.published_s, rate), of(numbers.lag, count),
    of(numbers.watermark_delay_s, duration), of(numbers.late, count), reads ? count(dead) : "",
  ];
  cells.forEach((value, i) => text(row.children[i + 1], value));
}
