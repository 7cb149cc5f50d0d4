// Looks again every two seconds, and draws where something has changed.
const drawMarked = () => { drawPlot(); drawCompare(); };
let told = "";
const look = async () => {
  try {
    const said = await fetch("api/runs", { cache: "no-store" });
    if (!said.ok) throw new Error(await said.text());
    const answer = await said.json();
    runs = answer.runs;
    $("title").textContent = answer.folder;
    document.title = `${answer.folder} · Retort`;
    $("about").textContent = `${plural(runs.length, "run")}. What changes appears by itself.`;
    const now = JSON.stringify(runs.map(({ seconds_ago, ...rest }) => rest));
    drawRuns();
    if (now !== told) drawMarked();
    told = now;
    document.documentElement.dataset.ready = performance.now().toFixed(1);
  } catch (e) {
    $("about").textContent = `The server does not answer: ${e.message}. What is here is what it said last.`;
  }
  setTimeout(look, 2000);
};
look();
