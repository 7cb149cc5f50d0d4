// Which setting is best at each value of a number that settings differ in: "which solver at 8 evaluations".
section("ranks", () => {
  const numeric = keys.filter(k => !has(host, k) && several(k) && valuesOf(k).every(finite));
  const others = k => swept.filter(other => other !== k && several(other));
  if (!inGroups.length || !numeric.some(k => others(k).length)) return false;
  const controls = $("rankControls"), mostShown = 10;
  const draw = () => {
    const k = ofKey(), measure = ofMeasure(), up = ofOrder(), within = ofWithin(), steps = ofSteps();
    const parts = within ? [...valuesOf(within)] : [undefined];
    $("rankTables").replaceChildren();
    for (const part of parts) {
      const here = groups.filter(g => measured(g, measure) && (!within || same(g.setting[within], part)) &&
        same(g.setting.student_steps, steps) && g.trained === g.line.last);
      if (!here.length) continue;
      const table = element("table", undefined, element("div", undefined, $("rankTables"), "card"), "ranks");
      if (within) element("caption", `${short(within)} ${exact(part)}`, table);
      const head = element("tr", undefined, table), columns = valuesOf(k).filter(v => here.some(g => same(g.setting[k], v)));
      element("th", "", head);
      columns.sort((a, b) => a - b).forEach(v => element("th", `${short(k)} ${exact(v)}`, head));
      const ranked = columns.map(v => here.filter(g => same(g.setting[k], v))
        .sort((a, b) => (measured(a, measure).mean - measured(b, measure).mean) * (up ? -1 : 1)));
      for (let i = 0; i < Math.min(mostShown, most(ranked.map(r => r.length), 0)); i++) {
        const tr = element("tr", undefined, table);
        element("th", exact(i + 1), tr, "axis");
        for (const list of ranked) {
          const td = element("td", undefined, tr), g = list[i];
          if (!g) continue;
          const { [k]: at, ...rest } = g.setting, m = measured(g, measure);
          if (within) delete rest[within];
          element("span", nameOf(rest) + guided(rest), td, "text");
          element("span", show(m.mean) + (m.n > 1 ? ` (${show(m.low)} … ${show(m.high)})` : ""), td, "interval");
          td.dataset.value = td.title = m.mean;
        }
      }
    }
    $("rankNote").textContent = `The first ${mostShown} by ${textOf(measure)}, ${up ? "greatest" : "least"} first. ` +
      (seeds > 1 ? "Where intervals overlap, no order is claimed." : "One seed each: near values are no order.");
  };
  const first = numeric.find(k => others(k).length);
  const ofKey = choose(controls, "At each:", numeric.map(k => [short(k), k]), first, draw);
  const ofMeasure = choose(controls, "By:", measures, { metric: planned[1] || planned[0] || inGroups[0] }, draw);
  const ofOrder = choose(controls, "Best is:", [["least", false], ["greatest", true]], false, draw);
  const ways = swept.filter(k => several(k) && valuesOf(k).length <= 6 && k !== first);
  const ofWithin = choose(controls, "Apart:", [["–", ""], ...ways.map(k => [short(k), k])], "", draw);
  const ofSteps = choose(controls, "Sampler steps:", samplers, undefined, draw);
  draw();
});
