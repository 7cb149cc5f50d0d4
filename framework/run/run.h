/// A run: every cell of a configuration trained, sampled and measured, and one report over all.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "plugin/registry.h"
#include "retort/session.h"
#include "retort/value.h"
#include "sweep/cells.h"

namespace retort {

/// The configuration with its overrides. A swept key that is overridden is no longer swept.
Value load_config(const RunRequest& request);
/// Where results go, and where what runs share.
std::filesystem::path output_folder(const Value& config, const RunRequest& request);
std::filesystem::path shared_folder(const Value& config, const RunRequest& request);
/// What there is to be done, and where. Of a configuration with [sweep.tune] there are two, one after the other.
struct Work {
  Value config;  // as written and overridden; the sweep that explores has its own [sweep]
  std::vector<Cell> cells;
  std::filesystem::path output, shared;
};
/// Without [sweep.tune] what is asked for; with it, what follows when the exploring is done: with what was chosen, or
/// as it is asked for where nothing is chosen yet.
Work work_of(const RunRequest& request);
/// The sweep that explores, in "tuning" within the run's folder; nothing without [sweep.tune].
std::optional<Work> exploring_work(const RunRequest& request);
/// What was chosen, as that folder tells; null where it tells nothing, or of cells with other prints.
Json known_choices(const std::filesystem::path& tuning, const std::string& prints = "");
void keep_choices(const std::filesystem::path& tuning, const std::string& prints, const Json& choices);

/// The folder of a cell within a run's.
std::filesystem::path cell_folder(const std::filesystem::path& output, const Cell& cell);

struct RunOutcome {
  std::filesystem::path folder;  // of the results
  size_t cells, failed;          // failed: for reasons that the log has
  bool reported;                 // whether this process has put the results together

  /// Throws Error where cells failed.
  void require_all() const;
};
/// Runs the cells that are not finished. Several processes may do so at once, on machines that share the folder: each
/// cell is one's.
RunOutcome run(const RunRequest& request, Registry& registry, Stages stages = Stages::everything);

/// What an optimizer outside is answered, by a configuration with [sweep.search] and its `by`. To a question {"by",
/// "space", "trials"}: what is searched, and what was found. To values of what is searched, as JSON, {"values",
/// "value"}: they are run, on all seeds, and belong to the search from then on.
Json ask(const RunRequest& request, Registry& registry);
Json tell(const RunRequest& request, const std::string& values, Registry& registry);

/// Prints the cells, what has become of them, and what the rest will cost, from a few timed steps of each kind.
void print_plan(const RunRequest& request, Registry& registry);

}  // namespace retort
