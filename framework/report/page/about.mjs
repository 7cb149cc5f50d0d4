// What the results are of, and how to get them again.
import { $, asRegion, element, section } from "../../page/elements.mjs";
import { finite, grouped, plural } from "../../page/values.mjs";
import { page, settings } from "./data.mjs";

const { seeds } = settings;

section("about", () => {
  const title = typeof page.name === "string" && page.name ? page.name : "Retort";
  $("title").textContent = title;
  document.title = `${title} · Retort`;
  const v = page.versions || {}, e = page.config.evaluate || {}, run = page.config.run || {};
  const against = e.reference === "teacher" ? ", to the teacher's samples" :
    finite(e.reference_samples) ? `, to at most ${grouped(e.reference_samples)} test samples` : "";
  $("subtitle").textContent = [
    v.retort && `Retort ${v.retort}`,
    v.libtorch && `LibTorch ${v.libtorch}`,
    v.backend,
    seeds > 1 ? `${seeds} seeds` : run.seed !== undefined && `seed ${run.seed}`,
    finite(e.samples) && `distances of ${grouped(e.samples)} samples${against}`,
  ].filter(Boolean).join(" · ");
  const box = $("unfinished"), shown = 50;
  if (!page.unfinished.length) { box.remove(); return; }
  box.open = page.unfinished.length <= 5;
  const list = box.querySelector("ul");
  box.querySelector("summary").textContent = `Not in these results: ${plural(page.unfinished.length, "cell")}`;
  for (const c of page.unfinished.slice(0, shown)) {
    const li = element("li", undefined, list);
    element("bdi", c.name, li);
    li.append(` (${c.status}`);
    if (c.error) { li.append(": "); element("bdi", c.error, li); }
    li.append(")");
  }
  const more = page.unfinished.length - shown;
  if (more > 0) element("li", `and ${grouped(more)} more, in results.csv`, list);
});

section("provenance", () => {
  asRegion($("toml"), "config.toml").textContent = page.toml;
  for (const p of [{ kind: "kind", name: "name", sha256: "SHA-256" }, ...(page.plugins || [])]) {
    const tr = element("tr", undefined, $("plugins"));
    element("td", p.kind, tr);
    element("td", p.name, tr);
    element("code", p.sha256, element("td", undefined, tr));
  }
});
