#include "run/searching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "io/files.h"
#include "io/json_file.h"
#include "retort/error.h"
#include "sweep/judge.h"
#include "sweep/told.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr double none = std::numeric_limits<double>::infinity();

constexpr const char* seconds_name = "seconds.json";
fs::path seconds_path(const Plan& plan, size_t cell) { return plan.folder(cell) / seconds_name; }

double seconds_of(const Plan& plan, size_t cell) {
  const Json kept = read_json(seconds_path(plan, cell));
  return kept.is_object() ? kept.value("seconds", 0.0) : 0;
}

Value without_seed(const Cell& cell) {
  Value out = cell.values;
  out.erase("run.seed");
  return out;
}

}  // namespace

std::optional<Searching> Searching::of(const Plan& plan) {
  if (!plan.is_sweep()) {
    return std::nullopt;
  }
  std::optional<Search> search = search_of(plan.sweep());
  if (!search) {
    return std::nullopt;
  }
  Searching out(plan, std::move(*search));
  if (!out.search_.halves()) {
    return out;
  }
  const auto wrong = [&](const std::string& what) {
    return RequestError(to_string(plan.sweep().find("search")->origin) + ": sweep.search halves, " + what);
  };
  out.points_ = plan[0].points;
  if (out.points_.empty()) {
    throw wrong("and evaluate.at has no step before the last; expected the steps after which draws are stopped");
  }
  for (size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].batches == 0) {
      throw wrong("and " + plan.cells()[i].name + " trains nothing; expected a [loss]");
    }
    if (plan[i].evaluations > 0 || plan[i].seconds > 0) {
      throw wrong("and the training of " + plan.cells()[i].name +
                  " ends by train.evaluations or train.seconds; expected train.steps alone");
    }
    if (plan[i].points != out.points_) {
      throw wrong("and " + plan.cells()[i].name +
                  " is evaluated at other steps than the first cell; expected the same for all");
    }
  }
  return out;
}

bool Searching::is_measured(size_t cell, int64_t point) const {
  const std::vector<Row> rows = CellRun::measured_rows(plan_.folder(cell), plan_[cell].results);
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) { return row.train_steps == point; });
}

double Searching::judged_at(size_t cell, std::optional<int64_t> point) const {
  std::vector<Row> rows = CellRun::measured_rows(plan_.folder(cell), plan_[cell].results);
  if (!point && !rows.empty()) {
    point = rows.back().train_steps;  // the last
  }
  std::erase_if(rows, [&](const Row& row) { return row.train_steps != point; });
  std::optional<int64_t> steps;
  if (search_.student_steps > 0) {
    steps = search_.student_steps;
  }
  return rows.empty() ? none : judged({search_.by, steps, "sweep.search"}, rows);
}

double Searching::number(size_t cell, int64_t point) const { return judged_at(cell, point); }

std::vector<std::vector<size_t>> Searching::draws(const std::vector<size_t>& cells) const {
  std::vector<std::vector<size_t>> out;
  std::map<std::string, size_t> known;
  for (const size_t cell : cells) {
    const auto [it, fresh] = known.try_emplace(without_seed(plan_.cells()[cell]).text(), out.size());
    if (fresh) {
      out.emplace_back();
    }
    out[it->second].push_back(cell);
  }
  return out;
}

double Searching::mean(const std::vector<size_t>& draw, std::optional<int64_t> point) const {
  double sum = 0;
  for (const size_t cell : draw) {
    sum += judged_at(cell, point);
  }
  return sum / static_cast<double>(draw.size());
}

std::string Searching::spell(const std::vector<size_t>& draw, double number) const {
  const Value shown{std::strtod(std::to_string(number).c_str(), nullptr), {}};
  return search_.by + " " + shown.text() +
         (draw.size() > 1 ? " in the mean over " + std::to_string(draw.size()) + " seeds" : "") + ": " +
         without_seed(plan_.cells()[draw[0]]).text();
}

std::pair<std::vector<size_t>, std::string> Searching::chosen(const std::vector<size_t>& cells, int64_t point) const {
  const std::vector<std::vector<size_t>> all = draws(cells);
  std::map<std::string, size_t> seeds;  // of each draw, those that failed included
  for (const std::vector<size_t>& draw : draws(everything())) {
    seeds[without_seed(plan_.cells()[draw[0]]).text()] = draw.size();
  }
  std::vector<double> means;
  for (const std::vector<size_t>& draw : all) {
    const bool whole = draw.size() == seeds.at(without_seed(plan_.cells()[draw[0]]).text());
    means.push_back(whole ? mean(draw, point) : none);
  }
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return means[a] < means[b]; });
  const double share = std::ceil(search_.keep * static_cast<double>(all.size()) - 1e-9);
  order.resize(std::max<size_t>(1, static_cast<size_t>(share)));
  std::vector<size_t> out;
  for (const size_t place : order) {
    out.insert(out.end(), all[place].begin(), all[place].end());
  }
  std::sort(out.begin(), out.end());
  return {out, "after " + std::to_string(point) + " steps " + std::to_string(order.size()) + " of " +
                   std::to_string(all.size()) + " draws train on; the best so far, " +
                   spell(all[order[0]], means[order[0]])};
}

bool Searching::is_untouched(size_t cell) const {
  std::error_code missing;
  return !fs::exists(plan_.folder(cell), missing);
}

bool Searching::is_over() const {
  if (search_.hours == 0) {
    return false;
  }
  double seconds = 0;  // of all that stands there: what is told is a plan of its own
  std::error_code error;
  for (fs::directory_iterator it(plan_.output() / "cells", error), end; !error && it != end; it.increment(error)) {
    const Json kept = read_json(it->path() / seconds_name);
    seconds += kept.is_object() ? kept.value("seconds", 0.0) : 0;
  }
  constexpr double hour = 3600;
  return seconds >= search_.hours * hour;
}

void Searching::add_seconds(size_t cell, double seconds) const {
  if (search_.hours > 0) {
    make_folder(plan_.folder(cell));
    write_text(seconds_path(plan_, cell), retort::spell({{"seconds", seconds_of(plan_, cell) + seconds}}) + "\n");
  }
}

std::vector<size_t> Searching::everything() const {
  std::vector<size_t> out(plan_.size());
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

double Searching::at_end(const std::vector<size_t>& draw) const {
  const bool done = std::all_of(draw.begin(), draw.end(), [&](size_t cell) { return plan_.is_done(cell); });
  return done ? mean(draw, {}) : none;
}

Json Searching::trials(const std::vector<Axis>& axes) const {
  Json out = Json::array();
  for (const std::vector<size_t>& draw : draws(everything())) {
    const double value = at_end(draw);
    out.push_back({{"values", told_values(axes, plan_.cells()[draw[0]].values)},
                   {"value", std::isfinite(value) ? Json(value) : Json()}});
  }
  return out;
}

std::string Searching::best() const {
  if (search_.by.empty()) {
    return "";
  }
  std::string line;
  double smallest = none;
  for (const std::vector<size_t>& draw : draws(everything())) {
    if (const double own = at_end(draw); own < smallest) {
      smallest = own;
      line = "the best by " + spell(draw, own);
    }
  }
  return line;
}

}  // namespace retort
