/// The runs and sweeps below a folder, as they are at the moment: nothing is written.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "report/results.h"

namespace retort {

class Runs {
 public:
  /// Throws RequestError where there is no such folder.
  explicit Runs(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }

  /// Every run, the one that changed last first: {"path", "name", "kind", "state", "changed", "cells", "step", "steps",
  /// "error", "settings", "rows"}. `cells` counts those of a sweep by their state. `settings` are keys of the
  /// configuration with its values; `rows` what students measured at the end of their training, or last.
  Json list();

  /// The path of a run's folder by the name that `list` gives; nothing where there is none, or it leads out of here.
  std::optional<std::filesystem::path> find(const std::string& path) const;
  /// A file of a run that a page may show, by its path from here.
  std::optional<std::filesystem::path> file(const std::string& path) const;

  /// Changes when a run's results do.
  static std::string version(const std::filesystem::path& run);
  /// A run's results so far, those of cells that are done included; nothing where nothing is measured yet. Means and
  /// differences over seeds, which take the most time, are there with `statistics`.
  static std::optional<Results> results(const std::filesystem::path& run, bool statistics = true);

 private:
  struct Known {
    std::string version;
    Json entry;
  };
  void look(const std::filesystem::path& place, int depth, std::vector<std::filesystem::path>& found) const;
  Json entry(const std::filesystem::path& run) const;
  Json entry_or_fault(const std::filesystem::path& run) const;

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;
};

}  // namespace retort
