// What the rows are of: settings, which differ in more than their seed, and the measures of each.
import { palette } from "../../page/palette.mjs";
import { distinct, exact, finite, get, has, most, pretty, without } from "../../page/values.mjs";

// `page` is what report.cpp writes into the page.
export const readSettings = page => {
  const rows = page.rows, statistics = page.statistics, compare = statistics.compare;
  const teacher = page.teacher && page.teacher.metrics || {};
  const groups = statistics.groups.filter(g => g && g.setting).map(g => ({ ...g, metrics: g.metrics || {} }));
  const differences = statistics.differences.filter(d => d && d.setting && d.metrics);
  const host = Object.fromEntries(page.settings.map(c => [c.key, c.title]));

  const keys = [...new Set(groups.flatMap(g => Object.keys(g.setting)))];
  const given = v => v !== undefined;
  const values = new Map(keys.map(k => [k, distinct(groups.map(g => g.setting[k]).filter(given))]));
  const valuesOf = key => values.get(key) || [];
  const several = key => valuesOf(key).length > 1;
  const swept = keys.filter(k => !has(host, k) && (several(k) || groups.some(g => g.setting[k] === undefined)));

  // loss.type is "loss", train.learning_rate "learning rate", unless two keys would be called the same.
  const lastOf = key => {
    const i = key.lastIndexOf("."), end = key.slice(i + 1);
    return pretty(end === "type" && i > 0 ? key.slice(0, i) : end);
  };
  const calls = new Map();
  keys.forEach(k => calls.set(lastOf(k), (calls.get(lastOf(k)) || 0) + 1));
  const short = key => get(host, key) || (calls.get(lastOf(key)) > 1 ? pretty(key) : lastOf(key));

  const fallback = (rows[0] || {}).loss || "model";
  const word = (key, v) => typeof v === "string" ? v : v === undefined ? "" : `${short(key)} ${exact(v)}`;
  const nameOf = (setting, less) =>
    swept.filter(k => k !== less).map(k => word(k, setting[k])).filter(Boolean).join(", ") || fallback;
  // What the evaluation adds to a name, less one key.
  const guided = (setting, less) =>
    (less !== "guidance" && several("guidance") && given(setting.guidance) ? `, guidance ${exact(setting.guidance)}` : "") +
    (less !== "ema_length" && given(setting.ema_length) ? `, EMA ${exact(setting.ema_length)}` : "");

  // A line of a plot: one setting over its training and its sampler steps.
  const lines = [];
  {
    const known = new Map();
    for (const g of groups) {
      const key = JSON.stringify(without(g.setting, "train_steps", "student_steps"));
      if (!known.has(key)) {
        known.set(key, lines.length);
        const name = nameOf(g.setting) + guided(g.setting), color = palette[lines.length % palette.length];
        lines.push({ name, color, last: -Infinity, groups: [] });
      }
      g.line = lines[known.get(key)];
      g.line.groups.push(g);
      g.trained = g.setting.train_steps ?? Infinity; // a budget ended it: nothing comes after
      if (g.trained > g.line.last) g.line.last = g.trained;
    }
  }
  // A setting has a colour of its own where there are no more settings than colours; else those shown together differ.
  const ownColors = lines.length <= palette.length;
  const colorOf = (line, i) => ownColors ? line.color : palette[i % palette.length];
  const groupOfCell = new Map();
  groups.forEach(g => { if (!groupOfCell.has(g.cell)) groupOfCell.set(g.cell, g); });
  const nameOfCell = cell => groupOfCell.has(cell) ? nameOf(groupOfCell.get(cell).setting) : cell || fallback;
  const colorOfCell = (cell, i) =>
    groupOfCell.has(cell) ? colorOf(groupOfCell.get(cell).line, i) : palette[i % palette.length];

  const seeds = most(groups.flatMap(g => Object.values(g.metrics).map(m => Math.max(m.of || 0, m.n || 0))), 1);
  const metrics = page.columns;
  const inGroups = metrics.filter(c => groups.some(g => has(g.metrics, c)));

  // Measures, and what they cost: [text, value] to choose from.
  const costs = Object.fromEntries(page.costs.map(c => [c.key, c.title]));
  const measures = [
    ...inGroups.map(c => [pretty(c), { metric: c }]),
    ...Object.entries(costs).map(([k, text]) => [text, { cost: k }]),
  ];
  const reading = (g, measure) => measure.cost ? { mean: g[measure.cost], n: 1 } : get(g.metrics, measure.metric);
  const measured = (g, measure) => { const m = reading(g, measure); return m && finite(m.mean) ? m : undefined; };
  const textOf = measure => measure.cost ? costs[measure.cost] : pretty(measure.metric);
  const planned = (Array.isArray(page.plot) ? page.plot : []).filter(c => inGroups.includes(c));
  const samplers = [...valuesOf("student_steps")].sort((a, b) => a - b).map(s => [exact(s), s]);
  return {
    rows, compare, teacher, groups, differences, host, keys, given, valuesOf, several, swept, short, fallback, nameOf,
    guided, lines, ownColors, colorOf, nameOfCell, colorOfCell, seeds, metrics, inGroups, measures, measured, textOf,
    planned, samplers,
  };
};
