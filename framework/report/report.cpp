#include "report/report.h"

#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "io/files.h"
#include "report/media.h"
#include "report/results.h"
#include "report/template.h"
#include "results/schema.h"
#include "sweep/gather.h"
#include "track/json_lines.h"

extern "C" {
extern const char retort_page_html[], retort_page_html_end[], retort_page_css[], retort_page_css_end[],
    retort_page_js[], retort_page_js_end[], retort_served_js[], retort_served_js_end[], retort_chart_js[],
    retort_chart_js_end[];
}

namespace retort {

namespace fs = std::filesystem;

namespace {

fs::path cell_part(const fs::path& folder, const std::string& cell) {
  return cell.empty() ? folder : folder / "cells" / cell;
}

// The keys of `from` that are named, where it has them.
Json some_of(const Json& from, std::initializer_list<const char*> keys) {
  Json out = Json::object();
  for (const char* key : keys) {
    if (const Json& value = json_at(from, key); !value.is_null()) {
      out[key] = value;
    }
  }
  return out;
}

// A file of the run, by the path that its results give; none outside of its folder.
fs::path inside(const fs::path& folder, const std::string& name) {
  const fs::path path = fs::path(name).lexically_normal();
  return path.is_absolute() || path.empty() || *path.begin() == ".." ? fs::path() : folder / path;
}

// One seed of each setting is shown, or the page would grow beyond what a browser likes.
std::unordered_set<std::string> shown_cells(const Json& statistics) {
  std::unordered_set<std::string> out;
  for (const Json& group : statistics["groups"]) {
    out.insert(text_at(group, columns::cell.key));
  }
  return out;
}

// Samples of the data, of the teacher and of each student at the end of its training, and what else a student has.
void add_students(const fs::path& folder, const std::vector<Row>& students, Parts& parts, Json& page) {
  const std::unordered_set<std::string> shown = shown_cells(page["statistics"]);
  const auto take = [&](const fs::path& file) {
    if (parts.full()) {
      parts.leave_out();
      return Json();
    }
    const Json samples = samples_in(file);
    return samples.is_null() ? Json() : parts.add(samples);
  };
  const std::string first = students.empty() ? "" : students[0].cell;
  for (const char* name : {"data", "teacher"}) {
    for (const char* ending : {".png", ".csv"}) {
      if (const Json part = take(cell_part(folder, first) / "samples" / (name + std::string(ending)));
          !part.is_null()) {
        page["samples"][name] = part;
      }
    }
  }
  Json list = Json::array();
  for (const Row& row : students) {
    if (!shown.contains(row.cell)) {
      continue;
    }
    Json student = to_json(row, student_columns());
    if (const fs::path file = inside(folder, row.samples.value_or("")); !file.empty()) {
      student[columns::samples.key] = take(file);
    }
    list.push_back(std::move(student));
  }
  page["students"] = std::move(list);
}

void add_losses(const fs::path& folder, const std::vector<Row>& students, Parts& parts, Json& page) {
  constexpr size_t most = 500;  // nobody looks at more
  const std::unordered_set<std::string> shown = shown_cells(page["statistics"]);
  std::unordered_set<std::string> seen;
  Json losses = Json::array();
  int64_t left_out = 0;
  for (const Row& row : students) {
    const std::string& cell = row.cell;
    if (!shown.contains(cell) || !seen.insert(cell).second) {
      continue;
    }
    if (losses.size() == most || parts.full()) {
      left_out += 1;
      continue;
    }
    if (const Json curve = loss_curve(cell_part(folder, cell) / JsonLines::file_name); !curve.empty()) {
      losses.push_back({{"cell", cell}, {"part", parts.add(curve)}});
    }
  }
  page["losses"] = std::move(losses);
  page["losses_left_out"] = left_out;
}

Json page_data(const fs::path& folder, const Results& of_run, Parts& parts) {
  const Json& results = of_run.json;
  Json page = some_of(results, {"name", "versions", "teacher", "plugins"});
  const Json& statistics = json_at(results, "statistics");
  page["statistics"] = json_at(statistics, "groups").is_array() && json_at(statistics, "differences").is_array()
                           ? statistics
                           : statistics_of(of_run.progress, "");
  page["config"] = some_of(results["config"], {"run", "evaluate"});
  page["plot"] = json_at(results["config"]["report"], "plot");
  page["settings"] = described(setting_columns());
  page["costs"] = described(cost_columns());
  const ShownMetrics metrics = shown_metrics(of_run);
  page["columns"] = metrics.shown;
  page["missing"] = metrics.missing;
  Json rows = Json::array();
  for (const Row& row : of_run.progress) {
    rows.push_back(to_json(row, page_columns()));
  }
  page["rows"] = std::move(rows);
  Json unfinished = Json::array();
  for (const Json& cell : results["cells"]) {
    if (const std::string status = text_at(cell, "status"); status != "done" && status != "stopped") {
      unfinished.push_back(some_of(cell, {"name", "status", "error"}));
    }
  }
  page["unfinished"] = std::move(unfinished);
  page["chosen"] = Json::object();  // by [sweep.tune], of each cell
  for (const Json& cell : results["cells"]) {
    if (const Json& chosen = json_at(cell, "chosen"); chosen.is_object()) {
      page["chosen"][text_at(cell, "name")] = chosen;
    }
  }
  page["samples"] = Json::object();
  add_students(folder, of_run.students, parts, page);
  page["samples_left_out"] = parts.left_out();
  add_losses(folder, of_run.students, parts, page);
  page["toml"] = fs::exists(folder / "config.toml") ? read_text(folder / "config.toml") : "";
  return page;
}

}  // namespace

std::string report_page(const fs::path& folder, const Results& results, const std::string& version) {
  const bool live = !version.empty();
  Parts parts;
  Json page = page_data(folder, results, parts);
  if (live) {
    page["version"] = version;
  }
  const std::string script =
      live ? std::string(retort_served_js, retort_served_js_end) : std::string(retort_page_js, retort_page_js_end);
  const std::string_view style(retort_page_css, retort_page_css_end), chart(retort_chart_js, retort_chart_js_end);
  const std::string name = text_at(results.json, "name");
  const std::unordered_map<std::string_view, std::function<std::string()>> values = {
      {"title", [&] { return escape_html(valid_utf8(name.empty() ? "Retort" : name)); }},
      {"policy",
       [&] {
         return escape_html(policy({chart, script}, style) + (live ? "; connect-src 'self'" : ""));
       }},
      {"style", [&] { return std::string(style); }},
      {"chart.js", [&] { return std::string(chart); }},
      {"page.js", [&] { return script; }},
      {"data", [&] { return embeddable(page); }},
      {"parts", [&] { return parts.html(); }},
  };
  return fill({retort_page_html, retort_page_html_end}, [&](std::string_view mark) { return values.at(mark)(); });
}

void write_report(const fs::path& folder) {
  write_text(folder / "report.html", report_page(folder, read_results(folder)));
}

}  // namespace retort
