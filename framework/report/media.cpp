#include "report/media.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "io/files.h"
#include "report/template.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// Enough digits for a picture: a third of the bytes.
double rounded(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.5g", value);
  return std::strtod(buffer, nullptr);
}

Json points_in(const fs::path& csv) {
  constexpr size_t most = 1000;
  Json out = Json::array();
  std::ifstream lines(csv);
  for (std::string line; out.size() < most && std::getline(lines, line);) {
    double x = 0, y = 0;
    if (std::sscanf(line.c_str(), "%lf,%lf", &x, &y) == 2 && std::isfinite(x) && std::isfinite(y)) {
      out.push_back({rounded(x), rounded(y)});
    }
  }
  return out;
}

}  // namespace

Json Parts::add(const Json& content) {
  if (full()) {
    ++left_out_;
    return nullptr;
  }
  parts_.push_back(embeddable(content));
  size_ += parts_.back().size();
  return parts_.size() - 1;
}

std::string Parts::html() const {
  std::string out;
  out.reserve(size_ + 64 * parts_.size());
  for (const std::string& part : parts_) {
    out += "<script class=\"part\" type=\"application/json\">" + part + "</script>\n";
  }
  return out;
}

Json samples_in(const fs::path& file) {
  std::error_code missing;
  if (!fs::is_regular_file(file, missing)) {
    return nullptr;
  }
  if (file.extension() == ".png") {
    return {{"picture", "data:image/png;base64," + base64(read_text(file))}};
  }
  if (file.extension() == ".csv") {
    Json points = points_in(file);
    return points.empty() ? Json() : Json{{"points", std::move(points)}};
  }
  return nullptr;
}

Json loss_curve(const fs::path& path) {
  std::vector<std::pair<int64_t, double>> points;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json.contains("loss") && json["step"].is_number() &&
        json["loss"].is_number()) {
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
    out.push_back({points[end - 1].first, rounded(sum / static_cast<double>(end - i))});
  }
  return out;
}

}  // namespace retort
