#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "report/report.h"
#include "report/results.h"
#include "results/schema.h"

namespace retort {

namespace {

using Lines = std::vector<std::vector<std::string>>;

// Characters, not bytes.
size_t length(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// A name must neither break a line nor command the terminal.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      c = '?';
    }
  }
  return text;
}

std::string number(const Json& value) {
  if (!value.is_number()) {
    return "-";
  }
  const double v = value.get<double>();
  char buffer[40];
  const double size = std::fabs(v);
  const bool beyond = size >= 1e15;  // a row of digits, none of them known
  std::snprintf(buffer, sizeof buffer, beyond || (size != 0 && size < 0.001) ? "%.2e" : size < 10 ? "%.4f" : "%.1f", v);
  return buffer;
}

// What was measured but gave no number is told from what was not measured.
std::string measured(const Json& metrics, const std::string& name) {
  const auto found = metrics.find(name);
  return found == metrics.end() ? "-" : found->is_null() ? "nan" : number(*found);
}
std::string measured(const Row& row, const std::string& name) {
  const double* value = metric_of(row, name);
  return value == nullptr ? "-" : std::isfinite(*value) ? number(*value) : "nan";
}

// A head, a rule and lines, in columns; the first one to the left.
std::string align(const Lines& lines) {
  std::vector<size_t> widths(lines[0].size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], length(line[i]));
    }
  }
  std::stringstream out;
  for (size_t l = 0; l < lines.size(); ++l) {
    for (size_t i = 0; i < lines[l].size(); ++i) {
      const std::string pad(widths[i] - length(lines[l][i]), ' ');
      out << (i == 0 ? lines[l][i] + pad : "  " + pad + lines[l][i]);
    }
    out << '\n';
    if (l == 0) {
      size_t total = 2 * (widths.size() - 1);
      for (const size_t w : widths) {
        total += w;
      }
      out << std::string(total, '-') << '\n';
    }
  }
  return out.str();
}

// A line's last columns: what `of` has cost, rounded.
void add_costs(const Json& of, std::vector<std::string>& line) {
  for (const Column* cost : cost_columns()) {
    line.push_back(std::to_string(integer_at(of, cost->key)));
  }
}

std::string steps_of(int64_t steps) { return steps > 0 ? std::to_string(steps) : "-"; }

std::vector<std::string> teacher_line(const Json& teacher, const std::vector<std::string>& metrics) {
  std::vector<std::string> line = {"teacher", "-", "-"};
  for (const std::string& metric : metrics) {
    line.push_back(measured(teacher["metrics"], metric));
  }
  for (const Column* cost : cost_columns()) {
    line.push_back(cost == &columns::teacher_evaluations ? std::to_string(integer_at(teacher, "evaluations")) : "-");
  }
  return line;
}

// What is said beside a model's name, where it is an average that was made after the training.
std::string average_of(std::optional<double> length) {
  return length ? std::string(", ") + columns::ema_length.terminal + " " + Value{*length, {}}.text() : "";
}

// A line for each row.
void add_rows(const std::vector<Row>& rows, const std::vector<std::string>& metrics, Lines& lines) {
  for (const Row& row : rows) {
    std::vector<std::string> line = {printable(row.cell.empty() ? row.loss : row.cell) + average_of(row.ema_length),
                                     std::to_string(row.train_steps.value_or(row.optimizer_steps.value_or(0))),
                                     steps_of(row.student_steps.value_or(0))};
    for (const std::string& metric : metrics) {
      line.push_back(measured(row, metric));
    }
    add_costs(to_json(row, cost_columns()), line);
    lines.push_back(line);
  }
}

std::string label(const Json& setting) {
  std::string out;
  for (const auto& [key, value] : setting.items()) {
    if (!is_setting(key)) {
      out += (out.empty() ? "" : " ") +
             (value.is_string() ? value.get<std::string>() : key.substr(key.rfind('.') + 1) + "=" + spell(value));
    }
  }
  return printable(out);
}

// Whether there are several seeds, or were to be.
bool of_seeds(const Json& groups) {
  return std::any_of(groups.begin(), groups.end(), [](const Json& group) {
    const Json& metrics = json_at(group, "metrics");
    return std::any_of(metrics.begin(), metrics.end(),
                       [](const Json& m) { return std::max(integer_at(m, "of"), integer_at(m, "n")) > 1; });
  });
}

std::string mean_of(const Json& m) {
  std::string out = number(json_at(m, "mean"));
  if (json_at(m, "low").is_number()) {
    out += " ± " + number((number_at(m, "high") - number_at(m, "low")) / 2);
  }
  if (const int64_t n = integer_at(m, "n"), of = integer_at(m, "of"); of > n) {
    out += " (" + std::to_string(n) + " of " + std::to_string(of) + ")";
  }
  return out;
}

// A line for each setting: the mean over seeds, and half the width of its interval.
void add_means(const Json& groups, const std::vector<std::string>& metrics, Lines& lines) {
  for (const Json& group : groups) {
    const Json& setting = json_at(group, "setting");
    const bool planned = json_at(setting, columns::train_steps.key).is_number();
    const Json& length = json_at(setting, columns::ema_length.key);
    std::vector<std::string> line = {
        label(setting) + average_of(length.is_number() ? std::optional(length.get<double>()) : std::nullopt),
        planned ? std::to_string(integer_at(setting, columns::train_steps.key)) : "-",
        steps_of(integer_at(setting, columns::student_steps.key))};
    for (const std::string& metric : metrics) {
      const Json& m = json_at(json_at(group, columns::metrics.key), metric);
      line.push_back(m.is_object() ? mean_of(m) : "-");
    }
    add_costs(group, line);
    lines.push_back(line);
  }
}

}  // namespace

std::string terminal_table(const std::filesystem::path& folder) {
  const Results results = read_results(folder);
  const ShownMetrics chosen = shown_metrics(results);
  const std::vector<std::string>& metrics = chosen.shown;
  Lines lines = {{"model", columns::train_steps.terminal, columns::student_steps.terminal}};
  lines[0].insert(lines[0].end(), metrics.begin(), metrics.end());
  for (const Column* cost : cost_columns()) {
    lines[0].emplace_back(cost->terminal);
  }
  if (const Json& teacher = results.json["teacher"]; !teacher["metrics"].empty()) {
    lines.push_back(teacher_line(teacher, metrics));
  }
  const Json& groups = json_at(json_at(results.json, "statistics"), "groups");
  const bool seeds = of_seeds(groups);
  if (seeds) {
    add_means(groups, metrics, lines);
  } else {
    add_rows(results.progress, metrics, lines);
  }
  std::string out = align(lines) + (seeds ? "means over seeds ± half of their 95 % bootstrap intervals\n" : "");
  for (size_t i = 0; i < chosen.missing.size(); ++i) {
    out += (i == 0 ? "named in [report], but not measured: " : ", ") + printable(chosen.missing[i]);
  }
  return out + (chosen.missing.empty() ? "" : "\n");
}

}  // namespace retort
