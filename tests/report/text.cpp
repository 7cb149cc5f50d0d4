// Text that users give stands in the page as they typed it, and is nothing but text.
#include "report/browser.h"
#include "report/run.h"
#include "report/template.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::vector<std::string> nasty = {
    "<!--<script>",
    "</script>",
    "<!-- never closed",
    "{{data}}",
    "{{page.js}} {{title}} {{",
    "&amp; &lt;b&gt; &#60;",
    "\"double\" 'single' `${window.evil=1}`",
    "line\xE2\x80\xA8paragraph\xE2\x80\xA9"
    "end",
    "\xE2\x80\xAE"
    "right to left \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D",
    "<img src=x onerror=window.evil=1>",
    "<b id=\"evil\">bold</b></title></style></textarea>",
    "</script><script>window.evil=1</script>",
    "\\u003c/script>\\",
    "]]>--><svg onload=window.evil=1>",
    "__proto__",
    "constructor",
    "\xF0\x9F\xA7\xAA \xC3\xA9\xCC\x81 \xE6\xBC\xA2\xE5\xAD\x97",
    "one, two; \"three\"",
    "tab\tline\nnext",
    "\x01\x1B[31m control",
};

std::string all_of(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    out += text + " ";
  }
  return out;
}

// A sweep in which every text that a user can give is one of `texts`; with its last cell failed.
Page page_of(const std::vector<std::string>& texts, const std::string& name, const std::string& more) {
  Folder folder;
  Sweep sweep(folder.string());
  for (size_t i = 0; i < texts.size(); ++i) {
    sweep.done({{"dataset.folder", texts[i]}, {"x." + more, static_cast<int64_t>(i)}},
               {{{"fd", 1.0 + static_cast<double>(i)}, {more, 2.0}}, {{"fd", 3.0}, {"ode_error", 0.5}}});
  }
  sweep.failed({{"dataset.folder", "f"}, {"x." + more, 99}}, Json({{"error", more}}).dump());
  sweep.failed({{"dataset.folder", "g"}, {"x." + more, 99}}, "{\"error\": \"\xFF\xC3( broken\"}");
  sweep.failed({{"dataset.folder", "h"}, {"x." + more, 99}}, "cut o");
  write_text(folder / "config.toml", "# " + more + "\n\xFE invalid\n");
  sweep.put_together(name);
  const Page page = open_page(folder.string());
  check_sound(page);
  // The figures of results.csv, cell by cell, beside the names.
  const auto csv = read_csv(folder / "results.csv");
  REQUIRE(csv.size() == 1 + 2 * (texts.size() + 3));
  const Json& table = page.seen["results"];
  size_t line = 1;  // after the teacher's
  for (size_t i = 1; i < csv.size(); ++i) {
    REQUIRE(csv[i].size() == csv[0].size());
    if (csv[i][1] != "done") {
      continue;
    }
    const auto at = [&](const std::string& head) {
      return csv[i][static_cast<size_t>(std::find(csv[0].begin(), csv[0].end(), head) - csv[0].begin())];
    };
    REQUIRE(line < table["lines"].size());
    const Json& shown = table["lines"][line];
    CHECK(at("dataset.folder") == texts[(line - 1) / 2]);
    CHECK(shown[0]["text"].get<std::string>().starts_with(at("dataset.folder") + ", "));
    for (size_t c = 0; c < table["heads"].size(); ++c) {
      const std::string head = table["heads"][c];
      if (head == "fd" || head == "ode error" || head == more) {
        const std::string value = at(head == "ode error" ? "ode_error" : head);
        CHECK(value.empty() == !shown[c].contains("value"));
        CHECK((value.empty() || std::stod(value) == std::stod(shown[c]["value"].get<std::string>())));
      }
    }
    ++line;
  }
  CHECK(line == 1 + 2 * texts.size());
  CHECK(std::count(table["heads"].begin(), table["heads"].end(), Json(more)) == 1);
  REQUIRE(page.seen["unfinished"].size() == 3);
  const size_t n = texts.size();
  CHECK(page.seen["unfinished"][0] == "cell" + std::to_string(n) + " (failed: " + more + ")");
  CHECK(page.seen["unfinished"][1] == "cell" + std::to_string(n + 1) + " (failed: \xEF\xBF\xBD\xEF\xBF\xBD( broken)");
  CHECK(page.seen["unfinished"][2] == "cell" + std::to_string(n + 2) + " (failed: its reason cannot be read)");
  CHECK(page.seen["toml"] == "# " + more + "\n\xEF\xBF\xBD invalid\n");
  CHECK(page.seen["heading"] == name);
  return page;
}

}  // namespace

TEST_CASE("names, values, metrics and errors of every character are shown as typed, and make no element") {
  if (no_browser()) {
    return;
  }
  std::vector<std::string> plain(nasty.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    plain[i] = "plain" + std::to_string(i);
  }
  const std::string evil = all_of(nasty);
  // An underscore is shown as a space in the names of metrics.
  const Page page = page_of(nasty, evil, "<i>&amp;</i></script><!--{{data}}");
  const Page same = page_of(plain, "plain", "more");
  CHECK(page.seen["tags"] == same.seen["tags"]);
  CHECK(page.seen["ids"] == same.seen["ids"]);
  CHECK(page.seen["sections"] == same.seen["sections"]);
}

TEST_CASE("a run's name alone is text too, in the title and the heading") {
  if (no_browser()) {
    return;
  }
  for (const std::string& name : {std::string("<!--<script>"), std::string("{{data}}"), std::string("__proto__"),
                                  std::string(5000, 'w') + "</title>"}) {
    CAPTURE(name.substr(0, 40));
    Folder folder;
    report_on(folder.string(),
              results_of_run(name, Json::array({row_of("", {}, 100, 1, {{name.substr(0, 200), 1.5}})})));
    // Without scripts too, as mail programs show it.
    CHECK(read_text(folder / "report.html").find("<title>" + escape_html(name) + " · Retort</title>") < 2000);
    const Page page = open_page(folder.string());
    check_sound(page);
    CHECK(page.seen["heading"] == name);
    CHECK(page.seen["title"] == name + " · Retort");
  }
}
