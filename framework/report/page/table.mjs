// Tables that sort, and how their fields are filled.
import { button, finder, pager } from "../../page/controls.mjs";
import { asRegion, element } from "../../page/elements.mjs";
import { order, show } from "../../page/values.mjs";

export const fill = (td, v) => {
  td.append(show(v));
  if (typeof v === "number") td.dataset.value = td.title = v;
  if (v === null) td.dataset.value = "NaN";
};
// A mean with its interval, and how many seeds it rests on where some are missing. Rounded; the whole is in the title.
export const fillMean = (td, m) => {
  fill(td, m.mean);
  td.dataset.n = m.n;
  if (m.of !== undefined) td.dataset.of = m.of;
  if (m.n > 1) {
    element("span", `${show(m.low)} … ${show(m.high)}`, td, "interval");
    [td.dataset.low, td.dataset.high] = [m.low, m.high];
    td.title = `${m.mean}, 95 % interval from ${m.low} to ${m.high}`;
  }
  if (m.of > m.n && m.of > 1) element("span", `${m.n} of ${m.of}`, td, "lack");
};

// A table that sorts by a click on its heads; a long one is shown a part at a time. columns: {head, value(item),
// fill(td, item), kind}; the fixed items stay on top.
const longTable = 100, linesOfTable = 50;
export const sortable = (holder, label, controls, columns, items, nameOf, fixed) => {
  let by = null, down = false, sorted = items;
  const table = element("table"), head = element("tr", undefined, element("thead", undefined, table));
  const body = element("tbody", undefined, table);
  const draw = () => {
    const lines = pages.take(find.among(sorted, nameOf));
    const write = (item, kind) => {
      const tr = element("tr", undefined, undefined, kind);
      for (const c of columns) {
        const td = element("td", undefined, tr, c.kind);
        if (c.fill) c.fill(td, item); else fill(td, c.value(item));
      }
      return tr;
    };
    body.replaceChildren(...(fixed || []).map(item => write(item, "teacher")), ...lines.map(item => write(item)));
  };
  const find = finder(controls, () => { pages.restart(); draw(); });
  const pages = pager(controls, items.length > longTable ? linesOfTable : longTable, "lines", draw, true);
  find.show(items.length > longTable);
  columns.forEach((c, i) => {
    const th = element("th", undefined, head);
    th.scope = "col";
    button(th, c.head, undefined, () => {
      down = by === i && !down;
      by = i;
      for (const other of head.children) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = items.map(item => [c.value(item), item]);
      sorted = keyed.sort((a, b) => order(a[0], b[0], down)).map(([, item]) => item);
      pages.restart();
      draw();
    });
  });
  draw();
  asRegion(holder, label).replaceChildren(table);
};
