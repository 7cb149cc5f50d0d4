// Plots: one measure against another, and a measure over a number that settings differ in.
import { axis, lineChart, named, scale, spansOf, styled } from "../../page/charts.mjs";
import { choose, lineChoice } from "../../page/controls.mjs";
import { $, section } from "../../page/elements.mjs";
import { palette } from "../../page/palette.mjs";
import { exact, finite, get, least, most, range, same } from "../../page/values.mjs";
import { settings } from "./data.mjs";
import { linesOver } from "./orders.mjs";

const { teacher, groups, keys, valuesOf, several, short, lines, colorOf, inGroups, measures, measured, textOf, planned, samplers } =
  settings;

section("plots", () => {
  if (!inGroups.length || !groups.length) return false;
  const controls = $("plotControls");
  const chosen = [...new Set([...planned, ...inGroups])];
  const draw = () => {
    const x = ofX(), y = ofY(), steps = ofSteps();
    const shown = choice(lines, line => line.name);
    const sets = shown.map((line, i) => {
      const shows = g => same(g.setting.student_steps, steps) && measured(g, x) && measured(g, y);
      const data = line.groups.filter(shows).sort((a, b) => a.trained - b.trained).map(g => {
        const [a, b] = [measured(g, x), measured(g, y)];
        return { x: a.mean, y: b.mean, xRange: range(a), yRange: range(b), step: g.setting.train_steps };
      });
      const pointRadius = data.map((_, at) => at === data.length - 1 ? 6 : 3);
      return named(line.name, colorOf(line, i), { borderWidth: 1.3, pointRadius, data });
    }).filter(set => set.data.length);
    const all = sets.flatMap(set => set.data);
    lineChart("main", sets, axis(textOf(x), scale(all.map(p => p.x)), spansOf(all, "xRange")),
      axis(textOf(y), scale(all.map(p => p.y)), spansOf(all, "yRange")),
      p => p.step === undefined ? "" : ` after ${exact(p.step)} steps`);
    $("plotNote").textContent = all.length ? "" : "None of these lines has numbers in both measures.";
  };
  const across = chosen.length > 1 ? { metric: chosen[0] } : { cost: "teacher_evaluations" };
  const up = { metric: chosen[1] || chosen[0] };
  const ofX = choose(controls, "Across:", measures, across, draw), ofY = choose(controls, "Up:", measures, up, draw);
  const ofSteps = choose(controls, "Sampler steps:", samplers, undefined, draw);
  const choice = lineChoice(controls, "settings", draw);
  draw();
});

section("overPlots", () => {
  const numeric = keys.filter(k => several(k) && valuesOf(k).every(finite));
  if (!inGroups.length || !numeric.length) return false;
  const controls = $("overControls");
  const draw = () => {
    const k = ofKey(), measure = ofMeasure(), steps = ofSampler();
    ofSampler.show(k !== "student_steps");
    const all = linesOver(settings, k, measure, steps).map((line, i) => ({ ...line, color: palette[i % palette.length] }));
    const sets = choice(all, line => line.name).map(line => named(line.name, line.color, { borderWidth: 2, pointRadius: 3, data: line.data }));
    const xs = valuesOf(k), y = measure.metric && get(teacher, measure.metric);
    if (finite(y)) {
      const data = [least(xs, Infinity), most(xs, -Infinity)].map(x => ({ x, y }));
      sets.push(named("teacher", styled("--soft"), { borderDash: [6, 4], pointRadius: 0, borderWidth: 1.5, data }));
    }
    const points = sets.flatMap(s => s.data);
    lineChart("over", sets, axis(short(k), scale(xs)),
      axis(textOf(measure), scale(points.map(p => p.y)), spansOf(points, "yRange")));
    $("overNote").textContent = all.length ? "" : "None of these settings has numbers in this measure.";
  };
  const ofKey = choose(controls, "Across:", numeric.map(k => [short(k), k]), undefined, draw);
  const ofMeasure = choose(controls, "Up:", measures, { metric: planned[1] || planned[0] || inGroups[0] }, draw);
  const ofSampler = choose(controls, "Sampler steps:", samplers, undefined, draw);
  const choice = lineChoice(controls, "lines", draw);
  draw();
});
