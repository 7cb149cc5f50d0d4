"use strict";
// What the report shows. `page` holds the results, their statistics, and the pictures as data URLs.
const page = JSON.parse(document.getElementById("data").textContent);
const results = page.results, rows = results.progress, statistics = page.statistics;
const palette = ["#3451b2", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#e67700", "#495057", "#5c7cfa", "#a61e4d"];
const $ = id => document.getElementById(id);
const element = (tag, text, parent, kind) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (kind) e.className = kind;
  if (parent) parent.append(e);
  return e;
};
const number = v => v === 0 ? "0" : Math.abs(v) < 0.001 ? v.toExponential(1) : Math.abs(v) < 10 ? v.toFixed(4) : Math.abs(v) < 1000 ? v.toFixed(1) : Math.round(v).toLocaleString("en");
const show = v => v === null || v === undefined ? "–" : typeof v !== "number" ? String(v) : Number.isInteger(v) ? v.toLocaleString("en") : number(v);
const pretty = name => name.replaceAll("_", " ");
const short = key => pretty(key.slice(key.lastIndexOf(".") + 1) === "type" ? key.slice(0, key.lastIndexOf(".")) : key.slice(key.lastIndexOf(".") + 1));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const distinct = values => values.filter((v, i) => values.findIndex(w => same(v, w)) === i);
const axis = (title, type) => ({ type: type || "linear", title: { display: true, text: title }, grid: { color: "#eef0f3" } });
const choose = (parent, label, options, chosen, change) => {
  const holder = element("label", label + " ", parent), select = element("select", undefined, holder);
  options.forEach(([text, value]) => { const o = element("option", text, select); o.value = JSON.stringify(value); });
  if (chosen !== undefined) select.value = JSON.stringify(chosen);
  select.onchange = change;
  const get = () => JSON.parse(select.value);
  get.show = wanted => { holder.hidden = !wanted; };
  return get;
};
Chart.defaults.font.family = "system-ui, 'DejaVu Sans', sans-serif";
Chart.defaults.animation = false;

// Settings: what groups of rows differ in
const groups = statistics.groups, compare = statistics.compare;
const host = { train_steps: "trained steps", student_steps: "sampler steps", guidance: "guidance" };
const keys = distinct(groups.flatMap(g => Object.keys(g.setting)));
const valuesOf = key => distinct(groups.map(g => g.setting[key]).filter(v => v !== undefined));
const swept = keys.filter(k => !(k in host) && valuesOf(k).length > 1);
const metrics = page.columns.filter(c => groups.some(g => c in g.metrics) || c in results.teacher.metrics);
const seeds = Math.max(...groups.flatMap(g => Object.values(g.metrics).map(m => Math.max(m.of ?? 0, m.n))), 1);
const nameOf = setting => swept.map(k => typeof setting[k] === "string" ? setting[k] : setting[k] === undefined ? "" : `${short(k)} ${show(setting[k])}`).filter(Boolean).join(", ") || (rows[0] || {}).loss || "model";
const names = distinct(groups.map(g => nameOf(g.setting)));
const color = name => palette[Math.max(0, names.indexOf(name)) % palette.length];
const last = Math.max(...rows.map(r => r.train_steps));

{
  const v = results.versions || {}, e = results.config.evaluate;
  const against = e.reference === "teacher" ? "the teacher's samples" : `at most ${e.reference_samples.toLocaleString("en")} test samples`;
  $("subtitle").textContent = `Retort ${v.retort} · LibTorch ${v.libtorch} · ${v.backend} · ${seeds > 1 ? seeds + " seeds" : "seed " + results.config.run.seed} · ` +
    `distances of ${e.samples.toLocaleString("en")} samples, to ${against}`;
  const failed = (results.cells || []).filter(c => c.status !== "done");
  if (failed.length) $("failures").textContent = "Not in these results: " + failed.map(c => `${c.name} (${c.status}${c.error ? ": " + c.error : ""})`).join("; ");
  else $("failures").remove();
}

// A table that sorts by a click on its head. lines: [[{text, value, node}], …], the fixed ones stay on top.
const sortable = (table, heads, lines, fixed) => {
  let order = null, down = false;
  const draw = () => {
    table.replaceChildren();
    const head = element("tr", undefined, element("thead", undefined, table));
    heads.forEach((h, i) => {
      const th = element("th", h + (order === i ? (down ? " ↓" : " ↑") : ""), head);
      th.onclick = () => { down = order === i ? !down : false; order = i; draw(); };
    });
    const body = element("tbody", undefined, table);
    const value = c => c && c.value !== undefined && c.value !== null ? c.value : undefined;
    const ordered = order === null ? lines : [...lines].sort((a, b) => {
      const x = value(a[order]), y = value(b[order]);
      return x === undefined ? 1 : y === undefined ? -1 : (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    [...(fixed || []).map(l => [l, "teacher"]), ...ordered.map(l => [l, ""])].forEach(([line, kind]) => {
      const tr = element("tr", undefined, body, kind);
      line.forEach(c => { const td = element("td", undefined, tr); if (c.color) element("span", undefined, td, "swatch").style.background = c.color; if (c.node) td.append(c.node()); else td.append(c.text ?? show(c.value)); });
    });
  };
  draw();
};
const interval = m => () => {
  const span = document.createElement("span");
  span.append(show(m.mean));
  if (m.n > 1) element("span", ` ${show(m.low)} … ${show(m.high)}`, span, "interval");
  if (m.of > m.n) element("span", ` (${m.n} of ${m.of})`, span, "interval");
  return span;
};

// Results
{
  const hasSteps = groups.some(g => g.setting.student_steps);
  const hosts = Object.keys(host).filter(k => k !== "guidance" || valuesOf(k).length > 1).filter(k => k !== "student_steps" || hasSteps);
  const heads = ["model", ...hosts.map(k => host[k]), ...metrics.map(pretty), "teacher evaluations", "seconds"];
  const line = (setting, of) => [{ value: nameOf(setting), color: color(nameOf(setting)) }, ...hosts.map(k => ({ value: setting[k] || null })), ...of];
  const means = groups.map(g => line(g.setting, [...metrics.map(c => c in g.metrics ? { value: g.metrics[c].mean, node: interval(g.metrics[c]) } : { value: null }),
    { value: Math.round(g.teacher_evaluations) }, { value: Math.round(g.train_seconds) }]));
  const single = rows.map(r => [{ value: r.cell || r.loss }, ...hosts.map(k => ({ value: r[k] || null })), ...metrics.map(c => ({ value: r.metrics[c] ?? null })), { value: r.teacher_evaluations }, { value: Math.round(r.train_seconds) }]);
  const teacher = Object.keys(results.teacher.metrics).length && hasSteps ?
    [[{ text: "teacher" }, ...hosts.map(() => ({ text: "–" })), ...metrics.map(c => ({ value: results.teacher.metrics[c] ?? null })), { value: results.teacher.evaluations }, { text: "–" }]] : [];
  const draw = each => sortable($("table"), heads, each ? single : means, teacher);
  if (seeds > 1) { const of = choose($("tableControls"), "Rows:", [["means over seeds", false], ["every cell", true]], false, () => draw(of())); }
  draw(false);
  $("tableNote").textContent = seeds > 1 ? "Means over seeds with 95 % bootstrap intervals. Where intervals overlap, no order is claimed." :
    "One seed each: no order is claimed. A [sweep] with seeds = 8 gives intervals.";
}

// Paired differences
const differences = statistics.differences;
if (differences.length) {
  const [from, to] = [differences[0].from, distinct(differences.map(d => d.to))];
  $("differencesTitle").textContent = `${to.map(show).join(", ")} less ${show(from)}`;
  const varying = keys.filter(k => k !== compare && distinct(differences.map(d => d.setting[k])).length > 1);
  const shown = metrics.filter(c => differences.some(d => c in d.metrics && d.metrics[c].mean !== 0));
  const heads = [...(to.length > 1 ? [short(compare)] : []), ...varying.map(k => host[k] || short(k)), "seeds", ...shown.map(pretty)];
  sortable($("differenceTable"), heads, differences.map(d => [...(to.length > 1 ? [{ value: d.to }] : []), ...varying.map(k => ({ value: d.setting[k] })), { value: Math.max(...Object.values(d.metrics).map(m => m.n)) },
    ...shown.map(c => { const m = d.metrics[c]; return m ? { value: m.mean, node: () => { const e = interval(m)(); e.classList.add(m.verdict > 0 ? "up" : m.verdict < 0 ? "down" : "tie"); return e; } } : { value: null }; })]));
} else $("differences").remove();

// Maps: differences over two settings, in two measures side by side
{
  const numbers = keys.filter(k => k !== compare && distinct(differences.map(d => d.setting[k])).length > 1);
  if (differences.length && numbers.length >= 2) {
    const measured = metrics.filter(c => differences.some(d => c in d.metrics && d.metrics[c].mean !== 0));
    const want = results.config.report.plot.filter(c => measured.includes(c));
    const holder = $("mapControls"), others = element("span");
    const order = v => [...v].sort((a, b) => typeof a === "number" ? a - b : 0);
    const brief = v => Math.abs(v) >= 100 ? Math.round(v).toString() : v === 0 ? "0" : Number(v.toPrecision(2)).toString();
    let filters = [];
    const shade = m => {
      const colour = share => m.mean > 0 ? `rgba(217,72,15,${0.75 * share})` : `rgba(52,81,178,${0.75 * share})`;
      return most => { const c = colour(Math.min(1, Math.sqrt(Math.abs(m.mean) / most)));
        return m.verdict === 0 ? `repeating-linear-gradient(45deg, ${c}, ${c} 7px, #fff9 7px, #fff9 10px)` : c; };
    };
    const map = (here, x, y, c) => {
      const most = Math.max(...here.map(d => c in d.metrics ? Math.abs(d.metrics[c].mean) : 0)) || 1;
      const xs = order(distinct(here.map(d => d.setting[x]))), ys = order(distinct(here.map(d => d.setting[y])));
      const table = element("table", undefined, element("div", undefined, $("maps"), "card"), "map");
      element("caption", `${pretty(c)}: ${show(ofTo())} less ${show(differences[0].from)}`, table);
      ys.forEach(yv => {
        const tr = element("tr", undefined, table);
        element("th", `${host[y] || short(y)} ${show(yv)}`, tr, "axis");
        xs.forEach(xv => {
          const td = element("td", undefined, tr), d = here.find(d => same(d.setting[x], xv) && same(d.setting[y], yv)), m = d && d.metrics[c];
          if (!m) return;
          td.style.background = shade(m)(most);
          element("b", (m.mean > 0 ? "+" : "") + brief(m.mean), td);
          if (m.n > 1) element("span", `${brief(m.low)} … ${brief(m.high)}`, td);
        });
      });
      const foot = element("tr", undefined, table);
      element("th", `${host[x] || short(x)}:`, foot, "axis");
      xs.forEach(v => element("th", show(v), foot, "axis"));
    };
    const draw = () => {
      const [x, y] = [ofX(), ofY()];
      filters.forEach(([k, f]) => f.show(k !== x && k !== y));
      const here = differences.filter(d => same(d.to, ofTo()) && filters.every(([k, f]) => k === x || k === y || same(d.setting[k], f())));
      $("maps").replaceChildren();
      distinct([ofFirst(), ofSecond()]).forEach(c => map(here, x, y, c));
      $("mapNote").textContent = `Orange: ${show(ofTo())} is higher; blue: lower. Hatched: the interval holds zero, or rests on fewer than five seeds, and nothing is claimed.`;
    };
    const all = numbers.map(k => [host[k] || short(k), k]), choices = measured.map(c => [pretty(c), c]);
    const ofX = choose(holder, "Across:", all, numbers.includes("train_steps") ? "train_steps" : numbers[0], draw);
    const ofY = choose(holder, "Down:", all, numbers.find(k => k !== ofX()), draw);
    const ofFirst = choose(holder, "Differences in:", choices, want[0] || measured[0], draw);
    const ofSecond = choose(holder, "and", choices, want[1] || measured[1] || measured[0], draw);
    const compared = distinct(differences.map(d => d.to));
    const ofTo = choose(holder, "Of:", compared.map(v => [show(v), v]), undefined, draw);
    ofTo.show(compared.length > 1);
    holder.append(others);
    filters = numbers.map(k => [k, choose(others, ` ${host[k] || short(k)}:`, distinct(differences.map(d => d.setting[k])).map(v => [show(v), v]), undefined, draw)]);
    draw();
  } else $("mapSection").remove();
}

// Plots, with bars drawn over them
const bars = { id: "bars", afterDatasetsDraw(chart) {
  const { ctx, scales: { x, y } } = chart;
  chart.data.datasets.forEach((set, i) => { if (!chart.isDatasetVisible(i)) return; ctx.strokeStyle = set.borderColor; ctx.lineWidth = 1.2; set.data.forEach(p => {
    for (const [range, across] of [[p.yRange, false], [p.xRange, true]]) {
      if (!range) continue;
      const a = across ? x.getPixelForValue(range[0]) : y.getPixelForValue(range[0]), b = across ? x.getPixelForValue(range[1]) : y.getPixelForValue(range[1]);
      const at = across ? y.getPixelForValue(p.y) : x.getPixelForValue(p.x);
      ctx.beginPath();
      if (across) { ctx.moveTo(a, at); ctx.lineTo(b, at); } else { ctx.moveTo(at, a); ctx.lineTo(at, b); }
      ctx.stroke();
    } }); });
} };
const costs = { teacher_evaluations: "teacher evaluations", train_seconds: "training seconds" };
const reading = (g, c) => c in costs ? { mean: g[c], n: 1 } : g.metrics[c];
const range = m => m.n > 1 ? [m.low, m.high] : undefined;
const measures = [...metrics.map(c => [pretty(c), c]), ...Object.entries(costs).map(([k, t]) => [t, k])];
const samplers = valuesOf("student_steps").sort((a, b) => a - b).map(s => [show(s), s]);
const scale = values => Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 8 ? "logarithmic" : "linear";
if (metrics.length >= 1 && groups.length) {
  const want = results.config.report.plot.length === 2 ? results.config.report.plot : metrics;
  const chosen = [want[0], want[1] || want[0]];
  let main = null, over = null;
  const drawMain = () => {
    const [xName, yName, steps] = [ofX(), ofY(), ofSteps()];
    const sets = names.map(name => {
      const line = groups.filter(g => nameOf(g.setting) === name && g.setting.student_steps === steps && reading(g, xName) && reading(g, yName)).sort((a, b) => a.setting.train_steps - b.setting.train_steps);
      return { label: name, showLine: true, borderColor: color(name), backgroundColor: color(name), borderWidth: 1.3, pointRadius: line.map((_, i) => i === line.length - 1 ? 6 : 3),
        data: line.map(g => ({ x: reading(g, xName).mean, y: reading(g, yName).mean, xRange: range(reading(g, xName)), yRange: range(reading(g, yName)), step: g.setting.train_steps })) };
    }).filter(s => s.data.length);
    const all = sets.flatMap(s => s.data);
    if (main) main.destroy();
    main = new Chart($("main"), { type: "scatter", data: { datasets: sets }, plugins: [bars], options: { maintainAspectRatio: false,
      scales: { x: axis((measures.find(m => m[1] === xName) || [xName])[0], scale(all.map(p => p.x))), y: axis((measures.find(m => m[1] === yName) || [yName])[0], scale(all.map(p => p.y))) },
      plugins: { legend: { display: names.length <= 16 }, tooltip: { callbacks: { label: c => `${c.dataset.label} after ${c.raw.step} steps: ${show(c.raw.x)}, ${show(c.raw.y)}` } } } } });
  };
  const ofX = choose($("plotControls"), "Across:", measures, chosen[0], drawMain), ofY = choose($("plotControls"), "Up:", measures, chosen[1], drawMain);
  const ofSteps = choose($("plotControls"), "Sampler steps:", samplers, undefined, drawMain);
  drawMain();

  const numeric = keys.filter(k => valuesOf(k).length > 1 && valuesOf(k).every(v => typeof v === "number"));
  if (numeric.length) {
    const drawOver = () => {
      const [k, c] = [ofKey(), ofMeasure()];
      // All else equal makes a line; of training only the end counts, unless it is what is looked at.
      const usable = groups.filter(g => reading(g, c) && (k === "train_steps" || g.setting.train_steps === Math.max(...groups.filter(h => nameOf(h.setting) === nameOf(g.setting)).map(h => h.setting.train_steps))) && (k === "student_steps" || g.setting.student_steps === ofSampler()));
      const rest = g => { const s = { ...g.setting }; delete s[k]; delete s.train_steps; delete s.student_steps; return s; };
      const lines = distinct(usable.map(rest));
      const label = s => swept.filter(q => q !== k).map(q => typeof s[q] === "string" ? s[q] : s[q] === undefined ? "" : `${short(q)} ${show(s[q])}`).filter(Boolean).join(", ") || nameOf(s);
      const sets = lines.map((s, i) => { const points = usable.filter(g => same(rest(g), s)).sort((a, b) => a.setting[k] - b.setting[k]);
        return { label: label(s), showLine: true, borderColor: palette[i % palette.length], backgroundColor: palette[i % palette.length], borderWidth: 2, pointRadius: 3,
          data: points.map(g => ({ x: g.setting[k], y: reading(g, c).mean, yRange: range(reading(g, c)) })) }; });
      const xs = valuesOf(k), teacher = results.teacher.metrics[c];
      if (teacher !== undefined) sets.push({ label: "teacher", borderColor: "#98a2b3", backgroundColor: "#98a2b3", borderDash: [6, 4], pointRadius: 0, showLine: true, borderWidth: 1.5, data: [Math.min(...xs), Math.max(...xs)].map(x => ({ x, y: teacher })) });
      if (over) over.destroy();
      over = new Chart($("over"), { type: "scatter", data: { datasets: sets }, plugins: [bars], options: { maintainAspectRatio: false,
        scales: { x: axis(host[k] || short(k), scale(xs)), y: axis((measures.find(m => m[1] === c) || [c])[0], scale(sets.flatMap(s => s.data.map(p => p.y)))) },
        plugins: { legend: { display: sets.length <= 16 } } } });
    };
    const ofKey = choose($("overControls"), "Across:", numeric.map(k => [host[k] || short(k), k]), undefined, drawOver), ofMeasure = choose($("overControls"), "Up:", measures, chosen[1], drawOver);
    const ofSampler = choose($("overControls"), "Sampler steps:", samplers, undefined, drawOver);
    drawOver();
  } else { $("over").closest(".card").previousElementSibling.previousElementSibling.remove(); $("over").closest(".card").remove(); }
} else $("plots").remove();

// Samples: of each setting's first seed, at the end of training
{
  const gallery = $("gallery");
  const title = r => nameOf(groups.find(g => g.cell === r.cell) ? groups.find(g => g.cell === r.cell).setting : {});
  const finals = results.students.filter(r => r.samples && (page.pictures[r.samples] || page.points[r.samples]))
    .map(r => [r.samples, title(r), (r.student_steps ? `${r.student_steps} sampler step${r.student_steps > 1 ? "s" : ""}, ` : "") + `after ${r.train_steps} training steps`]);
  let any = false, points = false;
  const data = page.points.data || [];
  for (const [name, heading, note] of [["data", "data", "test split"], ["teacher", "teacher", "its ODE, solved over the whole grid"], ...finals]) {
    const picture = page.pictures[name], cloud = page.points[name];
    if (!picture && !(cloud && cloud.length)) continue;
    any = true;
    const figure = element("figure", undefined, element("div", undefined, gallery, "card"));
    const caption = element("figcaption", undefined, figure);
    element("b", heading, caption); caption.append(" · " + note);
    if (picture) { const img = element("img", undefined, figure); img.src = picture; img.alt = `${heading}: ${note}`; continue; }
    points = true;
    const all = data.length ? data : cloud, reach = 1.25 * Math.max(...all.flat().map(Math.abs));
    new Chart(element("canvas", undefined, element("div", undefined, figure, "chart")), { type: "scatter",
      data: { datasets: [{ data: cloud.map(([x, y]) => ({ x, y })), pointRadius: 1.6, backgroundColor: name === "data" ? "#667085" : name === "teacher" ? "#101828" : color(heading) }] },
      options: { maintainAspectRatio: false, plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: { x: { min: -reach, max: reach, grid: { color: "#eef0f3" } }, y: { min: -reach, max: reach, grid: { color: "#eef0f3" } } } } });
  }
  $("samplesNote").textContent = "All models begin from the same noise" + (points ? ". Points beyond the frame are not shown." : ", so pictures at the same place can be compared.") +
    (seeds > 1 ? " Shown is the first seed of each setting." : "");
  if (!any) $("samples").remove();
}

// Training
const nameOfCell = cell => { const g = groups.find(g => g.cell === cell); return g ? nameOf(g.setting) : cell || (rows[0] || {}).loss; };
new Chart($("loss"), { type: "scatter", data: { datasets: Object.entries(page.losses).map(([cell, points]) => ({
    label: nameOfCell(cell), borderColor: color(nameOfCell(cell)), backgroundColor: color(nameOfCell(cell)), showLine: true, pointRadius: 0, borderWidth: 1.5,
    data: points.map(([x, y]) => ({ x, y })) })) },
  options: { maintainAspectRatio: false, scales: { x: axis("training steps"), y: axis("loss", "logarithmic") }, plugins: { legend: { display: names.length <= 12 } } } });
{
  // The first series that a metric gave: a curve over the noise level, say.
  const name = results.students.flatMap(r => Object.keys(r.series || {}))[0];
  const series = results.students.filter(r => name && r.series && r.series[name] && r.cell in page.losses);
  if (series.length) new Chart($("noise"), { type: "scatter", data: { datasets: series.map(r => ({ label: nameOfCell(r.cell), borderColor: color(nameOfCell(r.cell)), backgroundColor: color(nameOfCell(r.cell)), showLine: true, borderWidth: 1.5,
      data: r.series[name].map(([x, y]) => ({ x, y })) })) },
    options: { maintainAspectRatio: false, scales: { x: axis("noise level sigma / alpha", "logarithmic"), y: axis(pretty(name), "logarithmic") }, plugins: { legend: { display: names.length <= 12 } } } });
  else $("noiseCard").remove();
}

// Provenance
$("toml").textContent = page.toml;
for (const p of [{ kind: "kind", name: "name", sha256: "SHA-256" }, ...(results.plugins || [])]) {
  const tr = element("tr", undefined, $("plugins"));
  element("td", p.kind, tr); element("td", p.name, tr); element("code", p.sha256, element("td", undefined, tr));
}
