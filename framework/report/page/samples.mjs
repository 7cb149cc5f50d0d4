// Samples: of the data, of the teacher, and of each setting's first seed at the end of training.
import { styled } from "../../page/charts.mjs";
import { button, finder } from "../../page/controls.mjs";
import { $, asPicture, element, section } from "../../page/elements.mjs";
import { exact, finite, get, grouped, most, plural } from "../../page/values.mjs";
import { page, part, settings } from "./data.mjs";

const { given, several, nameOfCell, colorOfCell, seeds } = settings;

section("samples", () => {
  const gallery = $("gallery"), atOnce = 24;
  const noteOf = r => [
    r.student_steps && plural(r.student_steps, "sampler step"),
    several("guidance") && r.guidance !== undefined && `guidance ${exact(r.guidance)}`,
    given(r.ema_length) && `EMA ${exact(r.ema_length)}`,
    `after ${exact(r.train_steps ?? r.optimizer_steps)} training steps`,
  ].filter(Boolean).join(", ");
  const items = [
    { part: get(page.samples, "data"), heading: "data", color: "#667085", note: "test split" },
    { part: get(page.samples, "teacher"), heading: "teacher", color: styled("--ink"),
      note: "its ODE, solved over the whole grid" },
    ...page.students.map(r =>
      ({ part: r.samples, heading: nameOfCell(r.cell), color: colorOfCell(r.cell, 0), note: noteOf(r) })),
  ].filter(item => finite(item.part));
  if (!items.length) return false;

  const reachOf = points => 1.25 * most(points.flat().map(Math.abs), 0) || 1;
  let common;  // all clouds in the frame of the data
  const cloud = (item, points, figure) => {
    if (common === undefined) {
      const data = finite(page.samples.data) && part(page.samples.data).points;
      common = data ? reachOf(data) : null;
    }
    const reach = common || reachOf(points), frame = { min: -reach, max: reach, grid: { color: styled("--grid") } };
    const canvas = element("canvas", undefined, element("div", undefined, figure, "chart"));
    new Chart(asPicture(canvas, `${item.heading}: ${item.note}`), {
      type: "scatter",
      data: { datasets: [{ data: points.map(([x, y]) => ({ x, y })), pointRadius: 1.6, backgroundColor: item.color }] },
      options: {
        maintainAspectRatio: false,
        scales: { x: frame, y: frame },
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
      },
    });
  };
  const fillFigure = (item, figure) => {
    const { picture, points } = part(item.part);
    figure.style.minHeight = "";
    if (!picture) { cloud(item, points, figure); return; }
    const img = element("img", undefined, figure);
    img.src = picture;
    img.alt = `${item.heading}: ${item.note}`;
  };
  // Drawn when it comes near the window, or before the page is printed.
  const waiting = new Map();
  const drawNow = figure => {
    const item = waiting.get(figure);
    near.unobserve(figure);
    if (waiting.delete(figure)) fillFigure(item, figure);
  };
  const near = new IntersectionObserver(seen => seen.filter(s => s.isIntersecting).forEach(s => drawNow(s.target)),
    { rootMargin: "400px" });
  window.addEventListener("beforeprint", () => [...waiting.keys()].forEach(drawNow));

  let count = atOnce;
  const draw = () => {
    const found = find.among(items, item => `${item.heading} ${item.note}`), shown = found.slice(0, count);
    near.disconnect();
    waiting.clear();
    gallery.replaceChildren();
    for (const item of shown) {
      const figure = element("figure", undefined, element("div", undefined, gallery, "card"));
      figure.style.minHeight = "360px";
      const caption = element("figcaption", undefined, figure);
      element("b", item.heading, caption);
      caption.append(" · " + item.note);
      waiting.set(figure, item);
      near.observe(figure);
    }
    if (found.length === shown.length) return;
    const said = `Show more: ${grouped(shown.length)} of ${grouped(found.length)} are shown`;
    button(gallery, said, undefined, () => { count += atOnce; draw(); }).className = "more";
  };
  const find = finder($("samplesControls"), () => { count = atOnce; draw(); });
  find.show(items.length > atOnce);
  draw();
  const points = part(items[0].part).points;
  const left = page.samples_left_out;
  $("samplesNote").textContent = "All models begin from the same noise" +
    (points ? ". Points beyond the frame are not shown." : ", so pictures at the same place can be compared.") +
    (seeds > 1 ? " Shown is the first seed of each setting." : "") +
    (left ? ` ${plural(left, "more file")} of samples would make this page too large: see the run's folder.` : "");
});
