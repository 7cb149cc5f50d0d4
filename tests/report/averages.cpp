// Averages of several lengths in a report: a name, a column and an axis.
#include "report/browser.h"
#include "report/run.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("lengths of averages are named, stand in a column, and can be looked across") {
  if (no_browser()) {
    return;
  }
  Folder folder;
  Json rows = Json::array();
  for (const double length : {0.0, 0.05, 0.15}) {
    Json row = row_of("", {}, 100, 1, {{"fd", 0.5 + length}, {"ode_error", 1 - length}});
    if (length > 0) {
      row["ema_length"] = length;
    }
    rows.push_back(row);
  }
  report_on(folder / "run", results_of_run("averages", rows));
  const Page page = open_page(folder / "run");
  CHECK(page.errors.empty());
  const Json& heads = page.seen["results"]["heads"];
  CHECK(std::find(heads.begin(), heads.end(), "EMA length") != heads.end());
  const Json& lines = page.seen["main"];
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["name"] == "cm");
  CHECK(lines[2]["name"] == "cm, EMA 0.15");
  REQUIRE(page.seen["over"].is_array());
  CHECK(page.seen["over"][0]["points"].size() == 2);
}
