// What the report shows. Each part of the page shows what was measured and leaves out the rest.
const page = JSON.parse($("data").textContent);

// Pictures, points and curves lie beside the data and are read when they are shown.
const parts = document.querySelectorAll("script.part");
const part = i => JSON.parse(parts[i].textContent);
