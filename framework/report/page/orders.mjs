// What settings say together: lines over a number that they differ in, and which of them is best.
import { distinct, range, same, without } from "../../page/values.mjs";

// All else equal makes a line over `key`; of training only the end counts, unless it is what is looked at.
export const linesOver = ({ groups, measured, nameOf, guided }, key, measure, steps) => {
  const found = new Map();
  for (const g of groups) {
    const m = measured(g, measure);
    if (!m || g.setting[key] === undefined) continue;
    if (key !== "train_steps" && g.trained !== g.line.last) continue;
    if (key !== "student_steps" && !same(g.setting.student_steps, steps)) continue;
    const rest = without(g.setting, key, "train_steps", "student_steps"), place = JSON.stringify(rest);
    if (!found.has(place)) found.set(place, { name: nameOf(g.setting, key) + guided(g.setting, key), data: [] });
    found.get(place).data.push({ x: g.setting[key], y: m.mean, yRange: range(m) });
  }
  for (const line of found.values()) line.data.sort((a, b) => a.x - b.x);
  return [...found.values()];
};

// For each value of `key`, which not every setting needs to have, the settings that have it, the best first: { at: [values], ranked: [[group, …], …] }.
export const ranking = (groups, measured, key, measure, greatest) => {
  const valueOf = g => measured(g, measure).mean;
  const at = distinct(groups.map(g => g.setting[key])).filter(v => v !== undefined).sort((a, b) => a - b);
  const best = (a, b) => (valueOf(a) - valueOf(b)) * (greatest ? -1 : 1);
  return { at, ranked: at.map(v => groups.filter(g => same(g.setting[key], v)).sort(best)) };
};
