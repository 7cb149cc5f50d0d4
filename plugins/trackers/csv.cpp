/// A table of a training's numbers: a line for each step that is logged, a column for each number.
///
/// The file stands in the folder of the training. Columns of a group are called "group/name". Where a number comes up
/// later, its column is added, and is empty above. What is not finite is empty. What was measured at the end goes to a
/// second file, with "measured_" before its name.
///
///     [track]
///     trackers = ["csv"]
///
///     [tracker.csv]
///     file = "metrics.csv"
#include <retort/plugin.h>
#include <retort/tracker.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "../shared/tracked_file.h"

using namespace retort;

namespace {

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> out(1);
  for (const char c : line) {
    if (c == ',') {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

// The names of a table's columns, which have neither commas nor quotes.
class Columns {
 public:
  Columns() = default;
  explicit Columns(const std::string& header) : names_(split(header)) {}

  /// How many names were new.
  size_t add(const Scalars& scalars) {
    const size_t before = names_.size();
    for (const Scalar& s : scalars) {
      if (const std::string name = plain(tag_of(s)); std::find(names_.begin(), names_.end(), name) == names_.end()) {
        names_.push_back(name);
      }
    }
    return names_.size() - before;
  }

  size_t size() const { return names_.size(); }
  std::string header() const {
    std::string out;
    for (const std::string& name : names_) {
      out += (out.empty() ? "" : ",") + name;
    }
    return out + "\n";
  }
  std::string line(int64_t step, const Scalars& scalars) const {
    std::map<std::string, std::string> cells = {{names_[0], spell(step)}};
    for (const Scalar& s : scalars) {
      cells[plain(tag_of(s))] = std::visit([](auto value) { return spell(value); }, s.value);
    }
    std::string out;
    for (size_t i = 0; i < names_.size(); ++i) {
      out += (i == 0 ? "" : ",") + cells[names_[i]];
    }
    return out + "\n";
  }

 private:
  static std::string plain(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == ',' || c == '"' || c == '\n'; }, '_');
    return name;
  }
  static std::string spell(double value) { return std::isfinite(value) ? Value{value, {}}.text() : ""; }
  static std::string spell(int64_t value) { return std::to_string(value); }

  std::vector<std::string> names_ = {"step"};
};

}  // namespace

class Csv final : public Tracker {
 public:
  explicit Csv(Params& p) : name_(file_name(p, "metrics.csv", ".csv")) {}

  void begin(const TrackedRun& run, int64_t from_step) override {
    file_ = run.folder / name_;
    measured_ = run.folder / ("measured_" + name_);
    columns_ = {};
    std::ifstream in(file_);
    std::string line, kept;
    if (from_step > 0 && std::getline(in, line)) {
      columns_ = Columns(line);
      while (std::getline(in, line)) {
        kept += stays(line, from_step) ? line + "\n" : "";
      }
    }
    replace_file(file_, columns_.header() + kept);
  }

  void log(int64_t step, const Scalars& scalars) override {
    if (const size_t added = columns_.add(scalars); added > 0) {
      widen(added);
    }
    append_to_file(file_, columns_.line(step, scalars));
  }

  void end(const std::vector<Measured>& measured) override {
    Columns columns;
    for (const Measured& m : measured) {
      columns.add(m.scalars);
    }
    std::string text = columns.header();
    for (const Measured& m : measured) {
      text += columns.line(m.step, m.scalars);
    }
    replace_file(measured_, text);
  }

 private:
  // A process that was killed may have left half a line.
  bool stays(const std::string& line, int64_t from_step) const {
    const std::vector<std::string> cells = split(line);
    return cells.size() == columns_.size() && !cells[0].empty() &&
           cells[0].find_first_not_of("0123456789") == std::string::npos && std::stoll(cells[0]) <= from_step;
  }

  // The lines so far have nothing in the new columns.
  void widen(size_t added) const {
    std::ifstream in(file_);
    std::string text = columns_.header(), line;
    std::getline(in, line);  // the header of before
    while (std::getline(in, line)) {
      text += line + std::string(added, ',') + "\n";
    }
    replace_file(file_, text);
  }

  std::string name_;
  std::filesystem::path file_, measured_;
  Columns columns_;
};

RETORT_PLUGIN(Csv, tracker, csv)
