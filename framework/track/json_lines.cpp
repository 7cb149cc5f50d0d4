#include "track/json_lines.h"

#include <fstream>

#include "io/files.h"
#include "io/json.h"
#include "retort/error.h"

namespace retort {

void JsonLines::begin(const TrackedRun& run, int64_t from_step) {
  file_ = run.folder / file_name;
  std::ifstream lines(file_);
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    // A process that was killed may have left half a line.
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (const Json& step = json_at(json, "step"); step.is_number() && step.get<int64_t>() <= from_step) {
      kept += line + "\n";
    }
  }
  write_text(file_, kept);
}

void JsonLines::log(int64_t step, const Scalars& scalars) {
  Json line = {{"step", step}};
  for (const Scalar& s : scalars) {
    Json& place = s.group.empty() ? line[s.name] : line[s.group][s.name];
    std::visit([&](auto value) { place = value; }, s.value);
  }
  // Opened for each line, so that the file may be moved or replaced between two.
  std::ofstream out(file_, std::ios::app);
  out << spell(line) << std::endl;
  if (!out) {
    throw Error(file_.string() + ": cannot be written");
  }
}

}  // namespace retort
