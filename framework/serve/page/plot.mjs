// Students of runs as points: any measure, or cost, against any other.
import { axis, lineChart, named, scale } from "../../page/charts.mjs";
import { choose } from "../../page/controls.mjs";
import { $ } from "../../page/elements.mjs";
import { palette } from "../../page/palette.mjs";
import { exact, finite, get, plural, pretty, same } from "../../page/values.mjs";
import { marked, state, titleOf } from "./state.mjs";

const costs = ["student_steps", "train_steps", "teacher_evaluations", "train_seconds"];
const chosenRuns = () => {
  const own = state.runs.filter(run => marked.has(run.path));
  return own.length ? own : state.runs;
};
const runsAtOnce = 20;
const valueOf = (row, name) => get(row.metrics, name) ?? get(row, name);
const plotted = { across: undefined, up: undefined, names: undefined };

export const drawPlot = () => {
  const names = new Set();
  for (const run of state.runs) for (const row of run.rows) for (const name of Object.keys(row.metrics || {})) names.add(name);
  const all = [...names, ...costs.filter(c => state.runs.some(run => run.rows.some(row => finite(row[c]))))];
  $("plot").hidden = all.length < 2;
  if ($("plot").hidden) return;
  if (!same(all, plotted.names)) { // other measures than before: other lists to choose from
    const before = [plotted.across && plotted.across(), plotted.up && plotted.up()];
    plotted.names = all;
    $("plotControls").replaceChildren();
    const options = all.map(name => [pretty(name), name]);
    plotted.across = choose($("plotControls"), "Across:", options, before[0] || all[0], drawPlot);
    plotted.up = choose($("plotControls"), "Up:", options, before[1] || all[1], drawPlot);
  }
  const [x, y] = [plotted.across(), plotted.up()];
  const allSets = chosenRuns().map((run, i) => {
    const data = run.rows.map(row => ({ x: valueOf(row, x), y: valueOf(row, y), steps: row.student_steps }))
      .filter(p => finite(p.x) && finite(p.y));
    return named(titleOf(run), palette[i % palette.length], { showLine: false, pointRadius: 4, data });
  }).filter(set => set.data.length);
  const sets = allSets.slice(0, runsAtOnce);
  const points = sets.flatMap(set => set.data);
  lineChart("points", sets, axis(pretty(x), scale(points.map(p => p.x))), axis(pretty(y), scale(points.map(p => p.y))),
    p => p.steps ? ` in ${exact(p.steps)} steps` : "");
  $("plotNote").textContent = !points.length ? "None of these runs has numbers in both." :
    allSets.length > sets.length ? `The first ${runsAtOnce} of ${plural(allSets.length, "run")}; mark those to be shown.` : "";
};
