// Where `retort serve` answers: the way back, and newer results. Nobody's choices are lost to them unasked.
import { $, element, section } from "../../page/elements.mjs";
import { page } from "./data.mjs";

section("about", () => {
  const back = element("a", "All runs", undefined, "back");
  back.href = "./";
  $("title").before(back);
  const asked = `api/version${location.search}`;
  const shown = page.version;
  let used = false;
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { used = true; }, { once: true });
  const newer = element("button", "There are newer results: show them", undefined, "newer");
  newer.hidden = true;
  newer.addEventListener("click", () => location.reload());
  $("title").after(newer);
  const look = async () => {
    try {
      const { version } = await (await fetch(asked, { cache: "no-store" })).json();
      if (version !== shown && !used) { location.reload(); return; }
      newer.hidden = version === shown;
    } catch { newer.hidden = true; } // the server has ended: what is here stays
    setTimeout(look, 2000);
  };
  look();
});
