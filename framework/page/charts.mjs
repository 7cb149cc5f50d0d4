// What the charts share. Chart.js is a script before this one.
import { $, asPicture } from "./elements.mjs";
import { cut, least, most, show } from "./values.mjs";

Chart.defaults.font.family = "system-ui, 'DejaVu Sans', sans-serif";
Chart.defaults.animation = false;
// Light or dark, as the page is.
export const styled = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
Chart.defaults.color = styled("--soft");

// `spans`: intervals along the axis that must fit too.
export const axis = (title, type, spans) => {
  const out = { type: type || "linear", title: { display: true, text: cut(title, 80) }, grid: { color: styled("--grid") } };
  const ends = (spans || []).flat().filter(v => type !== "logarithmic" || v > 0);
  return ends.length ? { ...out, suggestedMin: least(ends, Infinity), suggestedMax: most(ends, -Infinity) } : out;
};
export const spansOf = (points, range) => points.map(p => p[range]).filter(Boolean);
// Logarithmic where all is above zero and spans much.
export const scale = (values, span = 8) => {
  const low = least(values, Infinity), high = most(values, -Infinity);
  return low > 0 && high / low > span ? "logarithmic" : "linear";
};
const legend = { display: true, labels: { boxWidth: 24 } };
// Names as long as somebody likes: cut in the legend, whole in the tooltip.
export const named = (name, color, more) =>
  ({ label: cut(name, 40), whole: name, borderColor: color, backgroundColor: color, showLine: true, ...more });

// Intervals, drawn over the points that have one.
const bars = { id: "bars", afterDatasetsDraw(chart) {
  const { ctx, scales: { x, y } } = chart;
  const stroke = (x0, y0, x1, y1) => { ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke(); };
  chart.data.datasets.forEach((set, i) => {
    if (!chart.isDatasetVisible(i)) return;
    ctx.strokeStyle = set.borderColor;
    ctx.lineWidth = 1.2;
    for (const p of set.data) {
      const px = x.getPixelForValue(p.x), py = y.getPixelForValue(p.y);
      if (p.yRange) stroke(px, y.getPixelForValue(p.yRange[0]), px, y.getPixelForValue(p.yRange[1]));
      if (p.xRange) stroke(x.getPixelForValue(p.xRange[0]), py, x.getPixelForValue(p.xRange[1]), py);
    }
  });
} };

// Draws lines into a canvas, in place of those before.
const drawn = new Map();
export const lineChart = (id, sets, x, y, said) => {
  asPicture($(id), `${y.title.text} over ${x.title.text}: ${sets.map(set => set.whole).join("; ") || "nothing"}`);
  if (drawn.has(id)) drawn.get(id).destroy();
  // In a narrow window the legend has a name in each line, which must not be taken from the chart.
  $(id).parentElement.style.height = window.innerWidth < 600 ? `${280 + 22 * sets.length}px` : "";
  const label = c => `${c.dataset.whole}${said ? said(c.raw) : ""}: ${show(c.raw.x)}, ${show(c.raw.y)}`;
  drawn.set(id, new Chart($(id), {
    type: "scatter",
    data: { datasets: sets },
    plugins: [bars],
    options: { maintainAspectRatio: false, scales: { x, y }, plugins: { legend, tooltip: { callbacks: { label } } } },
  }));
};
