// Tables: of results, and of differences between them.

const fill = (td, v) => {
  td.append(show(v));
  if (typeof v === "number") td.dataset.value = td.title = v;
  if (v === null) td.dataset.value = "NaN";
};
// A mean with its interval, and how many seeds it rests on where some are missing. Rounded; the whole is in the title.
const fillMean = (td, m) => {
  fill(td, m.mean);
  td.dataset.n = m.n;
  if (m.of !== undefined) td.dataset.of = m.of;
  if (m.n > 1) {
    element("span", `${show(m.low)} … ${show(m.high)}`, td, "interval");
    [td.dataset.low, td.dataset.high] = [m.low, m.high];
    td.title = `${m.mean}, 95 % interval from ${m.low} to ${m.high}`;
  }
  if (m.of > m.n && m.of > 1) element("span", `${m.n} of ${m.of}`, td, "lack");
};

const rank = v => typeof v === "number" ? 0 : v === undefined ? 3 : v === null ? 2 : 1;
const order = (a, b, down) => {
  const x = rank(a), y = rank(b);
  if (x !== y || x > 1) return x - y;  // what is missing stays at the end, whichever way
  if (x === 1) { a = exact(a); b = exact(b); }
  return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
};

// A table that sorts by a click on its heads; a long one is shown a part at a time. columns: {head, value(item),
// fill(td, item), kind}; the fixed items stay on top.
const longTable = 100, linesOfTable = 50;
const sortable = (holder, controls, columns, items, nameOf, fixed) => {
  let by = null, down = false, sorted = items;
  const table = element("table"), head = element("tr", undefined, element("thead", undefined, table));
  const body = element("tbody", undefined, table);
  const draw = () => {
    const lines = pages.take(find.among(sorted, nameOf));
    const write = (item, kind) => {
      const tr = element("tr", undefined, undefined, kind);
      for (const c of columns) {
        const td = element("td", undefined, tr, c.kind);
        if (c.fill) c.fill(td, item); else fill(td, c.value(item));
      }
      return tr;
    };
    body.replaceChildren(...(fixed || []).map(item => write(item, "teacher")), ...lines.map(item => write(item)));
  };
  const find = finder(controls, () => { pages.restart(); draw(); });
  const pages = pager(controls, items.length > longTable ? linesOfTable : longTable, "lines", draw, true);
  find.show(items.length > longTable);
  columns.forEach((c, i) => {
    const th = element("th", undefined, head);
    th.scope = "col";
    button(th, c.head, undefined, () => {
      down = by === i && !down;
      by = i;
      for (const other of head.children) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = items.map(item => [c.value(item), item]);
      sorted = keyed.sort((a, b) => order(a[0], b[0], down)).map(([, item]) => item);
      pages.restart();
      draw();
    });
  });
  draw();
  holder.replaceChildren(table);
};

section("results", () => {
  const hasSteps = groups.some(g => g.setting.student_steps);
  const planned = !rows.length || rows.some(r => finite(r.train_steps)); // else budgets ended all trainings
  const shownSetting = k => k === "train_steps" ? planned :
    (k === "guidance" ? several(k) : k === "ema_length" ? valuesOf(k).length : hasSteps);
  const hosts = page.settings.filter(c => shownSetting(c.key));
  const chosenKeys = distinct(Object.values(page.chosen || {}).flatMap(Object.keys)); // what [sweep.tune] found best
  const name = (td, text, color) => {
    td.className = "name";
    if (color) element("span", undefined, td, "swatch").style.background = color;
    element("span", text, td, "text");
  };
  const cost = (key, head) => ({ head, value: x => x[key], fill: (td, x) => {
    fill(td, finite(x[key]) ? Math.round(x[key]) : undefined);
    if (finite(x[key])) td.dataset.value = td.title = x[key];
  } });
  const columnsOf = (nameOf, colorOf, hostOf, metric) => [
    { head: "model", kind: "name", value: nameOf,
      fill: (td, x) => x.isTeacher ? name(td, "teacher") : name(td, nameOf(x), colorOf(x)) },
    ...chosenKeys.map(k => ({ head: short(k), value: x => get(get(page.chosen, x.cell), k) })),
    ...hosts.map(({ key: k, heading }) => ({ head: heading, value: x => k === "guidance" ? hostOf(x, k) : hostOf(x, k) || undefined })),
    ...metrics.map(metric),
    ...page.costs.map(c => cost(c.key, c.heading)),
  ];
  const mean = c => ({ head: pretty(c), value: g => (get(g.metrics, c) || {}).mean, fill: (td, g) => {
    const m = get(g.metrics, c);
    if (g.isTeacher || !m) fill(td, m); else fillMean(td, m);
  } });
  const means = columnsOf(g => g.line.name, g => ownColors && g.line.color, (g, k) => g.setting[k], mean);
  const single = c => ({ head: pretty(c), value: r => get(r.metrics, c) });
  const singles = columnsOf(r => r.cell || r.loss || fallback, () => undefined, (r, k) => r[k], single);
  const ofTeacher = { isTeacher: true, setting: {}, metrics: teacher,
    teacher_evaluations: page.teacher && page.teacher.evaluations };
  const fixed = Object.keys(teacher).length && hasSteps ? [ofTeacher] : [];
  const controls = $("tableControls"), own = element("span", undefined, undefined, "pager");
  const draw = each => {
    own.replaceChildren();
    const columns = each ? singles : means;
    sortable($("table"), own, columns, each ? rows : groups, columns[0].value, fixed);
  };
  if (seeds > 1) {
    const of = choose(controls, "Rows:", [["means over seeds", false], ["every cell", true]], false, () => draw(of()));
  }
  controls.append(own);
  draw(false);
  const missing = page.missing.join(", ");
  $("tableNote").textContent = (!rows.length ? "There are no results yet." :
    seeds > 1 ? "Means over seeds with 95 % bootstrap intervals; where some seeds gave no number, it says how many did. " +
      "Where intervals overlap, no order is claimed." :
    "One seed each: no order is claimed. A [sweep] with seeds = 8 gives intervals.") +
    (missing ? ` Named in [report], but not measured: ${missing}.` : "");
});

section("differences", () => {
  if (!differences.length) return false;
  const from = differences[0].from, to = distinct(differences.map(d => d.to));
  const which = to.length > 6 ? "each" : to.map(exact).join(", ");
  $("differencesTitle").textContent = `Paired differences: ${which} less ${exact(from)}`;
  const varying = keys.filter(k => k !== compare && distinct(differences.map(d => d.setting[k])).length > 1);
  const shown = metrics.filter(c => differences.some(d => has(d.metrics, c) && d.metrics[c].mean !== 0));
  const setting = k => ({ head: short(k), value: d => d.setting[k], fill: (td, d) => {
    td.append(exact(d.setting[k]));
    td.dataset.value = exact(d.setting[k]);
  } });
  const of = { head: short(compare), kind: "name", value: d => d.to,
    fill: (td, d) => element("span", exact(d.to), td, "text") };
  const difference = c => ({ head: pretty(c), value: d => (get(d.metrics, c) || {}).mean, fill: (td, d) => {
    const m = get(d.metrics, c);
    if (!m) { fill(td, undefined); return; }
    fillMean(td, m);
    td.classList.add(m.verdict > 0 ? "up" : m.verdict < 0 ? "down" : "tie");
  } });
  const columns = [
    ...(to.length > 1 ? [of] : []),
    ...varying.map(setting),
    { head: "seeds", value: d => most(Object.values(d.metrics).map(m => m.n), 0) },
    ...shown.map(difference),
  ];
  const wordsOf = d => [d.to, ...varying.map(k => d.setting[k])].map(exact).join(" ");
  sortable($("differenceTable"), $("differenceControls"), columns, differences, wordsOf);
});
