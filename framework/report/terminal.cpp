#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "report/report.h"
#include "report/results.h"

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

std::string seconds_of(double seconds) { return std::to_string(static_cast<int64_t>(std::lround(seconds))); }

std::string steps_of(const Json& row) {
  const int64_t steps = integer_at(row, "student_steps");
  return steps > 0 ? std::to_string(steps) : "-";
}

std::vector<std::string> teacher_line(const Json& results, const std::vector<std::string>& columns) {
  const Json& teacher = results["teacher"];
  std::vector<std::string> line = {"teacher", "-", "-"};
  for (const std::string& column : columns) {
    line.push_back(measured(teacher["metrics"], column));
  }
  line.push_back(std::to_string(integer_at(teacher, "evaluations")));
  line.emplace_back("-");
  return line;
}

// A line for each row.
void add_rows(const Json& results, const std::vector<std::string>& columns, Lines& lines) {
  for (const Json& row : results["progress"]) {
    const std::string cell = text_at(row, "cell");
    std::vector<std::string> line = {printable(cell.empty() ? text_at(row, "loss") : cell),
                                     std::to_string(integer_at(row, "train_steps")), steps_of(row)};
    for (const std::string& column : columns) {
      line.push_back(measured(row["metrics"], column));
    }
    line.push_back(std::to_string(integer_at(row, "teacher_evaluations")));
    line.push_back(seconds_of(number_at(row, "train_seconds")));
    lines.push_back(line);
  }
}

std::string label(const Json& setting) {
  std::string out;
  for (const auto& [key, value] : setting.items()) {
    if (key != "train_steps" && key != "student_steps" && key != "guidance") {
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
void add_means(const Json& groups, const std::vector<std::string>& columns, Lines& lines) {
  for (const Json& group : groups) {
    const Json& setting = json_at(group, "setting");
    std::vector<std::string> line = {label(setting), std::to_string(integer_at(setting, "train_steps")),
                                     steps_of(setting)};
    for (const std::string& column : columns) {
      const Json& m = json_at(json_at(group, "metrics"), column);
      line.push_back(m.is_object() ? mean_of(m) : "-");
    }
    line.push_back(std::to_string(std::llround(number_at(group, "teacher_evaluations"))));
    line.push_back(seconds_of(number_at(group, "train_seconds")));
    lines.push_back(line);
  }
}

}  // namespace

std::string terminal_table(const std::filesystem::path& folder) {
  const Json results = read_results(folder);
  const Columns chosen = columns_of(results);
  const std::vector<std::string>& columns = chosen.shown;
  Lines lines = {{"model", "trained", "steps"}};
  lines[0].insert(lines[0].end(), columns.begin(), columns.end());
  lines[0].insert(lines[0].end(), {"teacher evals", "seconds"});
  if (!results["teacher"]["metrics"].empty()) {
    lines.push_back(teacher_line(results, columns));
  }
  const Json& groups = json_at(json_at(results, "statistics"), "groups");
  const bool seeds = of_seeds(groups);
  if (seeds) {
    add_means(groups, columns, lines);
  } else {
    add_rows(results, columns, lines);
  }
  std::string out = align(lines) + (seeds ? "means over seeds ± half of their 95 % bootstrap intervals\n" : "");
  for (size_t i = 0; i < chosen.missing.size(); ++i) {
    out += (i == 0 ? "named in [report], but not measured: " : ", ") + printable(chosen.missing[i]);
  }
  return out + (chosen.missing.empty() ? "" : "\n");
}

}  // namespace retort
