// What a report shows of results that are not as one would wish, seen by a browser.
#include "report/browser.h"
#include "report/run.h"

using namespace retort;
using namespace retort::test;

namespace {

size_t column(const Json& table, const std::string& head) {
  const auto& heads = table["heads"];
  const auto found = std::find(heads.begin(), heads.end(), head);
  REQUIRE_MESSAGE(found != heads.end(), "no column '", head, "' in ", heads.dump());
  return static_cast<size_t>(found - heads.begin());
}

bool has_column(const Json& table, const std::string& head) {
  const auto& heads = table["heads"];
  return std::find(heads.begin(), heads.end(), head) != heads.end();
}

bool has_section(const Page& page, const std::string& id) {
  const auto& all = page.seen["sections"];
  return std::find(all.begin(), all.end(), id) != all.end();
}

// The lines below the teacher's.
Json lines_of(const Json& table) {
  Json out = Json::array();
  for (const Json& line : table["lines"]) {
    if (line[0]["text"] != "teacher") {
      out.push_back(line);
    }
  }
  return out;
}

// Whether a field shows a metric's value to the bit, or says that there is none.
void check_value(const Json& field, const Json& metrics, const std::string& name) {
  CAPTURE(name);
  CAPTURE(field.dump());
  if (!metrics.contains(name)) {
    CHECK(field["text"] == "–");
    CHECK(!field.contains("value"));
  } else if (!metrics[name].is_number() || std::isnan(metrics[name].get<double>())) {
    CHECK(field["value"] == "NaN");
  } else {
    CHECK(std::strtod(field["value"].get<std::string>().c_str(), nullptr) == metrics[name].get<double>());
    CHECK(field["title"].get<std::string>().starts_with(field["value"].get<std::string>()));
  }
}

void check_rows(const Page& page, const Json& rows, const std::vector<std::string>& metrics) {
  const Json& table = page.seen["results"];
  const Json lines = lines_of(table);
  REQUIRE(lines.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    for (const std::string& name : metrics) {
      std::string head = name;
      std::replace(head.begin(), head.end(), '_', ' ');
      check_value(lines[i][column(table, head)], rows[i]["metrics"], name);
    }
    CHECK(lines[i][column(table, "trained steps")]["value"] == rows[i]["train_steps"].dump());
    CHECK(lines[i][column(table, "teacher evaluations")]["value"] == rows[i]["teacher_evaluations"].dump());
    CHECK(std::stod(lines[i][column(table, "seconds")]["value"].get<std::string>()) ==
          rows[i]["train_seconds"].get<double>());
  }
}

// One run's page, looked at.
Page page_of(const Json& results, const std::string& act = "") {
  Folder folder;
  report_on(folder.string(), results);
  const Page page = open_page(folder.string(), act);
  check_sound(page);
  return page;
}

}  // namespace

TEST_CASE("a page without any metric shows that a run was, and its training") {
  if (no_browser()) {
    return;
  }
  Json results =
      results_of_run("bare", {row_of("", {}, 50, 1, Json::object()), row_of("", {}, 100, 1, Json::object())});
  results["teacher"] = Json::object();
  Folder folder;
  write_text(folder / "metrics.jsonl",
             "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null}\nno json\n{\"step\":3,\"loss\":0.5}\n");
  report_on(folder.string(), results);
  const Page page = open_page(folder.string());
  check_sound(page);
  check_rows(page, results["progress"], {});
  CHECK(!has_section(page, "plots"));
  CHECK(!has_section(page, "samples"));
  CHECK(!has_section(page, "differences"));
  CHECK(page.seen["loss"] == Json::parse(R"([{"name": "cm", "points": [[1, 2.5], [3, 0.5]]}])"));
}

TEST_CASE("a page of hardly anything: no rows, no settings, rows of other kinds") {
  if (no_browser()) {
    return;
  }
  const Page nothing = page_of({{"students", Json::array()}, {"teacher", Json::object()}});
  CHECK(nothing.seen["heading"] == "Retort");
  CHECK(lines_of(nothing.seen["results"]).empty());
  CHECK(contains(nothing.seen["note"], "There are no results yet."));
  const Page odd = page_of(Json::parse(R"({"students": [1, null, {"metrics": 5, "samples": 7, "series": 3}], "name": 12,
    "progress": [[], {"metrics": {"fd": "low", "list": [1]}, "train_steps": null, "swept": 3}], "teacher": {"metrics": []},
    "config": {"report": {"plot": "fd", "columns": [3]}, "evaluate": 4, "run": null}, "cells": "none", "plugins": {"a": 1},
    "statistics": {"groups": 5}})"));
  CHECK(lines_of(odd.seen["results"]).size() == 1);
}

TEST_CASE("one row with one metric is shown to the bit, and plotted over what it cost") {
  if (no_browser()) {
    return;
  }
  const Json results = results_of_run("one", Json::array({row_of("", {}, 100, 1, {{"fd", 0.1 + 0.2}})}));
  const Page page = page_of(results);
  check_rows(page, results["progress"], {"fd"});
  CHECK(page.seen["main"] == Json::parse("[{\"name\": \"cm\", \"points\": [[6400, 0.30000000000000004]]}]"));
  const Json& table = page.seen["results"];
  REQUIRE(table["lines"].size() == 2);
  CHECK(std::stod(table["lines"][0][column(table, "fd")]["value"].get<std::string>()) == 0.0123456789012345);
}

TEST_CASE("what the report's settings name but nobody measured is left out and told of") {
  if (no_browser()) {
    return;
  }
  const Json rows = {row_of("", {}, 50, 1, {{"ode_error", 1.5}, {"fd", 2.5}}),
                     row_of("", {}, 100, 1, {{"ode_error", 1.25}, {"fd", 2.25}})};
  const Page page = page_of(results_of_run("plots", rows, {{"plot", {"ode_error", "sliced_wasserstein"}}}));
  check_rows(page, rows, {"ode_error", "fd"});
  CHECK(contains(page.seen["note"], "not measured: sliced_wasserstein."));
  CHECK(page.seen["main"] == Json::parse("[{\"name\": \"cm\", \"points\": [[1.5, 2.5], [1.25, 2.25]]}]"));
  const Page columns =
      page_of(results_of_run("columns", rows, {{"columns", {"kid", "fd"}}, {"plot", {"kid", "recall"}}}));
  check_rows(columns, rows, {"fd"});
  CHECK(!has_column(columns.seen["results"], "kid"));
  CHECK(!has_column(columns.seen["results"], "ode error"));
  CHECK(contains(columns.seen["note"], "not measured: kid, recall."));
  const Page none = page_of(results_of_run("all of them", rows, {{"columns", Json::array({"kid"})}}));
  check_rows(none, rows, {"ode_error", "fd"});
}

TEST_CASE("metrics that are no number, or were measured of some rows only, stand beside the others") {
  if (no_browser()) {
    return;
  }
  Json rows = {row_of("", {}, 25, 1, {{"fd", no_number}, {"huge", 1e300}}),
               row_of("", {}, 50, 1, {{"fd", 2.5}, {"ode_error", no_number}, {"tiny", 4.9e-324}}),
               row_of("", {}, 75, 1, {{"ode_error", 1.5}, {"only_nan", no_number}, {"zero", -0.0}}),
               row_of("", {}, 100, 1, {{"fd", -3.5}, {"ode_error", 1.25}})};
  Json results = results_of_run("some", rows);
  results["teacher"]["metrics"]["only_nan"] = no_number;
  for (Json& row : results["students"]) {
    row["series"] = {{"by_noise", {{0.1, 2.0}, {no_number, 3.0}, {1.0, no_number}, {2.0, 4.0}}},
                     {"empty", Json::array()}};
  }
  const Page page = page_of(results);
  check_rows(page, rows, {"fd", "ode_error", "huge", "tiny", "only_nan", "zero"});
  CHECK(page.seen["main"] == Json::parse("[{\"name\": \"cm\", \"points\": [[1.25, -3.5]]}]"));
  CHECK(page.seen["noise"] == Json::parse("[{\"name\": \"cm\", \"points\": [[0.1, 2.0], [2.0, 4.0]]}]"));
}

TEST_CASE("a classifier's page has no sampler steps and no teacher") {
  if (no_browser()) {
    return;
  }
  const Json rows = {row_of("", {}, 50, 0, {{"accuracy", 0.75}}), row_of("", {}, 100, 0, {{"accuracy", 0.875}})};
  Json results = results_of_run("classifier", rows);
  results["teacher"] = {{"evaluations", 0}, {"metrics", Json::object()}};
  const Page page = page_of(results);
  check_rows(page, rows, {"accuracy"});
  CHECK(!has_column(page.seen["results"], "sampler steps"));
  CHECK(page.seen["results"]["lines"].size() == 2);
  CHECK(page.seen["over"] == Json::parse("[{\"name\": \"cm\", \"points\": [[50, 0.75], [100, 0.875]]}]"));
}

TEST_CASE("settings whose values look alike when rounded, or are measured at several guidance weights, stay apart") {
  if (no_browser()) {
    return;
  }
  Json rows = Json::array();
  for (const double rate : {0.000123, 0.0001234}) {
    for (const double weight : {1.0, 2.5}) {
      Json row = row_of(rate < 0.0001231 ? "a" : "b", {{"train.learning_rate", rate}}, 100, 1,
                        {{"fd", weight * rate}, {"ode_error", weight}});
      row["guidance"] = weight;
      rows.push_back(row);
    }
  }
  const Page page = page_of(results_of_run("alike", rows));
  check_rows(page, rows, {"fd", "ode_error"});
  const Json& lines = page.seen["main"];
  REQUIRE(lines.size() == 4);
  CHECK(lines[0]["name"] == "learning rate 0.000123, guidance 1");
  CHECK(lines[3]["name"] == "learning rate 0.0001234, guidance 2.5");
}

TEST_CASE("samples are shown a screen at a time, those that are missing are not") {
  if (no_browser()) {
    return;
  }
  Folder folder;
  Json rows = Json::array();
  make_folder(folder / "samples");
  for (int i = 0; i < 40; ++i) {
    Json row = row_of("", {}, 100, i + 1, {{"fd", i + 0.5}});
    const std::string file = "samples/" + std::to_string(i) + ".csv";
    row["samples"] = i == 1 ? "../../outside.csv" : i == 3 ? "samples/gone.csv" : file;
    if (i != 3) {
      write_text(folder / file, i == 2 ? "x\n" : "0.5,-0.25\n1e-3,nan\n-1.5,2\n");
    }
    rows.push_back(row);
  }
  write_text(folder / "samples" / "data.csv", "0.5,0.5\n");
  write_text(folder / "samples" / "teacher.csv", "");
  report_on(folder.string(), results_of_run("samples", rows));
  const Page page = open_page(folder.string());
  check_sound(page);
  CHECK(page.seen["captions"].size() == 24);
  CHECK(page.seen["captions"][0] == "data · test split");
  CHECK(page.seen["more"] == Json::array({"Show more: 24 of 38 are shown"}));  // 37 of the students, and data
  const Page more = open_page(folder.string(), "document.querySelector('.more').click();");
  check_sound(more);
  CHECK(more.seen["captions"].size() == 38);
  CHECK(more.seen["more"].empty());
}
