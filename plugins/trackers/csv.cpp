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

// Lines of numbers under names. Names have neither commas nor quotes.
struct Columns {
  std::vector<std::string> names = {"step"};
  std::vector<std::map<std::string, std::string>> lines;

  static std::vector<std::string> split(const std::string& line) {
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

  static std::string plain(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == ',' || c == '"' || c == '\n'; }, '_');
    return name;
  }

  static std::string spell(double value) { return std::isfinite(value) ? Value{value, {}}.text() : ""; }
  static std::string spell(int64_t value) { return std::to_string(value); }

  /// Whether there were new names.
  bool add(int64_t step, const Scalars& scalars) {
    const size_t before = names.size();
    std::map<std::string, std::string>& line = lines.emplace_back();
    line["step"] = std::to_string(step);
    for (const Scalar& s : scalars) {
      const std::string name = plain(tag_of(s));
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        names.push_back(name);
      }
      line[name] = std::visit([](auto value) { return spell(value); }, s.value);
    }
    return names.size() > before;
  }

  std::string header() const {
    std::string out;
    for (const std::string& name : names) {
      out += (out.empty() ? "" : ",") + name;
    }
    return out + "\n";
  }
  std::string text(const std::map<std::string, std::string>& line) const {
    std::string out;
    for (size_t i = 0; i < names.size(); ++i) {
      const auto found = line.find(names[i]);
      out += (i == 0 ? "" : ",") + (found == line.end() ? "" : found->second);
    }
    return out + "\n";
  }
  std::string text() const {
    std::string out = header();
    for (const auto& line : lines) {
      out += text(line);
    }
    return out;
  }
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
    std::string line;
    if (from_step > 0 && std::getline(in, line)) {
      columns_.names = Columns::split(line);
      while (std::getline(in, line)) {
        keep(line, from_step);
      }
    }
    replace_file(file_, columns_.text());
  }

  void log(int64_t step, const Scalars& scalars) override {
    if (columns_.add(step, scalars)) {
      replace_file(file_, columns_.text());
    } else {
      append_to_file(file_, columns_.text(columns_.lines.back()));
    }
  }

  void end(const std::vector<Measured>& measured) override {
    Columns columns;
    for (const Measured& m : measured) {
      columns.add(m.step, m.scalars);
    }
    replace_file(measured_, columns.text());
  }

 private:
  // A process that was killed may have left half a line.
  void keep(const std::string& line, int64_t from_step) {
    const std::vector<std::string> cells = Columns::split(line);
    if (cells.size() != columns_.names.size() || cells[0].empty() ||
        cells[0].find_first_not_of("0123456789") != std::string::npos || std::stoll(cells[0]) > from_step) {
      return;
    }
    std::map<std::string, std::string>& kept = columns_.lines.emplace_back();
    for (size_t i = 0; i < cells.size(); ++i) {
      kept[columns_.names[i]] = cells[i];
    }
  }

  std::string name_;
  std::filesystem::path file_, measured_;
  Columns columns_;
};

RETORT_PLUGIN(Csv, tracker, csv)
