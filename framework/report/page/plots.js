// Plots: one measure against another, and a measure over a number that settings differ in.
section("plots", () => {
  if (!inGroups.length || !groups.length) return false;
  const controls = $("plotControls");
  const chosen = [...new Set([...planned, ...inGroups])];
  const draw = () => {
    const x = ofX(), y = ofY(), steps = ofSteps();
    const shown = choice(lines, line => line.name);
    const sets = shown.map((line, i) => {
      const points = line.groups.filter(g => same(g.setting.student_steps, steps) && measured(g, x) && measured(g, y)).sort((a, b) => a.setting.train_steps - b.setting.train_steps);
      return named(line.name, colorOf(line, i), { borderWidth: 1.3, pointRadius: points.map((_, i) => i === points.length - 1 ? 6 : 3), data: points.map(g => {
        const [a, b] = [measured(g, x), measured(g, y)];
        return { x: a.mean, y: b.mean, xRange: range(a), yRange: range(b), step: g.setting.train_steps };
      }) });
    }).filter(set => set.data.length);
    const all = sets.flatMap(set => set.data);
    lineChart("main", sets, axis(textOf(x), scale(all.map(p => p.x)), spansOf(all, "xRange")), axis(textOf(y), scale(all.map(p => p.y)), spansOf(all, "yRange")), p => p.step === undefined ? "" : ` after ${exact(p.step)} steps`);
    $("plotNote").textContent = all.length ? "" : "None of these lines has numbers in both measures.";
  };
  const start = chosen.length > 1 ? chosen.slice(0, 2).map(metric => ({ metric })) : [{ cost: "teacher_evaluations" }, { metric: chosen[0] }];
  const ofX = choose(controls, "Across:", measures, start[0], draw), ofY = choose(controls, "Up:", measures, start[1], draw);
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
    // All else equal makes a line; of training only the end counts, unless it is what is looked at.
    const found = new Map();
    for (const g of groups) {
      if (!measured(g, measure) || g.setting[k] === undefined) continue;
      if (k !== "train_steps" && g.setting.train_steps !== g.line.last && Number.isFinite(g.line.last)) continue;
      if (k !== "student_steps" && !same(g.setting.student_steps, steps)) continue;
      const { [k]: _, train_steps, student_steps, ...rest } = g.setting, key = JSON.stringify(rest);
      if (!found.has(key)) found.set(key, { name: nameOf(g.setting, k) + (k === "guidance" ? "" : guided(g.setting)), groups: [] });
      found.get(key).groups.push(g);
    }
    const all = [...found.values()].map((line, i) => ({ ...line, color: palette[i % palette.length] }));
    const sets = choice(all, line => line.name).map(line => named(line.name, line.color, { borderWidth: 2, pointRadius: 3,
      data: line.groups.sort((a, b) => a.setting[k] - b.setting[k]).map(g => { const m = measured(g, measure); return { x: g.setting[k], y: m.mean, yRange: range(m) }; }) }));
    const xs = valuesOf(k), reference = measure.metric && get(teacher, measure.metric);
    if (finite(reference)) sets.push(named("teacher", "#98a2b3", { borderDash: [6, 4], pointRadius: 0, borderWidth: 1.5, data: [least(xs, Infinity), most(xs, -Infinity)].map(x => ({ x, y: reference })) }));
    const points = sets.flatMap(s => s.data);
    lineChart("over", sets, axis(short(k), scale(xs)), axis(textOf(measure), scale(points.map(p => p.y)), spansOf(points, "yRange")));
    $("overNote").textContent = all.length ? "" : "None of these settings has numbers in this measure.";
  };
  const ofKey = choose(controls, "Across:", numeric.map(k => [short(k), k]), undefined, draw);
  const ofMeasure = choose(controls, "Up:", measures, { metric: planned[1] || planned[0] || inGroups[0] }, draw);
  const ofSampler = choose(controls, "Sampler steps:", samplers, undefined, draw);
  const choice = lineChoice(controls, "lines", draw);
  draw();
});
