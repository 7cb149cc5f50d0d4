// The elements of a page. All text that comes from a run is set as text, never as markup.
export const $ = id => document.getElementById(id);
// What went wrong can be read from outside, and is never silent.
const fault = message => {
  const d = document.documentElement.dataset;
  d.errors = (d.errors ? d.errors + "; " : "") + message;
};
window.addEventListener("error", e => fault(e.message));
document.addEventListener("securitypolicyviolation", e => fault(`policy: ${e.violatedDirective}`));

export const element = (tag, text, parent, kind) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (kind) e.className = kind;
  if (parent) parent.append(e);
  return e;
};
// What is drawn is a picture to those who hear the page.
export const asPicture = (canvas, label) => {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
};
// A box for what may be wider than the window: the keyboard scrolls it, and a screen reader calls it by its name.
export const asRegion = (box, label) => {
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
  return box;
};
// A part of the page by its own: when it fails, it says so, and the others go on. `draw` gives false for nothing to show.
export const section = (id, draw) => {
  try { if (draw() === false) $(id).remove(); }
  catch (e) {
    fault(`${id}: ${e.message}`);
    element("p", `This part cannot be shown: ${e.message}`, $(id), "note failed");
  }
};
