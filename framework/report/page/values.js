"use strict";
// What pages share: elements, and how values are written. All text that comes from a run is set as text, never as markup.
const $ = id => document.getElementById(id);
// What went wrong can be read from outside, and is never silent.
const fault = message => {
  const d = document.documentElement.dataset;
  d.errors = (d.errors ? d.errors + "; " : "") + message;
};
window.addEventListener("error", e => fault(e.message));
document.addEventListener("securitypolicyviolation", e => fault(`policy: ${e.violatedDirective}`));

const palette = [
  "#3451b2", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0b7285", "#e67700", "#495057", "#5c7cfa", "#a61e4d",
];

const element = (tag, text, parent, kind) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (kind) e.className = kind;
  if (parent) parent.append(e);
  return e;
};
// A part of the page by its own: when it fails, it says so, and the others go on. `draw` gives false for nothing to show.
const section = (id, draw) => {
  try { if (draw() === false) $(id).remove(); }
  catch (e) {
    fault(`${id}: ${e.message}`);
    element("p", `This part cannot be shown: ${e.message}`, $(id), "note failed");
  }
};

const grouped = v => v.toLocaleString("en");
const number = v => {
  const size = Math.abs(v);
  if (v === 0) return "0";
  if (size < 0.001 || size >= 1e15) return v.toExponential(1);
  return size < 10 ? v.toFixed(4) : size < 1000 ? v.toFixed(1) : grouped(Math.round(v));
};
const isWhole = v => Number.isInteger(v) && Math.abs(v) < 1e15;
// undefined was not measured; null was, and is no number.
const show = v => v === undefined ? "–" : v === null ? "NaN" : typeof v !== "number" || isWhole(v) ? exact(v) : number(v);
// A setting's value: rounded, two of them might look the same.
const exact = v => {
  if (v === undefined || v === null) return "–";
  if (typeof v === "number") return isWhole(v) ? grouped(v) : String(v);
  return typeof v === "string" ? v : JSON.stringify(v);
};
const pretty = name => name.replaceAll("_", " ");
// Characters, not halves of them.
const cut = (text, most) => {
  const begin = [...text.slice(0, 2 * most)];
  return begin.length > most ? begin.slice(0, most - 1).join("") + "…" : text;
};

const has = (object, key) => object !== undefined && object !== null && Object.hasOwn(object, key);
const get = (object, key) => has(object, key) ? object[key] : undefined;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const distinct = values => {
  const found = new Map();
  for (const v of values) {
    const key = JSON.stringify(v);
    if (!found.has(key)) found.set(key, v);
  }
  return [...found.values()];
};
// Of any number of values; a function's arguments have a limit.
const most = (values, start) => values.reduce((a, b) => b > a ? b : a, start);
const least = (values, start) => values.reduce((a, b) => b < a ? b : a, start);
const finite = v => typeof v === "number" && Number.isFinite(v);
const plural = (n, noun) => `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;
