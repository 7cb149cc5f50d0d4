// Two runs beside each other: what differs in their configurations, what they measured, what they sample.
import { $, asRegion, element } from "../../page/elements.mjs";
import { exact, get, grouped, plural, pretty, same, show } from "../../page/values.mjs";
import { fileOf, marked, state, titleOf } from "./state.mjs";
import { rowName } from "./telling.mjs";

const tableOf = (parent, label, heads, lines) => {
  asRegion(parent, label).replaceChildren();
  const table = element("table", undefined, parent), head = element("tr", undefined, element("thead", undefined, table));
  for (const text of heads) element("th", text, head).scope = "col";
  const body = element("tbody", undefined, table);
  for (const line of lines) {
    const tr = element("tr", undefined, body);
    line.forEach((text, i) => { element("td", text, tr, i === 0 ? "name" : undefined); });
  }
};
export const drawCompare = () => {
  const pair = state.runs.filter(run => marked.has(run.path));
  $("compare").hidden = pair.length !== 2;
  if (pair.length !== 2) return;
  const [a, b] = pair;
  const keys = [...new Set([...Object.keys(a.settings), ...Object.keys(b.settings)])].sort();
  const differ = keys.filter(key => !same(a.settings[key], b.settings[key]));
  $("compareNote").textContent = differ.length ? `${plural(differ.length, "key")} of ${grouped(keys.length)} differ.` :
    "All their keys are equal.";
  tableOf($("keys"), "Keys that differ", ["Key", titleOf(a), titleOf(b)], differ.map(key => [key, exact(a.settings[key]), exact(b.settings[key])]));
  const rows = [...new Set([...a.rows, ...b.rows].map(rowName))].slice(0, 50);
  const find = (run, name) => run.rows.find(row => rowName(row) === name);
  const lines = [];
  for (const name of rows) {
    const [ra, rb] = [find(a, name), find(b, name)];
    const measures = new Set([...Object.keys(get(ra, "metrics") || {}), ...Object.keys(get(rb, "metrics") || {})]);
    for (const m of measures) {
      lines.push([`${pretty(m)}${name ? `, ${name}` : ""}`, show(get(get(ra, "metrics"), m)), show(get(get(rb, "metrics"), m))]);
    }
  }
  tableOf($("measures"), "Their measures", ["Measure", titleOf(a), titleOf(b)], lines);
  const pictures = $("pairs");
  pictures.replaceChildren();
  for (const name of rows.slice(0, 12)) {
    for (const run of pair) {
      const file = get(find(run, name), "samples");
      if (!file || !file.endsWith(".png")) continue;
      const figure = element("figure", undefined, pictures, "card");
      element("figcaption", `${titleOf(run)}${name ? `, ${name}` : ""}`, figure);
      const img = element("img", undefined, figure);
      img.src = fileOf(run, file);
      img.alt = `samples of ${titleOf(run)}`;
    }
  }
  if (!pictures.children.length) element("p", "Neither has pictures of samples; their reports show points.", pictures, "note");
};
