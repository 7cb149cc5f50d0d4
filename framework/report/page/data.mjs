// What the report shows. Each part of the page shows what was measured and leaves out the rest.
import { $ } from "../../page/elements.mjs";
import { readSettings } from "./settings.mjs";

export const page = JSON.parse($("data").textContent);
export const settings = readSettings(page);

// Pictures, points and curves lie beside the data and are read when they are shown.
const parts = document.querySelectorAll("script.part");
export const part = i => JSON.parse(parts[i].textContent);
