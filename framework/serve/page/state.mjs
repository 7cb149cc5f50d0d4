// The runs that the server told of last, and which of them are marked. What is marked stands in the address, so that a
// comparison can be kept and opened again.
import { marksIn } from "./telling.mjs";

export const state = { runs: [] };
export const marked = new Set(marksIn(location.hash));

export const mark = (path, on) => {
  if (on) marked.add(path); else marked.delete(path);
  history.replaceState(null, "", `#${[...marked].map(encodeURIComponent).join("&")}`);
};
export const onAddress = draw => addEventListener("hashchange", () => {
  marked.clear();
  for (const path of marksIn(location.hash)) marked.add(path);
  draw();
});

// Its path, where several have its name.
export const titleOf = run => state.runs.some(other => other !== run && other.name === run.name) ? run.path : run.name;
export const fileOf = (run, file) => `file?path=${encodeURIComponent(`${run.path}/${file}`)}`;
