/// Opens a report in headless Chromium and tells what is seen there.
#pragma once

#include <regex>

#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

namespace retort::test {

/// Its command, or "".
inline const std::string& chromium() {
  static const std::string found = [] {
    std::string path = shell("command -v chromium || command -v chromium-browser || command -v google-chrome").output;
    return path.substr(0, path.find('\n'));
  }();
  return found;
}

/// True, and said, where there is no browser to look with.
inline bool no_browser() {
  if (chromium().empty()) {
    MESSAGE("skipped: Chromium was not found, so no page was looked at");
  }
  return chromium().empty();
}

struct Page {
  double ready = 0;    // milliseconds, as the page says itself
  std::string errors;  // of its scripts
  Json seen;           // what the probe below saw
};

// Runs in the page after its own scripts. Told as JSON in ASCII that no markup is needed for.
inline const char* const probe = R"js(
  const all = selector => [...document.querySelectorAll(selector)];
  const texts = selector => all(selector).map(e => e.textContent);
  const fieldOf = td => ({ text: td.textContent, title: td.title, ...td.dataset });
  const tableOf = id => ({ heads: texts(`#${id} th`), lines: all(`#${id} tbody tr`).map(tr => [...tr.children].map(fieldOf)) });
  const setOf = set => ({ name: set.whole, points: set.data.map(p => [p.x, p.y]) });
  const chartOf = id => Chart.getChart(id) ? Chart.getChart(id).data.datasets.map(setOf) : null;
  const tags = {};
  for (const e of all("*")) tags[e.localName] = (tags[e.localName] || 0) + 1;
  const comments = document.createTreeWalker(document, NodeFilter.SHOW_COMMENT);
  const seen = {
    title: document.title, heading: texts("#title").join(), subtitle: texts("#subtitle").join(),
    note: texts("#tableNote").join(), toml: texts("#toml").join(),
    tags, ids: all("main [id]").map(e => e.id), sections: all("section").map(e => e.id),
    comments: comments.nextNode() ? 1 : 0, evil: window.evil === undefined ? null : "ran",
    broken: texts("section .note.failed"), unfinished: texts("#unfinished li"),
    results: tableOf("table"), differences: tableOf("differenceTable"), maps: texts(".map caption"),
    fields: all(".map td:not(.axis)").map(td => td.dataset.value),
    ranks: all(".ranks tr").slice(1).map(tr => [...tr.children].slice(1).map(td => td.textContent)),
    sorted: all("#table th").map(th => th.getAttribute("aria-sort")),
    pagers: texts(".pager:not([hidden]) > span").filter(Boolean),
    captions: texts("#gallery figcaption"), pictures: all("#gallery img[src^='data:image/png']").length, more: texts(".more"),
    main: chartOf("main"), over: chartOf("over"), loss: chartOf("loss"), noise: chartOf("noise"),
    beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const hex = c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen).replace(/[^ -%'-;=?-~]/g, hex);
  document.body.append(out);
)js";

/// Opens the report. `act` is script that a user's clicks stand for, run before looking. The page keeps its own policy,
/// to which only the probe is added.
inline Page open_page(const std::filesystem::path& folder, const std::string& act = "") {
  std::string html = read_text(folder / "report.html");
  const std::string allowed = "script-src", end = "</body>";
  REQUIRE(html.find(allowed) < html.find("<title>"));
  html.insert(html.find(allowed) + allowed.size(), " 'nonce-probe'");
  html.insert(html.rfind(end), "<script nonce=\"probe\">{" + act + "\n" + probe + "}</script>");
  write_text(folder / "probed.html", html);
  const std::string dom = (folder / "dom.html").string(), profile = (folder / "profile").string();
  shell("HOME='" + folder.string() + "' timeout 300 '" + chromium() +
        "' --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --window-size=520,900 "
        "--timeout=200000 --user-data-dir='" +
        profile + "' --dump-dom 'file://" + std::filesystem::absolute(folder / "probed.html").string() + "' > '" + dom +
        "' 2> /dev/null");
  std::filesystem::remove_all(profile);
  const std::string text = read_text(dom);
  const std::string head = text.substr(0, text.find('>', text.find("<html")));
  Page out;
  std::smatch match;
  if (std::regex_search(head, match, std::regex("data-ready=\"([0-9.]+)\""))) {
    out.ready = std::stod(match[1]);
  }
  if (std::regex_search(head, match, std::regex("data-errors=\"([^\"]*)\""))) {
    out.errors = match[1];
  }
  const std::string begin = "<pre id=\"seen\">";
  const size_t from = text.rfind(begin);
  REQUIRE_MESSAGE(from != std::string::npos, "the page did not get as far as the probe: ", head);
  out.seen = Json::parse(text.substr(from + begin.size(), text.find("</pre>", from) - from - begin.size()));
  return out;
}

/// Whether the page runs through, all parts of it, and ran nobody's text.
inline void check_sound(const Page& page) {
  CHECK(page.ready > 0);
  CHECK(page.errors == "");
  CHECK(page.seen["broken"] == Json::array());
  CHECK(page.seen["comments"] == 0);
  CHECK(page.seen["evil"] == nullptr);
  CHECK(page.seen["beyond"] == 0);  // nothing makes the page wider than the window
}

}  // namespace retort::test
