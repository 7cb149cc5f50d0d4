#include "report/report.h"

#include <algorithm>
#include <boost/beast/core/detail/base64.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "retort/error.h"
#include "sweep/gather.h"

extern "C" {
extern const char retort_page_html[], retort_page_html_end[], retort_page_js[], retort_page_js_end[], retort_chart_js[],
    retort_chart_js_end[];
}

namespace retort {

namespace fs = std::filesystem;

namespace {

Json read_results(const fs::path& folder) {
  if (!fs::exists(folder / "results.json")) {
    throw RequestError(folder.string() + ": holds no results.json; expected the folder of a finished run");
  }
  Json results = Json::parse(read_text(folder / "results.json"), nullptr, false);
  if (!results.is_object() || !results.contains("students") || !results.contains("teacher")) {
    throw RequestError((folder / "results.json").string() + ": is damaged; run the configuration again with --fresh");
  }
  return results;
}

std::string base64(const std::string& bytes) {
  namespace b = boost::beast::detail::base64;
  std::string out(b::encoded_size(bytes.size()), '\0');
  out.resize(b::encode(out.data(), bytes.data(), bytes.size()));
  return out;
}

// [[step, loss], …], thinned to a few hundred points.
Json loss_curve(const fs::path& path) {
  std::vector<std::pair<int64_t, double>> points;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json.contains("loss") && json["loss"].is_number()) {
      points.emplace_back(json["step"].get<int64_t>(), json["loss"].get<double>());
    }
  }
  constexpr size_t most = 400;
  const size_t stride = points.size() / most + 1;
  Json out = Json::array();
  for (size_t i = 0; i < points.size(); i += stride) {
    double sum = 0;
    const size_t end = std::min(points.size(), i + stride);
    for (size_t j = i; j < end; ++j) {
      sum += points[j].second;
    }
    out.push_back({points[end - 1].first, sum / static_cast<double>(end - i)});
  }
  return out;
}

Json points_of(const fs::path& csv) {
  constexpr size_t most = 1000;
  Json out = Json::array();
  std::ifstream lines(csv);
  for (std::string line; out.size() < most && std::getline(lines, line);) {
    double x = 0, y = 0;
    if (std::sscanf(line.c_str(), "%lf,%lf", &x, &y) == 2) {
      out.push_back({x, y});
    }
  }
  return out;
}

// For the page: text inside <script> must not end it.
std::string embeddable(const Json& json) {
  std::string text = json.dump();
  for (size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3) {
    text.insert(at + 1, "\\");
  }
  return text;
}

void replace(std::string& text, const std::string& mark, const std::string& with) {
  for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += with.size()) {
    text.replace(at, mark.size(), with);
  }
}

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return out;
}

// The metrics shown: the configuration's choice, or all that were measured, in order.
std::vector<std::string> columns_of(const Json& results) {
  std::vector<std::string> columns;
  const Json report = results["config"].value("report", Json::object());
  if (report.contains("columns") && !report["columns"].empty()) {
    return report["columns"].get<std::vector<std::string>>();
  }
  const auto add = [&](const Json& metrics) {
    for (const auto& [name, value] : metrics.items()) {
      if (std::find(columns.begin(), columns.end(), name) == columns.end()) {
        columns.push_back(name);
      }
    }
  };
  for (const Json& student : results["students"]) {
    add(student["metrics"]);
  }
  add(results["teacher"]["metrics"]);
  return columns;
}

fs::path cell_part(const fs::path& folder, const std::string& cell) {
  return cell.empty() ? folder : folder / "cells" / cell;
}

// Characters, not bytes.
size_t length(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string number(const Json& value) {
  if (!value.is_number()) {
    return "-";
  }
  const double v = value.get<double>();
  char buffer[40];
  const double size = std::fabs(v);
  std::snprintf(buffer, sizeof buffer, size != 0 && size < 0.001 ? "%.2e" : size < 10 ? "%.4f" : "%.1f", v);
  return buffer;
}

}  // namespace

void write_report(const fs::path& folder) {
  Json results = read_results(folder);
  Json page;
  page["statistics"] = results.contains("statistics") ? results["statistics"] : statistics_of(results["progress"], "");
  page["pictures"] = Json::object();
  page["points"] = Json::object();
  page["losses"] = Json::object();
  const auto take = [&](const fs::path& file, const std::string& name) {
    if (file.extension() == ".png" && fs::exists(file)) {
      page["pictures"][name] = "data:image/png;base64," + base64(read_text(file));
    } else if (file.extension() == ".csv" && fs::exists(file)) {
      page["points"][name] = points_of(file);
    }
  };
  // One seed of each setting is shown, or the page would grow beyond what a browser likes.
  std::set<std::string> shown;
  for (const Json& group : page["statistics"]["groups"]) {
    shown.insert(group.value("cell", ""));
  }
  const std::string first = results["students"].empty() ? "" : results["students"][0].value("cell", "");
  for (const char* name : {"data", "teacher"}) {
    for (const char* ending : {".png", ".csv"}) {
      take(cell_part(folder, first) / "samples" / (name + std::string(ending)), name);
    }
  }
  for (const Json& row : results["students"]) {
    const std::string cell = row.value("cell", "");
    if (!shown.contains(cell)) {
      continue;
    }
    if (row.contains("samples")) {
      take(folder / row["samples"].get<std::string>(), row["samples"].get<std::string>());
    }
    if (!page["losses"].contains(cell)) {
      page["losses"][cell] = loss_curve(cell_part(folder, cell) / "metrics.jsonl");
    }
  }
  page["columns"] = columns_of(results);
  page["toml"] = fs::exists(folder / "config.toml") ? read_text(folder / "config.toml") : "";
  results.erase("libraries");  // long, and in results.json
  page["results"] = std::move(results);

  std::string html(retort_page_html, retort_page_html_end);
  replace(html, "{{title}}", escape_html(page["results"].value("name", "Retort")));
  replace(html, "{{page.js}}", std::string(retort_page_js, retort_page_js_end));
  replace(html, "{{chart.js}}", std::string(retort_chart_js, retort_chart_js_end));
  replace(html, "{{data}}", embeddable(page));
  write_text(folder / "report.html", html);
}

namespace {

using Lines = std::vector<std::vector<std::string>>;

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
  const int64_t steps = row.value("student_steps", int64_t{0});
  return steps > 0 ? std::to_string(steps) : "-";
}

std::vector<std::string> teacher_line(const Json& results, const std::vector<std::string>& columns) {
  const Json& teacher = results["teacher"];
  std::vector<std::string> line = {"teacher", "-", "-"};
  for (const std::string& column : columns) {
    line.push_back(teacher["metrics"].contains(column) ? number(teacher["metrics"][column]) : "-");
  }
  line.push_back(std::to_string(teacher["evaluations"].get<int64_t>()));
  line.push_back("-");
  return line;
}

// A line for each row.
void add_rows(const Json& results, const std::vector<std::string>& columns, Lines& lines) {
  for (const Json& row : results["progress"]) {
    const std::string cell = row.value("cell", "");
    std::vector<std::string> line = {cell.empty() ? row.value("loss", "") : cell,
                                     std::to_string(row.value("train_steps", 0)), steps_of(row)};
    for (const std::string& column : columns) {
      line.push_back(row["metrics"].contains(column) ? number(row["metrics"][column]) : "-");
    }
    line.push_back(std::to_string(row.value("teacher_evaluations", int64_t{0})));
    line.push_back(seconds_of(row.value("train_seconds", 0.0)));
    lines.push_back(line);
  }
}

std::string label(const Json& setting) {
  std::string out;
  for (const auto& [key, value] : setting.items()) {
    if (key != "train_steps" && key != "student_steps" && key != "guidance") {
      out += (out.empty() ? "" : " ") +
             (value.is_string() ? value.get<std::string>() : key.substr(key.rfind('.') + 1) + "=" + value.dump());
    }
  }
  return out;
}

// Whether there are several seeds, or were to be.
bool of_seeds(const Json& statistics) {
  const Json groups = statistics.value("groups", Json::array());
  return std::any_of(groups.begin(), groups.end(), [](const Json& group) {
    return std::any_of(group["metrics"].begin(), group["metrics"].end(),
                       [](const Json& m) { return std::max(m.value("of", 0), m.value("n", 0)) > 1; });
  });
}

// A line for each setting: the mean over seeds, and half the width of its interval.
void add_means(const Json& statistics, const std::vector<std::string>& columns, Lines& lines) {
  for (const Json& group : statistics["groups"]) {
    const Json& setting = group["setting"];
    std::vector<std::string> line = {label(setting), std::to_string(setting.value("train_steps", 0)),
                                     steps_of(setting)};
    for (const std::string& column : columns) {
      if (!group["metrics"].contains(column)) {
        line.emplace_back("-");
        continue;
      }
      const Json& m = group["metrics"][column];
      line.push_back(number(m["mean"]));
      if (m.contains("low")) {
        line.back() += " ± " + number((m["high"].get<double>() - m["low"].get<double>()) / 2);
      }
      if (m.value("of", 0) > m.value("n", 0)) {
        line.back() += " (" + std::to_string(m.value("n", 0)) + " of " + std::to_string(m.value("of", 0)) + ")";
      }
    }
    line.push_back(std::to_string(std::llround(group["teacher_evaluations"].get<double>())));
    line.push_back(seconds_of(group["train_seconds"]));
    lines.push_back(line);
  }
}

}  // namespace

std::string terminal_table(const fs::path& folder) {
  const Json results = read_results(folder);
  const std::vector<std::string> columns = columns_of(results);
  Lines lines = {{"model", "trained", "steps"}};
  lines[0].insert(lines[0].end(), columns.begin(), columns.end());
  lines[0].insert(lines[0].end(), {"teacher evals", "seconds"});
  if (!results["teacher"]["metrics"].empty()) {
    lines.push_back(teacher_line(results, columns));
  }
  const Json statistics = results.value("statistics", Json::object());
  const bool seeds = of_seeds(statistics);
  if (seeds) {
    add_means(statistics, columns, lines);
  } else {
    add_rows(results, columns, lines);
  }
  return align(lines) + (seeds ? "means over seeds ± half of their 95 % bootstrap intervals\n" : "");
}

}  // namespace retort
