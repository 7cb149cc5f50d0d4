// What is said of a run, of what the server tells of it. Nothing here touches the page.
import { get, grouped, plural } from "../../page/values.mjs";

export const ago = seconds => {
  const units = [["s", 60], ["min", 60], ["h", 24], ["d", Infinity]];
  let value = Math.max(0, seconds);
  for (const [unit, size] of units) {
    if (value < size) return `${Math.round(value)} ${unit} ago`;
    value /= size;
  }
};
// The student in fewest steps stands for a run; of a sweep's many none does.
export const headline = run => run.kind === "sweep" ? undefined :
  run.rows.reduce((a, b) => a === undefined || b.student_steps < a.student_steps ? b : a, undefined);
export const measureOf = (run, name) => get(get(headline(run), "metrics"), name);
export const progressOf = run => {
  const all = Object.values(run.cells).reduce((a, b) => a + b, 0);
  if (run.kind === "sweep") return all ? `${(run.cells.done || 0) + (run.cells.stopped || 0)} of ${plural(all, "cell")}` : "–";
  return run.step === undefined ? "–" : `${grouped(run.step)}${run.steps ? ` of ${grouped(run.steps)}` : ""} steps`;
};
export const shownMeasures = list => {
  const names = new Set();
  for (const run of list) for (const name of Object.keys(get(headline(run), "metrics") || {})) names.add(name);
  return [...names].slice(0, 8);
};

// How a row differs from others of its run.
export const rowName = row => [
  row.cell, row.student_steps !== undefined && `${plural(row.student_steps, "sampler step")}`,
  row.guidance !== undefined && `guidance ${row.guidance}`, row.ema_length !== undefined && `average ${row.ema_length}`,
].filter(Boolean).join(", ");
export const marksIn = hash => hash.slice(1).split("&").filter(Boolean).flatMap(s => {
  try { return [decodeURIComponent(s)]; } catch { return []; }
});
