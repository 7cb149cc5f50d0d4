// Seeds that gave no number, and more rows than anybody looks at.
#include <numeric>

#include "io/png.h"
#include "report/browser.h"
#include "report/run.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("seeds without a number are counted beside the mean, in the page and in the terminal") {
  Folder folder;
  Sweep sweep(folder.string());
  const auto add = [&](const char* loss, int64_t seed, const Json& metrics) {
    sweep.done({{"loss.type", loss}, {"run.seed", seed}}, {metrics});
  };
  for (int64_t seed = 0; seed < 6; ++seed) {
    const double v = static_cast<double>(seed);
    // fd: one of six; recall: none; late: the first row alone lacks it; ode_error: all
    Json metrics = {{"fd", seed == 3 ? 7.25 : no_number}, {"recall", no_number}, {"ode_error", 1 + v}};
    if (seed > 0) {
      metrics["late"] = v;
    }
    add("cm", seed, metrics);
    add("direct_cm", seed, {{"fd", 2 + v}, {"recall", 0.5}, {"ode_error", 10 + 2 * v}, {"late", v}});
  }
  sweep.put_together();
  const Json results = Json::parse(read_text(folder / "results.json"));
  const Json& means = results["statistics"]["groups"][0]["metrics"];
  CHECK(means["fd"] == Json::parse(R"({"n": 1, "of": 6, "mean": 7.25})"));
  CHECK(means["recall"] == Json::parse(R"({"n": 0, "of": 6, "mean": null})"));
  CHECK(means["late"]["n"] == 5);
  CHECK(means["late"]["of"] == 6);
  CHECK(means["ode_error"]["n"] == 6);
  const Json& differences = results["statistics"]["differences"][0]["metrics"];
  CHECK(differences["fd"]["n"] == 1);
  CHECK(differences["fd"]["of"] == 6);
  CHECK(differences["fd"]["verdict"] == 0);
  CHECK(differences["recall"]["n"] == 0);
  CHECK(differences["recall"]["verdict"] == 0);
  CHECK(differences["ode_error"]["verdict"] == 1);
  const std::string table = terminal_table(folder.string());
  CHECK(contains(table, "7.2500 (1 of 6)"));
  CHECK(contains(table, "- (0 of 6)"));
  CHECK(contains(table, "(5 of 6)"));
  if (no_browser()) {
    return;
  }
  const Page page = open_page(folder.string());
  check_sound(page);
  const Json& shown = page.seen["results"];
  REQUIRE(shown["lines"].size() == 3);
  const auto field = [&](size_t line, const char* head) -> const Json& {
    const auto& heads = shown["heads"];
    const auto found = std::find(heads.begin(), heads.end(), head);
    REQUIRE(found != heads.end());
    return shown["lines"][line][static_cast<size_t>(found - heads.begin())];
  };
  CHECK(field(1, "fd")["text"] == "7.25001 of 6");
  CHECK(field(1, "fd")["value"] == "7.25");
  CHECK(field(1, "recall")["text"] == "NaN0 of 6");
  CHECK(field(1, "late")["n"] == "5");
  CHECK(field(1, "late")["of"] == "6");
  CHECK(field(1, "ode error")["n"] == "6");
  CHECK(std::stod(field(1, "ode error")["low"].get<std::string>()) == means["ode_error"]["low"].get<double>());
  CHECK(std::stod(field(1, "ode error")["high"].get<std::string>()) == means["ode_error"]["high"].get<double>());
  CHECK(field(2, "fd")["text"].get<std::string>().find("of") == std::string::npos);
  REQUIRE(page.seen["differences"]["lines"].size() == 1);
  CHECK(page.seen["differences"]["lines"][0][1]["of"] == "6");
  // Every cell, as results.csv has them.
  const Page each = open_page(folder.string(),
                              "const s = document.querySelector('#tableControls select'); s.selectedIndex = 1; "
                              "s.dispatchEvent(new Event('change'));");
  check_sound(each);
  const auto csv = read_csv(folder / "results.csv");
  const Json& lines = each.seen["results"]["lines"];
  REQUIRE(lines.size() == csv.size());
  for (size_t i = 1; i < csv.size(); ++i) {
    CHECK(lines[i][0]["text"] == csv[i][0]);
    for (size_t c = 0; c < csv[0].size(); ++c) {
      for (size_t h = 0; h < each.seen["results"]["heads"].size(); ++h) {
        if (each.seen["results"]["heads"][h] == csv[0][c]) {  // fd, recall, late
          const std::string value = lines[i][h].value("value", "");
          CHECK((csv[i][c].empty() ? value == "NaN" || value.empty() : std::stod(value) == std::stod(csv[i][c])));
        }
      }
    }
  }
}

TEST_CASE("a sweep's differences, maps and pictures are those of its results") {
  if (no_browser()) {
    return;
  }
  Folder folder;
  Sweep sweep(folder.string());
  const std::string picture = encode_png(at::zeros({1, 8, 8}, at::kByte));
  for (const char* loss : {"cm", "direct_cm"}) {
    for (const double rate : {0.001, 0.002, 0.004}) {
      for (int64_t seed = 0; seed < 5; ++seed) {
        const double v = 100 * rate + 0.125 * static_cast<double>(seed) * (loss[0] == 'c' ? 1.0 : 1.5);
        const auto cell =
            sweep.done({{"loss.type", loss}, {"train.learning_rate", rate}, {"run.seed", seed}},
                       {{{"fd", v}, {"ode_error", 1 + v}}, {{"fd", v + 1}, {"ode_error", loss[0] == 'c' ? 9 : 1}}});
        make_folder(cell / "samples");
        write_text(cell / "samples" / "in_1.png", picture);
        Json results = Json::parse(read_text(cell / "results.json"));
        results["students"][0]["samples"] = "samples/in_1.png";
        write_text(cell / "results.json", results.dump());
      }
    }
  }
  sweep.put_together();
  const Page page = open_page(folder.string());
  check_sound(page);
  const Json results = Json::parse(read_text(folder / "results.json"));
  const Json& differences = results["statistics"]["differences"];
  const Json& table = page.seen["differences"];
  REQUIRE(differences.size() == 6);
  REQUIRE(table["lines"].size() == 6);
  CHECK(table["heads"] == Json::parse(R"(["learning rate", "sampler steps", "seeds", "fd", "ode error"])"));
  for (size_t i = 0; i < 6; ++i) {
    for (const auto& [column, name] : {std::pair(3, "fd"), std::pair(4, "ode_error")}) {
      const Json& field = table["lines"][i][static_cast<size_t>(column)];
      const Json& m = differences[i]["metrics"][name];
      for (const auto& [key, of] : {std::pair("value", "mean"), std::pair("low", "low"), std::pair("high", "high")}) {
        CHECK(std::stod(field[key].get<std::string>()) == m[of].get<double>());
      }
    }
  }
  CHECK(page.seen["maps"] == Json::parse(R"(["ode error: direct_cm less cm", "fd: direct_cm less cm"])"));
  REQUIRE(page.seen["fields"].size() == 12);
  // Across are the learning rates, down the sampler steps; the first map is of ode_error.
  for (size_t i = 0; i < 6; ++i) {
    const Json& metrics = differences[2 * (i % 3) + i / 3]["metrics"];
    for (const auto& [first, name] : {std::pair<size_t, const char*>(0, "ode_error"), {6, "fd"}}) {
      CHECK(std::stod(page.seen["fields"][first + i].get<std::string>()) == metrics[name]["mean"].get<double>());
    }
  }
  // At each rate the losses, best first.
  REQUIRE(page.seen["ranks"].size() == 2);
  REQUIRE(page.seen["ranks"][0].size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(page.seen["ranks"][0][i].get<std::string>().starts_with("cm"));
    CHECK(page.seen["ranks"][1][i].get<std::string>().starts_with("direct_cm"));
  }
  // One seed of each setting; the first picture is not drawn before somebody comes near.
  CHECK(page.seen["captions"].size() == 6);
  CHECK(page.seen["captions"][3] == "direct_cm, learning rate 0.001 · 1 sampler step, after 100 training steps");
  const Page printed = open_page(folder.string(), "window.dispatchEvent(new Event('beforeprint'));");
  check_sound(printed);
  CHECK(printed.seen["pictures"] == 6);
}

TEST_CASE("ten thousand rows: the page shows some, says how many there are, finds and sorts among all") {
  Folder folder;
  Json rows = Json::array();
  for (int64_t i = 0; i < 313; ++i) {
    for (int64_t point = 1; point <= 8; ++point) {
      for (int64_t steps = 1; steps <= 4; ++steps) {
        const double v = static_cast<double>((i * 7919 + point * 104729 + steps * 1299709) % 99991);
        rows.push_back(row_of("cell" + std::to_string(i), {{"train.learning_rate", static_cast<double>(i + 1) / 1000}},
                              point * 100, steps, {{"fd", v + 0.5}, {"ode_error", 1 / (1 + v)}}));
      }
    }
  }
  REQUIRE(rows.size() == 10016);
  report_on(folder.string(), results_of_run("many", rows));
  double lowest = 1e300;
  for (const Json& row : rows) {
    lowest = std::min(lowest, row["metrics"]["fd"].get<double>());
  }
  if (no_browser()) {
    return;
  }
  const Page page = open_page(folder.string());
  check_sound(page);
  MESSAGE("10,016 rows: ready for clicks after " << page.ready / 1000 << " s");
  CHECK(page.seen["results"]["lines"].size() == 51);
  const Json& pagers = page.seen["pagers"];
  CHECK(std::count(pagers.begin(), pagers.end(), Json("1–50 of 10,016 lines")) == 1);
  CHECK(std::count(pagers.begin(), pagers.end(), Json("1–10 of 313 settings")) == 1);
  CHECK(page.seen["main"].size() == 10);
  const auto fd = [](const Json& line) { return std::stod(line[3].value("value", "nan")); };
  const Page sorted = open_page(folder.string(), "document.querySelectorAll('#table th button')[3].click();");
  check_sound(sorted);
  REQUIRE(sorted.seen["results"]["heads"][3] == "fd");
  CHECK(sorted.seen["sorted"][3] == "ascending");
  CHECK(fd(sorted.seen["results"]["lines"][1]) == lowest);
  for (size_t i = 2; i < 51; ++i) {
    CHECK(fd(sorted.seen["results"]["lines"][i]) >= fd(sorted.seen["results"]["lines"][i - 1]));
  }
  // Found, then all of what was found.
  const Page found =
      open_page(folder.string(),
                "const input = document.querySelector('#tableControls input'); input.value = 'RATE 0.01'; "
                "input.dispatchEvent(new Event('input')); "
                "[...document.querySelectorAll('#tableControls button')].at(-1).click();");
  check_sound(found);
  CHECK(found.seen["results"]["lines"].size() == 1 + 32 * 10);  // 0.01 and 0.011 … 0.019
  // The next lines of the table and of the plot.
  const Page next = open_page(folder.string(),
                              "for (const b of document.querySelectorAll('.pager button')) "
                              "if (b.textContent === '›') b.click();");
  check_sound(next);
  CHECK(fd(next.seen["results"]["lines"][1]) == rows[50]["metrics"]["fd"].get<double>());
  CHECK(next.seen["main"][0]["name"] == "learning rate 0.011");
}

TEST_CASE("ten thousand cells of several seeds, compared: statistics of all of them") {
  Folder folder;
  Json rows = Json::array(), cells = Json::array();
  for (int64_t i = 0; i < 250; ++i) {
    for (const char* loss : {"cm", "direct_cm"}) {
      for (int64_t seed = 0; seed < 20; ++seed) {
        const Json swept = {
            {"loss.type", loss}, {"train.learning_rate", static_cast<double>(i + 1) / 1000}, {"run.seed", seed}};
        const double v =
            static_cast<double>(seed) + (loss[0] == 'd' ? 1.0 + 0.01 * static_cast<double>((seed * 7) % 5) : 0.0);
        cells.push_back({{"name", "c"}, {"status", "done"}, {"values", swept}});
        rows.push_back(row_of("c" + std::to_string(cells.size()), swept, 100, 1, {{"fd", v}}));
      }
    }
  }
  Json results = results_of_run("many seeds", rows);
  results["statistics"] = statistics_of(rows_from(rows), "loss.type", cells);
  REQUIRE(results["statistics"]["groups"].size() == 500);
  REQUIRE(results["statistics"]["differences"].size() == 250);
  for (const Json& d : results["statistics"]["differences"]) {
    CHECK(d["metrics"]["fd"]["n"] == 20);
    CHECK(d["metrics"]["fd"]["verdict"] == 1);
  }
  // Of 250 compared values, each with the first.
  CHECK(statistics_of(rows_from(rows), "train.learning_rate", cells)["differences"].size() == 2 * 249);
  report_on(folder.string(), results);
  if (no_browser()) {
    return;
  }
  const Page page = open_page(folder.string());
  check_sound(page);
  MESSAGE("10,000 cells: ready for clicks after " << page.ready / 1000 << " s");
  CHECK(contains(page.seen["subtitle"], "20 seeds"));
  CHECK(page.seen["differences"]["lines"].size() == 50);
  const Page each = open_page(folder.string(),
                              "const s = document.querySelector('#tableControls select'); s.selectedIndex = 1; "
                              "s.dispatchEvent(new Event('change')); "
                              "[...document.querySelectorAll('#tableControls button')].at(-1).click();");
  check_sound(each);
  CHECK(each.seen["results"]["lines"].size() == 10001);
}
