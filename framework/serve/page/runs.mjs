// The table of runs: found by words, kept by state, sorted by any column.
import { button, choose, finder } from "../../page/controls.mjs";
import { $, element } from "../../page/elements.mjs";
import { grouped, order, plural, pretty, show } from "../../page/values.mjs";
import { fileOf, mark, marked, state } from "./state.mjs";
import { ago, measureOf, progressOf, shownMeasures } from "./telling.mjs";

const sorting = { by: "seconds_ago", down: false };

const addressOf = run => `report?path=${encodeURIComponent(run.path)}`;

let drawMarked = () => {};  // what to do when a mark changes
export const onMark = draw => { drawMarked = draw; };

const runFinder = finder($("runControls"), () => drawRuns());
const stateChosen = choose($("runControls"), "State:", [["all", undefined], ...["running", "done", "failed", "open"].map(s => [s, s])],
  undefined, () => drawRuns());

const columnsOf = list => [
  { id: "name", text: "Run", value: run => run.name },
  { id: "state", text: "State", value: run => run.state, kind: "state" },
  { id: "progress", text: "Progress", value: run => run.step ?? run.cells.done ?? -1 },
  { id: "seconds_ago", text: "Changed", value: run => run.seconds_ago },
  ...shownMeasures(list).map(name => ({ id: `measure ${name}`, text: pretty(name), value: run => measureOf(run, name), name })),
];

const times = new Map();  // the fields that say how long ago a run changed
export const drawTimes = () => {
  for (const run of state.runs) if (times.has(run.path)) times.get(run.path).textContent = ago(run.seconds_ago);
};

export const drawRuns = () => {
  const wanted = stateChosen();
  const list = runFinder.among(state.runs, run => `${run.name} ${run.path}`).filter(run => !wanted || run.state === wanted);
  const columns = columnsOf(list), by = columns.find(c => c.id === sorting.by) || columns[3];
  list.sort((a, b) => order(by.value(a), by.value(b), sorting.down));
  const head = $("runTable").tHead.rows[0], body = $("runTable").tBodies[0];
  const focused = document.activeElement && document.activeElement.dataset.focus;
  head.replaceChildren();
  element("td", undefined, head, "mark");
  for (const column of columns) {
    const th = element("th", undefined, head, column.kind);
    th.scope = "col";
    th.setAttribute("aria-sort", column.id !== by.id ? "none" : sorting.down ? "descending" : "ascending");
    const b = button(th, column.text, undefined, () => {
      sorting.down = sorting.by === column.id && !sorting.down;
      sorting.by = column.id;
      drawRuns();
    });
    b.dataset.focus = `head ${column.id}`;
  }
  body.replaceChildren();
  times.clear();
  for (const run of list) {
    const tr = element("tr", undefined, body), box = element("input", undefined, element("td", undefined, tr, "mark"));
    box.type = "checkbox";
    box.checked = marked.has(run.path);
    box.setAttribute("aria-label", `mark ${run.name}`);
    box.dataset.focus = `mark ${run.path}`;
    box.onchange = () => {
      mark(run.path, box.checked);
      drawMarked();
    };
    const name = element("td", undefined, tr), link = element("a", run.name, name);
    link.href = addressOf(run);
    link.dataset.focus = `open ${run.path}`;
    if (run.path !== run.name) element("span", run.path, name, "where");
    element("td", run.state, tr, `state ${run.state}`);
    element("td", progressOf(run), tr);
    times.set(run.path, element("td", ago(run.seconds_ago), tr));
    for (const { name: measure } of columns.slice(4)) element("td", show(measureOf(run, measure)), tr);
  }
  $("runNote").textContent = !state.runs.length ? "No runs are here yet. What begins below this folder appears by itself." :
    list.length < state.runs.length ? `${grouped(list.length)} of ${plural(state.runs.length, "run")}.` : "";
  drawFailures(list);
  const again = focused && [...document.querySelectorAll("[data-focus]")].find(e => e.dataset.focus === focused);
  if (again) again.focus();
};

const drawFailures = list => {
  const failed = list.filter(run => run.error), ul = $("failures").querySelector("ul");
  $("failures").hidden = !failed.length;
  $("failures").querySelector("summary").textContent = `Failed: ${plural(failed.length, "run")}`;
  ul.replaceChildren();
  for (const run of failed) {
    const li = element("li", undefined, ul);
    element("bdi", `${run.name}: ${run.error} `, li);
    if (run.kind === "run") {
      const log = element("a", "log", li);
      log.setAttribute("aria-label", `log of ${run.name}`);
      log.dataset.focus = `log ${run.path}`;
      log.href = fileOf(run, "metrics.jsonl");
    }
  }
};
