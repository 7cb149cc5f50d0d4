// Controls above tables and charts.
import { element } from "./elements.mjs";
import { cut, grouped, same } from "./values.mjs";

// A list to choose from: [[text, value], …]. Gives a function that tells what is chosen. One without a choice is hidden.
export const choose = (parent, label, options, chosen, change) => {
  const holder = element("label", label + " ", parent), select = element("select", undefined, holder);
  options.forEach(([text], i) => { element("option", cut(text, 60), select).value = i; });
  select.selectedIndex = Math.max(0, options.findIndex(([, value]) => same(value, chosen)));
  select.onchange = change;
  const chosenNow = () => options.length ? options[select.selectedIndex][1] : undefined;
  chosenNow.show = wanted => { holder.hidden = !wanted || options.length < 2; };
  chosenNow.show(true);
  return chosenNow;
};

export const button = (parent, text, say, press) => {
  const b = element("button", text, parent);
  b.type = "button";
  if (say) { b.title = say; b.setAttribute("aria-label", say); }
  b.onclick = press;
  return b;
};

// Shows a long list `size` at a time. `take(list)` gives what is to be shown of it and says what is not.
export const pager = (parent, size, noun, change, withAll) => {
  const holder = element("span", undefined, parent, "pager");
  let from = 0, all = false, total = 0;
  const go = step => { from = Math.max(0, Math.min(from + step, total - 1)); change(); };
  const back = button(holder, "‹", `the ${noun} before these`, () => go(-size));
  const said = element("span", "", holder);
  const on = button(holder, "›", `the ${noun} after these`, () => go(size));
  const every = withAll && button(holder, "Show all", undefined, () => { all = !all; from = 0; change(); });
  return {
    restart: () => { from = 0; },
    take: list => {
      total = list.length;
      if (from >= total) from = 0;
      const to = all ? total : Math.min(total, from + size);
      holder.hidden = total <= size;
      back.disabled = from === 0;
      on.disabled = to >= total;
      back.hidden = on.hidden = all;
      said.textContent = `${grouped(from + 1)}–${grouped(to)} of ${grouped(total)} ${noun}`;
      if (every) every.textContent = all ? "Show fewer" : "Show all";
      return list.slice(from, to);
    },
  };
};

// A field that finds lines by words in their names.
export const finder = (parent, change) => {
  const holder = element("label", "Find ", parent), input = element("input", undefined, holder);
  input.type = "search";
  input.size = 14;
  let words = [];
  input.oninput = () => { words = input.value.toLowerCase().split(/\s+/).filter(Boolean); change(); };
  return {
    show: wanted => { holder.hidden = !wanted; },
    among: (list, nameOf) => {
      const fits = name => words.every(w => name.includes(w));
      return words.length ? list.filter(x => fits(nameOf(x).toLowerCase())) : list;
    },
  };
};

// More lines than a chart can show: a field to find some, and the pages of those.
const linesAtOnce = 10;
export const lineChoice = (parent, noun, draw) => {
  const find = finder(parent, () => { pages.restart(); draw(); });
  const pages = pager(parent, linesAtOnce, noun, draw);
  return (list, nameOf) => { find.show(list.length > linesAtOnce); return pages.take(find.among(list, nameOf)); };
};
