// Maps: differences over two settings, in two measures side by side.
import { choose } from "../../page/controls.mjs";
import { $, asRegion, element, section } from "../../page/elements.mjs";
import { brief, distinct, exact, finite, get, has, most, plural, pretty, same } from "../../page/values.mjs";
import { settings } from "./data.mjs";

const { compare, differences, keys, short, metrics, planned } = settings;

section("map", () => {
  const numbers = keys.filter(k => k !== compare && distinct(differences.map(d => d.setting[k])).length > 1);
  const able = metrics.filter(c => differences.some(d => has(d.metrics, c) && d.metrics[c].mean));
  if (numbers.length < 2 || !able.length) return false;
  const holder = $("mapControls"), others = element("span", undefined, undefined, "pager");
  const mostShown = 40;  // fields each way; more can neither be read nor drawn quickly
  const inOrder = v => [...v].sort((a, b) => typeof a === "number" && typeof b === "number" ? a - b : 0);
  const gap = "color-mix(in srgb, var(--card) 60%, transparent)";
  const shade = (m, largest) => {
    const share = 0.5 * Math.min(1, Math.sqrt(Math.abs(m.mean) / largest));
    const c = m.mean > 0 ? `rgba(217,72,15,${share})` : `rgba(52,81,178,${share})`;
    return m.verdict === 0 ? `repeating-linear-gradient(45deg, ${c}, ${c} 7px, ${gap} 7px, ${gap} 10px)` : c;
  };
  let notShown = false;
  const map = (here, x, y, c) => {
    const largest = most(here.map(d => Math.abs((get(d.metrics, c) || {}).mean || 0)), 0) || 1;
    const place = (a, b) => JSON.stringify([a, b]);
    const at = new Map(here.map(d => [place(d.setting[x], d.setting[y]), d]));
    const axisOf = k => {
      const all = inOrder(distinct(here.map(d => d.setting[k])));
      notShown = notShown || all.length > mostShown;
      return all.slice(0, mostShown);
    };
    const xs = axisOf(x), ys = axisOf(y);
    const title = `${pretty(c)}: ${exact(ofTo())} less ${exact(differences[0].from)}`;
    const table = element("table", undefined, asRegion(element("div", undefined, $("maps"), "card"), title), "map");
    element("caption", title, table);
    for (const yv of ys) {
      const tr = element("tr", undefined, table);
      element("th", `${short(y)} ${exact(yv)}`, tr, "axis").scope = "row";
      for (const xv of xs) {
        const td = element("td", undefined, tr), d = at.get(place(xv, yv)), m = d && get(d.metrics, c);
        if (!m || !finite(m.mean)) continue;
        td.style.background = shade(m, largest);
        td.dataset.value = m.mean;
        td.title = `${m.mean}, of ${m.n === m.of || !m.of ? plural(m.n, "seed") : `${m.n} of ${m.of} seeds`}`;
        element("b", (m.mean > 0 ? "+" : "") + brief(m.mean), td);
        if (m.n > 1) element("span", `${brief(m.low)} … ${brief(m.high)}`, td);
      }
    }
    const foot = element("tr", undefined, table);
    element("td", `${short(x)}:`, foot, "axis");
    xs.forEach(v => { element("th", exact(v), foot, "axis").scope = "col"; });
  };
  let filters = [];
  const draw = () => {
    const x = ofX(), y = ofY();
    filters.forEach(([k, f]) => f.show(k !== x && k !== y));
    const to = JSON.stringify(ofTo()), fixed = filters.filter(([k]) => k !== x && k !== y).map(([k, f]) => [k, f()]);
    const here = differences.filter(d => JSON.stringify(d.to) === to && fixed.every(([k, v]) => same(d.setting[k], v)));
    $("maps").replaceChildren();
    notShown = false;
    distinct([ofFirst(), ofSecond()]).forEach(c => map(here, x, y, c));
    $("mapNote").textContent = `Orange: ${exact(ofTo())} is higher; blue: lower. Hatched: the interval holds zero, or ` +
      "rests on fewer than five seeds or not on all, and nothing is claimed." +
      (notShown ? ` Shown are the first ${mostShown} values of each axis; the table above has all.` : "");
  };
  const all = numbers.map(k => [short(k), k]), choices = able.map(c => [pretty(c), c]);
  const want = planned.filter(c => able.includes(c));
  const ofX = choose(holder, "Across:", all, numbers.includes("train_steps") ? "train_steps" : numbers[0], draw);
  const ofY = choose(holder, "Down:", all, numbers.find(k => k !== ofX()), draw);
  const ofFirst = choose(holder, "Differences in:", choices, want[0] || able[0], draw);
  const ofSecond = choose(holder, "and", choices, want[1] || able.find(c => c !== ofFirst()) || able[0], draw);
  const ofTo = choose(holder, "Of:", distinct(differences.map(d => d.to)).map(v => [exact(v), v]), undefined, draw);
  holder.append(others);
  const optionsOf = k => distinct(differences.map(d => d.setting[k])).map(v => [exact(v), v]);
  filters = numbers.map(k => [k, choose(others, `${short(k)}:`, optionsOf(k), undefined, draw)]);
  draw();
});
