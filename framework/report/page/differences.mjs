// The table of paired differences.
import { $, element, section } from "../../page/elements.mjs";
import { distinct, exact, get, has, most, pretty } from "../../page/values.mjs";
import { settings } from "./data.mjs";
import { fill, fillMean, sortable } from "./table.mjs";

const { compare, differences, keys, short, metrics } = settings;

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
  sortable($("differenceTable"), "Paired differences", $("differenceControls"), columns, differences, wordsOf);
});
