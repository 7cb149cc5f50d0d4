// Looks again every two seconds, and draws where something has changed.
import { $ } from "../../page/elements.mjs";
import { plural, without } from "../../page/values.mjs";
import { drawCompare } from "./compare.mjs";
import { drawPlot } from "./plot.mjs";
import { drawRuns, drawTimes, onMark } from "./runs.mjs";
import { onAddress, state } from "./state.mjs";

const drawMarked = () => { drawPlot(); drawCompare(); };
onMark(drawMarked);
onAddress(() => { drawRuns(); drawMarked(); });
let told = "";
const look = async () => {
  try {
    const said = await fetch("api/runs", { cache: "no-store" });
    if (!said.ok) throw new Error(await said.text());
    const answer = await said.json();
    state.runs = answer.runs;
    $("title").textContent = answer.folder;
    document.title = `${answer.folder} · Retort`;
    $("about").textContent = `${plural(state.runs.length, "run")}. What changes appears by itself.`;
    const now = JSON.stringify(state.runs.map(run => without(run, "seconds_ago")));
    if (now === told) drawTimes();
    else { drawRuns(); drawMarked(); }
    told = now;
    document.documentElement.dataset.ready ??= performance.now().toFixed(1);
  } catch (e) {
    $("about").textContent = `The server does not answer: ${e.message}. What is here is what it said last.`;
  }
  setTimeout(look, 2000);
};
look();
