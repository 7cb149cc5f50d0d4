// The table of results.
import { choose } from "../../page/controls.mjs";
import { $, element, section } from "../../page/elements.mjs";
import { distinct, finite, get, pretty } from "../../page/values.mjs";
import { page, settings } from "./data.mjs";
import { fill, fillMean, sortable } from "./table.mjs";

const { rows, teacher, groups, valuesOf, several, short, fallback, ownColors, seeds, metrics } = settings;

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
    sortable($("table"), "Results", own, columns, each ? rows : groups, columns[0].value, fixed);
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
