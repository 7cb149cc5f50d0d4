// Training: the losses, and a series that a metric gave: a curve over the noise level, say.
import { axis, lineChart, named, scale } from "../../page/charts.mjs";
import { choose, lineChoice } from "../../page/controls.mjs";
import { $, section } from "../../page/elements.mjs";
import { finite, get, plural, pretty } from "../../page/values.mjs";
import { page, part, settings } from "./data.mjs";

const { several, nameOfCell, colorOfCell } = settings;

section("training", () => {
  const controls = $("trainingControls");
  const losses = page.losses.filter(l => finite(l.part));
  const filled = (r, name) => Array.isArray(get(r.series, name)) && r.series[name].length;
  const names = [...new Set(page.students.flatMap(r => Object.keys(r.series || {}).filter(name => filled(r, name))))];
  const seriesOf = name => page.students.filter(r => filled(r, name)), series = names.flatMap(seriesOf);
  // What a curve is over stands at the end of its name: "ode_error_by_noise".
  const over = name => name.endsWith("_by_noise") ? "noise level sigma / alpha" : pretty((name.match(/_by_(.+)$/) || [0, ""])[1]);
  if (!losses.length) $("lossCard").remove();
  if (!series.length) $("noiseCard").remove();
  if (!losses.length && !series.length) return false;

  const curve = (heading, color, points, pointRadius) => named(heading, color, { pointRadius, borderWidth: 1.5,
    data: points.filter(p => p && finite(p[0]) && finite(p[1])).map(([x, y]) => ({ x, y })) });
  const fits = values => scale(values, 1);
  const kept = new Map();  // curves that were read
  const pointsOf = i => { if (!kept.has(i)) kept.set(i, part(i)); return kept.get(i); };
  const cells = [...new Set([...losses.map(l => l.cell), ...series.map(r => r.cell)])];
  const draw = () => {
    const colors = new Map(choice(cells, nameOfCell).map((cell, i) => [cell, colorOfCell(cell, i)]));
    if (losses.length) {
      const sets = losses.filter(l => colors.has(l.cell))
        .map(l => curve(nameOfCell(l.cell), colors.get(l.cell), pointsOf(l.part), 0));
      lineChart("loss", sets, axis("training steps"), axis("loss", fits(sets.flatMap(s => s.data.map(p => p.y)))));
    }
    if (series.length) {
      const steps = r => several("student_steps") && r.student_steps ? `, ${plural(r.student_steps, "step")}` : "";
      const name = ofName();
      const sets = seriesOf(name).filter(r => colors.has(r.cell))
        .map(r => curve(nameOfCell(r.cell) + steps(r), colors.get(r.cell), r.series[name], 3));
      const all = sets.flatMap(s => s.data);
      lineChart("noise", sets, axis(over(name), fits(all.map(p => p.x))),
        axis(pretty(name), fits(all.map(p => p.y))));
    }
  };
  const ofName = choose(controls, "Curve:", names.map(name => [pretty(name), name]), undefined, draw);
  const choice = lineChoice(controls, "settings", draw);
  draw();
  const left = page.losses_left_out;
  $("trainingNote").textContent = "Losses of different objectives are on different scales: compare shapes, not heights. " +
    "Their numbers are in metrics.jsonl, those of the other curves in results.json, in the run's folder." +
    (left ? ` The losses of ${plural(left, "more setting")} are in the run's folder, not in this page.` : "");
});
