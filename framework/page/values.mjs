// How values are written, and small helpers over collections. Nothing here touches the page.
export const grouped = v => v.toLocaleString("en");
const number = v => {
  const size = Math.abs(v);
  if (v === 0) return "0";
  if (size < 0.001 || size >= 1e15) return v.toExponential(1);
  return size < 10 ? v.toFixed(4) : size < 1000 ? v.toFixed(1) : grouped(Math.round(v));
};
// In as few characters as tell something, for the fields of a map.
export const brief = v => {
  const size = Math.abs(v);
  return size >= 1e6 ? v.toExponential(1) : String(size >= 100 ? Math.round(v) : Number(v.toPrecision(2)));
};
const isWhole = v => Number.isInteger(v) && Math.abs(v) < 1e15;
// undefined was not measured; null was, and is no number.
export const show = v => v === undefined ? "–" : v === null ? "NaN" : typeof v !== "number" || isWhole(v) ? exact(v) : number(v);
// A setting's value: rounded, two of them might look the same.
export const exact = v => {
  if (v === undefined || v === null) return "–";
  if (typeof v === "number") return isWhole(v) ? grouped(v) : String(v);
  return typeof v === "string" ? v : JSON.stringify(v);
};
export const pretty = name => name.replaceAll("_", " ");
// Characters, not halves of them.
export const cut = (text, most) => {
  const begin = Array.from(text.slice(0, 2 * most + 2));
  return begin.length > most ? begin.slice(0, most - 1).join("") + "…" : text;
};

export const has = (object, key) => object !== undefined && object !== null && Object.hasOwn(object, key);
export const get = (object, key) => has(object, key) ? object[key] : undefined;
export const without = (object, ...names) => Object.fromEntries(Object.entries(object).filter(([k]) => !names.includes(k)));
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
export const distinct = values => {
  const found = new Map();
  for (const v of values) {
    const key = JSON.stringify(v);
    if (!found.has(key)) found.set(key, v);
  }
  return [...found.values()];
};
// Of any number of values; a function's arguments have a limit.
export const most = (values, start) => values.reduce((a, b) => b > a ? b : a, start);
export const least = (values, start) => values.reduce((a, b) => b < a ? b : a, start);
export const finite = v => typeof v === "number" && Number.isFinite(v);
export const plural = (n, noun) => `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;

// A mean's interval, where it has one.
export const range = m => m.n > 1 ? [m.low, m.high] : undefined;

const rank = v => typeof v === "number" ? 0 : v === undefined ? 3 : v === null ? 2 : 1;
// Numbers before words; what is missing stays at the end, whichever way.
export const order = (a, b, down) => {
  const x = rank(a), y = rank(b);
  if (x !== y || x > 1) return x - y;
  if (x === 1) { a = exact(a); b = exact(b); }
  return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
};
