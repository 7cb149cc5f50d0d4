/// Folders of runs and sweeps as the program leaves them, without any training.
#pragma once

#include <limits>

#include "io/files.h"
#include "io/json.h"
#include "report/report.h"
#include "support/csv_table.h"
#include "support/support.h"
#include "sweep/gather.h"

namespace retort::test {

/// What a metric gave that gave no number: null in a file.
inline const double no_number = std::numeric_limits<double>::quiet_NaN();

/// A row as an evaluation makes it.
inline Json row_of(const std::string& cell, const Json& swept, int64_t train_steps, int64_t student_steps,
                   const Json& metrics) {
  Json row = {{"cell", cell}, {"loss", "cm"}};
  if (!swept.empty()) {
    row["swept"] = swept;
  }
  row["student_steps"] = student_steps;
  row["train_steps"] = train_steps;
  row["teacher_evaluations"] = train_steps * 64;
  row["remembered_evaluations"] = 0;
  row["train_seconds"] = 0.01 * static_cast<double>(train_steps);
  row["metrics"] = metrics;
  row["series"] = Json::object();
  return row;
}

/// results.json of one run; the students are the rows of the last point of training.
inline Json results_of_run(const std::string& name, const Json& rows, const Json& report = Json::object()) {
  int64_t last = 0;
  for (const Json& row : rows) {
    last = std::max(last, row["train_steps"].get<int64_t>());
  }
  Json students = Json::array();
  for (const Json& row : rows) {
    if (row["train_steps"] == last) {
      students.push_back(row);
    }
  }
  Json shown = {{"plot", Json::array({"ode_error", "fd"})}, {"columns", Json::array()}, {"compare", ""}};
  shown.update(report);
  return {
      {"name", name},
      {"config",
       {{"run", {{"name", name}, {"seed", 0}}},
        {"evaluate", {{"student_steps", {1, 2}}, {"samples", 500}, {"reference_samples", 1000}, {"reference", "data"}}},
        {"report", shown}}},
      {"versions", {{"retort", "1"}, {"libtorch", "2"}, {"backend", "none"}}},
      {"teacher", {{"evaluations", 3500}, {"metrics", {{"fd", 0.0123456789012345}}}}},
      {"students", students},
      {"progress", rows},
      {"plugins", {{{"kind", "loss"}, {"name", "cm"}, {"sha256", std::string(64, 'a')}}}},
      {"libraries", Json::array()}};
}

/// Writes results.json and the report.
inline void report_on(const std::filesystem::path& folder, const Json& results) {
  make_folder(folder);
  write_text(folder / "results.json", results.dump(1) + "\n");
  write_report(folder);
}

/// A sweep whose cells are put together by `gather`, as at the end of a run.
class Sweep {
 public:
  explicit Sweep(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  /// The folder of a new cell, named by its place.
  std::filesystem::path open(const Json& swept) {
    Cell cell;
    cell.name = "cell" + std::to_string(cells_.size());
    cell.values = from_json(swept, "test");
    cells_.push_back(cell);
    folders_.push_back(folder_ / "cells" / cell.name);
    make_folder(folders_.back());
    return folders_.back();
  }
  /// A cell that is done; metrics[i] are those of the sampler with i + 1 steps.
  std::filesystem::path done(const Json& swept, const std::vector<Json>& metrics) {
    const auto folder = open(swept);
    Json rows = Json::array();
    for (size_t i = 0; i < metrics.size(); ++i) {
      rows.push_back(row_of(cells_.back().name, swept, 100, static_cast<int64_t>(i) + 1, metrics[i]));
    }
    write_text(folder / "results.json", results_of_run("cell", rows).dump(1) + "\n");
    return folder;
  }
  void failed(const Json& swept, const std::string& text) { write_text(open(swept) / "failed.json", text); }
  void put_together(const std::string& name = "a sweep", const Json& report = Json::object()) {
    Json shown = {{"plot", Json::array({"ode_error", "fd"})}, {"columns", Json::array()}, {"compare", ""}};
    shown.update(report);
    gather(cells_, folders_, folder_, {{"name", name}, {"report", shown}}, Json::object());
    write_report(folder_);
  }

 private:
  std::filesystem::path folder_;
  std::vector<Cell> cells_;
  std::vector<std::filesystem::path> folders_;
};

inline std::vector<std::vector<std::string>> read_csv(const std::filesystem::path& path) {
  return csv_fields(read_text(path));
}

}  // namespace retort::test
