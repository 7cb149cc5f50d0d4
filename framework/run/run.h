/// One run: every cell trained, sampled, evaluated and reported.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plugin/registry.h"
#include "retort/value.h"

namespace retort {

struct RunRequest {
  std::string config;                  // path
  std::vector<std::string> overrides;  // key=value
  bool fresh = false;                  // begin anew even where results exist
  bool frozen = false;                 // load only the libraries that an earlier run recorded
};

/// A cell of [sweep]: the configuration with one value of each swept key.
struct Cell {
  std::string name;  // the swept values joined by "_"; empty where nothing is swept
  Value values;      // swept key to value
  Value config;
};

/// The configuration with its overrides. A swept key that is overridden is no longer swept.
Value load_config(const RunRequest& request);
/// The product of the lists in [sweep].
std::vector<Cell> expand(const Value& config);
/// Where results go.
std::filesystem::path output_folder(const Value& config, const RunRequest& request);

enum class Stages { train, evaluate, everything };
/// Returns the folder of the results.
std::filesystem::path run(const RunRequest& request, Registry& registry, Stages stages = Stages::everything);

/// The folders of the cells within a run's.
std::filesystem::path cell_folder(const std::filesystem::path& output, const Cell& cell);

}  // namespace retort
