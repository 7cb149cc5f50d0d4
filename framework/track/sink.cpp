#include "track/sink.h"

#include "track/json_lines.h"

namespace retort {

std::vector<std::unique_ptr<Sink>> make_sinks(const std::filesystem::path& folder) {
  std::vector<std::unique_ptr<Sink>> out;
  out.push_back(std::make_unique<JsonLines>(folder / JsonLines::file_name));
  return out;
}

}  // namespace retort
