// Which setting is best at each value of a number that settings differ in: "which solver at 8 evaluations".
import { choose } from "../../page/controls.mjs";
import { $, asRegion, element, section } from "../../page/elements.mjs";
import { exact, finite, has, most, same, show, without } from "../../page/values.mjs";
import { settings } from "./data.mjs";
import { ranking } from "./orders.mjs";

const { groups, host, keys, valuesOf, several, swept, short, nameOf, guided, seeds, inGroups, measures, measured, textOf, planned,
  samplers } = settings;

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
      const title = within && `${short(within)} ${exact(part)}`, box = element("div", undefined, $("rankTables"), "card");
      const table = element("table", undefined, asRegion(box, title || "Which is best"), "ranks");
      if (title) element("caption", title, table);
      const head = element("tr", undefined, table), { at, ranked } = ranking(here, measured, k, measure, up);
      element("td", "", head);
      for (const v of at) element("th", `${short(k)} ${exact(v)}`, head).scope = "col";
      for (let i = 0; i < Math.min(mostShown, most(ranked.map(r => r.length), 0)); i++) {
        const tr = element("tr", undefined, table);
        element("th", exact(i + 1), tr, "axis").scope = "row";
        for (const list of ranked) {
          const td = element("td", undefined, tr), g = list[i];
          if (!g) continue;
          const rest = without(g.setting, k, within), m = measured(g, measure);
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
