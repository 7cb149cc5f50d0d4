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

extern "C" {
extern const char retort_page_html[], retort_page_html_end[], retort_chart_js[], retort_chart_js_end[];
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
  page["pictures"] = Json::object();
  page["points"] = Json::object();
  page["losses"] = Json::object();
  if (fs::is_directory(folder / "samples")) {
    std::set<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder / "samples")) {
      files.insert(entry.path());
    }
    for (const fs::path& file : files) {
      if (file.extension() == ".png") {
        page["pictures"][file.stem().string()] = "data:image/png;base64," + base64(read_text(file));
      } else if (file.extension() == ".csv") {
        page["points"][file.stem().string()] = points_of(file);
      }
    }
  }
  std::set<std::string> cells;
  for (const Json& row : results["students"]) {
    cells.insert(row.value("cell", ""));
  }
  for (const std::string& cell : cells) {
    page["losses"][cell] = loss_curve((cell.empty() ? folder : folder / "cells" / cell) / "metrics.jsonl");
  }
  page["columns"] = columns_of(results);
  page["toml"] = fs::exists(folder / "config.toml") ? read_text(folder / "config.toml") : "";
  page["results"] = std::move(results);

  std::string html(retort_page_html, retort_page_html_end);
  replace(html, "{{title}}", escape_html(page["results"].value("name", "Retort")));
  replace(html, "{{chart.js}}", std::string(retort_chart_js, retort_chart_js_end));
  replace(html, "{{data}}", embeddable(page));
  write_text(folder / "report.html", html);
}

std::string terminal_table(const fs::path& folder) {
  const Json results = read_results(folder);
  const std::vector<std::string> columns = columns_of(results);
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> head = {"model", "trained", "steps"};
  head.insert(head.end(), columns.begin(), columns.end());
  head.insert(head.end(), {"teacher evals", "seconds"});
  lines.push_back(head);
  const auto add = [&](std::vector<std::string> line, const Json& metrics, const std::string& evaluations,
                       const std::string& seconds) {
    for (const std::string& column : columns) {
      line.push_back(metrics.contains(column) ? number(metrics[column]) : "-");
    }
    line.push_back(evaluations);
    line.push_back(seconds);
    lines.push_back(line);
  };
  const Json& teacher = results["teacher"];
  if (!teacher["metrics"].empty()) {
    add({"teacher", "-", "-"}, teacher["metrics"], std::to_string(teacher["evaluations"].get<int64_t>()), "-");
  }
  for (const Json& row : results["progress"]) {
    const std::string cell = row.value("cell", "");
    const int64_t steps = row.value("student_steps", 0);
    add({cell.empty() ? row.value("loss", "") : cell, std::to_string(row.value("train_steps", 0)),
         steps > 0 ? std::to_string(steps) : "-"},
        row["metrics"], std::to_string(row.value("teacher_evaluations", int64_t{0})),
        std::to_string(static_cast<int64_t>(std::lround(row.value("train_seconds", 0.0)))));
  }
  std::vector<size_t> widths(head.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  std::stringstream out;
  for (size_t l = 0; l < lines.size(); ++l) {
    for (size_t i = 0; i < lines[l].size(); ++i) {
      const std::string pad(widths[i] - lines[l][i].size(), ' ');
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

}  // namespace retort
