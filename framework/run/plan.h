/// The cells of a run before the work: which are done, what each needs, and whether all of them can be done at all.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/parts_memo.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "run/sweep_config.h"

namespace retort {

class Plan {
 public:
  /// What it is for: to look only, to measure what is trained, or to work, for which the folder is made ready.
  enum class For { looking, measuring, working };

  /// What is known of a cell without building it again.
  struct Planned {
    bool finished = false;
    std::string training;                 // SHA-256 of what its weights depend on,
    std::string results;                  // and of what its results do
    std::string solves;                   // which solves of the teacher its training needs
    std::string cost;                     // equal for cells whose steps cost the same
    double batches = 0;                   // that it trains on at most; 0 where nothing is trained
    double evaluations = 0, seconds = 0;  // that end it before, where they are not 0
    std::vector<int64_t> points;          // steps before the last after which it is measured
    std::string failure;                  // of what its folder told when this began
  };

  /// Looks at every cell, so that errors come before any work.
  Plan(const RunRequest& request, Work work, Registry& registry, For purpose);

  size_t size() const { return cells_.size(); }
  bool is_sweep() const { return !cells_[0].name.empty(); }
  bool complete() const;
  /// Of what all results depend on.
  std::string prints() const;
  /// Whether a cell's results are there by now, whoever made them.
  bool is_done(size_t i) const { return CellRun::holds_results(folder(i), planned_[i].results); }
  const std::vector<Cell>& cells() const { return cells_; }
  const Planned& operator[](size_t i) const { return planned_[i]; }
  /// How many cells' trainings need the solves that this one's needs.
  int sharing(size_t i) const { return sharing_.at(planned_[i].solves); }

  const std::filesystem::path& output() const { return output_; }
  const Store& store() const { return store_; }
  std::filesystem::path folder(size_t i) const { return cell_folder(output_, cells_[i]); }
  /// [sweep] as it was asked for.
  const Value& sweep() const { return *config_.find("sweep"); }
  /// What presents the results: {"name", "report"}.
  const Json& presentation() const { return presentation_; }

  /// Builds a cell, to work on it.
  std::unique_ptr<CellRun> open(size_t i);

 private:
  void look(For purpose);
  void look_at(size_t i, For purpose);
  void try_cell(CellRun& cell, const Planned& planned, For purpose);
  void agree();
  std::vector<size_t> cheapest_order() const;
  void prepare_folder();

  RunRequest request_;
  Registry& registry_;
  Models models_;
  Value config_;  // as written and overridden, before its cells
  std::vector<Cell> cells_;
  std::filesystem::path output_;
  Store store_;
  std::optional<PartsMemo> memo_;  // while cells are only looked at
  std::vector<Planned> planned_;
  std::map<std::string, int> sharing_;
  std::set<std::string> tried_;
  SweepConfig kept_;
  Json presentation_;
};

/// Which failure a cell's folder tells of, "" for none; clocks of several machines cannot say whether it is a new one.
std::string failure_in(const std::filesystem::path& folder);

}  // namespace retort
