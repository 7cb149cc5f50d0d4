// The table of runs: found by words, kept by state, sorted by any column.
// What is marked stands in the address, so that a comparison can be kept and opened again.
const marksIn = hash => hash.slice(1).split("&").filter(Boolean).flatMap(s => {
  try { return [decodeURIComponent(s)]; } catch { return []; }
});
const marked = new Set(marksIn(location.hash));
addEventListener("hashchange", () => {
  marked.clear();
  for (const path of marksIn(location.hash)) marked.add(path);
  drawRuns();
  drawMarked();
});
const keepMarks = () => history.replaceState(null, "", `#${[...marked].map(encodeURIComponent).join("&")}`);
const order = { by: "seconds_ago", down: false };
let runs = [];

const ago = seconds => {
  const units = [["s", 60], ["min", 60], ["h", 24], ["d", Infinity]];
  let value = Math.max(0, seconds);
  for (const [unit, size] of units) {
    if (value < size) return `${Math.round(value)} ${unit} ago`;
    value /= size;
  }
};
// The student in fewest steps stands for a run; of a sweep's many none does.
const headline = run => run.kind === "sweep" ? undefined :
  run.rows.reduce((a, b) => a === undefined || b.student_steps < a.student_steps ? b : a, undefined);
const measureOf = (run, name) => get(get(headline(run), "metrics"), name);
const progressOf = run => {
  const all = Object.values(run.cells).reduce((a, b) => a + b, 0);
  if (run.kind === "sweep") return all ? `${(run.cells.done || 0) + (run.cells.stopped || 0)} of ${plural(all, "cell")}` : "–";
  return run.step === undefined ? "–" : `${grouped(run.step)}${run.steps ? ` of ${grouped(run.steps)}` : ""} steps`;
};
// Its path, where several have its name.
const titleOf = run => runs.some(other => other !== run && other.name === run.name) ? run.path : run.name;
const addressOf = run => `report?path=${encodeURIComponent(run.path)}`;
const fileOf = (run, file) => `file?path=${encodeURIComponent(`${run.path}/${file}`)}`;

const shownMeasures = list => {
  const names = new Set();
  for (const run of list) for (const name of Object.keys(get(headline(run), "metrics") || {})) names.add(name);
  return [...names].slice(0, 8);
};

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

const compareValues = (a, b) => a === b ? 0 : a === undefined || a === null ? 1 : b === undefined || b === null ? -1 : a < b ? -1 : 1;

const drawRuns = () => {
  const wanted = stateChosen();
  const list = runFinder.among(runs, run => `${run.name} ${run.path}`).filter(run => !wanted || run.state === wanted);
  const columns = columnsOf(list), by = columns.find(c => c.id === order.by) || columns[3];
  list.sort((a, b) => (order.down ? -1 : 1) * compareValues(by.value(a), by.value(b)));
  const head = $("runTable").tHead.rows[0], body = $("runTable").tBodies[0];
  const focused = document.activeElement && document.activeElement.dataset.focus;
  head.replaceChildren();
  element("th", undefined, head).setAttribute("aria-label", "marked");
  for (const column of columns) {
    const th = element("th", undefined, head, column.kind);
    th.setAttribute("aria-sort", column.id !== by.id ? "none" : order.down ? "descending" : "ascending");
    const b = button(th, column.text, undefined, () => {
      order.down = order.by === column.id && !order.down;
      order.by = column.id;
      drawRuns();
    });
    b.dataset.focus = `head ${column.id}`;
  }
  body.replaceChildren();
  for (const run of list) {
    const tr = element("tr", undefined, body), mark = element("input", undefined, element("td", undefined, tr, "mark"));
    mark.type = "checkbox";
    mark.checked = marked.has(run.path);
    mark.setAttribute("aria-label", `mark ${run.name}`);
    mark.dataset.focus = `mark ${run.path}`;
    mark.onchange = () => {
      if (mark.checked) marked.add(run.path); else marked.delete(run.path);
      keepMarks();
      drawMarked();
    };
    const name = element("td", undefined, tr), link = element("a", run.name, name);
    link.href = addressOf(run);
    if (run.path !== run.name) element("span", run.path, name, "where");
    element("td", run.state, tr, `state ${run.state}`);
    element("td", progressOf(run), tr);
    element("td", ago(run.seconds_ago), tr);
    for (const { name: measure } of columns.slice(4)) element("td", show(measureOf(run, measure)), tr);
  }
  $("runNote").textContent = !runs.length ? "No runs are here yet. What begins below this folder appears by itself." :
    list.length < runs.length ? `${grouped(list.length)} of ${plural(runs.length, "run")}.` : "";
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
      log.href = fileOf(run, "metrics.jsonl");
    }
  }
};
