#include "run/run.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "bench/bench.h"
#include "config/toml.h"
#include "interrupt.h"
#include "io/files.h"
#include "io/hashes.h"
#include "io/json.h"
#include "log.h"
#include "report/report.h"
#include "run/cell_run.h"
#include "run/provenance.h"
#include "share/claim.h"
#include "sweep/gather.h"
#include "train/group.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* hashes_name = "hashes.json";  // in the folder of what runs share

class Run {
 public:
  // What is wanted of it: to look only, to measure what is trained, or to work, for which the folder is made ready.
  enum class For { looking, measuring, working };
  Run(const RunRequest& request, Registry& registry, For purpose)
      : request_(request),
        registry_(registry),
        models_(purpose == For::working ? Models::train : Models::find),
        config_(load_config(request)),
        cells_(expand(config_)),
        output_(output_folder(config_, request)),
        store_(shared_folder(config_, request)),
        shared_(store_) {
    if (request.frozen) {
      freeze(registry, request.config, output_);
    }
    load_hashes(store_.folder() / hashes_name);
    check_cells(purpose);
    if (purpose == For::working && Group::world().first()) {
      prepare_folder();
      save_hashes(store_.folder() / hashes_name);
    }
    Group::world().meet();
  }

  bool is_sweep() const { return !cells_[0].name.empty(); }
  const fs::path& output() const { return output_; }
  bool complete() const {
    return std::all_of(finished_.begin(), finished_.end(), [](bool f) { return f; });
  }

  // Takes one cell after another, until all are done by somebody.
  void work(Stages stages) {
    std::vector<CellState> states(cells_.size(), CellState::open);
    log::Cells display(cells_.size());
    for (int64_t i = 0; (i = next(states)) >= 0;) {
      display.begin(cells_[static_cast<size_t>(i)].name, count(states, CellState::done));
      states[static_cast<size_t>(i)] = take(static_cast<size_t>(i), stages);
    }
    failed_ = count(states, CellState::failed);
    if (Group::world().first()) {
      for (size_t i = 0; i < cells_.size(); ++i) {
        Claim::take(claim_path(i));  // and given back at once: with it goes what killed processes left
      }
    }
  }

  // Puts the results together and writes the report, whose settings may have changed since the results were made.
  void finish() {
    if (!Group::world().first()) {
      return;
    }
    const std::unique_ptr<CellRun> first = open(0);
    const Experiment& e = first->experiment();
    const Json report = {{"name", e.run->name}, {"report", to_json(*e.resolved().find("report"))}};
    if (is_sweep()) {
      write_provenance(output_, request_.frozen);
      gather(cells_, cell_folders(), output_, report, to_json(*config_.find("sweep")));
    } else {
      present(output_, report);
    }
    write_report(output_);
  }

  size_t failed() const { return failed_; }
  size_t size() const { return cells_.size(); }

  std::vector<fs::path> cell_folders() const {
    std::vector<fs::path> out;
    for (const Cell& cell : cells_) {
      out.push_back(cell_folder(output_, cell));
    }
    return out;
  }

  std::unique_ptr<CellRun> open(size_t i) const {
    return std::make_unique<CellRun>(cells_[i], fs::path(request_.config).stem().string(),
                                     cell_folder(output_, cells_[i]), registry_, store_, models_);
  }
  const Cell& cell(size_t i) const { return cells_[i]; }
  bool finished(size_t i) const { return finished_[i]; }

 private:
  enum class CellState { open, done, failed, elsewhere };

  static size_t count(const std::vector<CellState>& states, CellState state) {
    return static_cast<size_t>(std::count(states.begin(), states.end(), state));
  }

  // Builds every cell once, so that errors come before any work, and learns which are done and which share their
  // solves.
  void check_cells(For purpose) {
    std::set<std::string> tried;
    std::string prints;
    for (size_t i = 0; i < cells_.size(); ++i) {
      failures_.push_back(failure(cell_folder(output_, cells_[i])));
      const std::unique_ptr<CellRun> cell = open(i);
      finished_.push_back(Group::world().from_first(cell->finished()));
      if (purpose == For::measuring && Group::world().first()) {
        cell->require_trained();
      }
      if (purpose == For::working && !finished_.back() && !cell->trained() && Group::world().first() &&
          tried.insert(cell->trial_key()).second) {
        cell->try_evaluation();
      }
      const Experiment& e = cell->experiment();
      solves_.push_back(sha256_of_text(e.fingerprint(Decides::training_solves) + std::to_string(e.run->seed) + " " +
                                       std::to_string(e.train->batch) + " " + std::to_string(e.train->accumulate) +
                                       " " + type_of(e, "loss")));
      sharing_[solves_.back()] += 1;
      if (is_sweep()) {
        note_parts(e);
      }
      prints += cell->training_print();
    }
    Group::world().agree("configuration, plugins and files that it names", sha256_of_text(prints));
  }

  static std::string type_of(const Experiment& e, const std::string& table) {
    const Value* found = e.resolved().find(table);
    const Value* type = found != nullptr ? found->find("type") : nullptr;
    return type != nullptr ? std::get<std::string>(type->data) : "";
  }

  // Of each table whose plugin is swept, what each plugin's keys are, so that one configuration holds them all.
  void note_parts(const Experiment& e) {
    const Value resolved = e.resolved_for(output_);
    for (const auto& [key, value] : cells_[0].values.table()) {
      if (key.ends_with(".type")) {
        const std::string table = key.substr(0, key.size() - 5);
        if (const Value* own = at_path(resolved, table)) {
          const std::string type = std::get<std::string>(own->find("type")->data);
          Value keys = *own;
          keys.erase("type");
          parts_[table].try_emplace(type, keys);
        }
      }
    }
  }

  void prepare_folder() {
    if (!is_sweep()) {
      return;  // the cell's folder is the run's
    }
    const bool other = fs::exists(output_ / "config.toml") && !fs::exists(output_ / "cells");
    if (other || (request_.fresh && fs::exists(output_))) {
      set_aside(output_, other ? "it holds a single run, not a sweep" : "--fresh begins anew");
    }
    make_folder(output_ / "cells");
    Value config = open(0)->experiment().resolved_for(output_);
    for (const auto& [table, types] : parts_) {
      Value joined;
      joined["type"] = *at_path(config, table + ".type");
      for (const auto& [type, keys] : types) {
        joined[type] = keys;
      }
      set_path(config, table, joined);
    }
    std::set<std::string> swept;  // [sweep] says these
    for (const Cell& cell : cells_) {
      for (const auto& [key, value] : cell.values.table()) {
        swept.insert(key);
      }
    }
    for (const std::string& key : swept) {
      unset(config, key);
    }
    config["sweep"] = *config_.find("sweep");
    write_text(output_ / "config.toml", write_toml(config));
    write_provenance(output_, request_.frozen);
  }

  void unset(Value& config, const std::string& key) const {
    const size_t dot = key.rfind('.');
    Value* table = dot == std::string::npos ? nullptr : at_path(config, key.substr(0, dot));
    if (table == nullptr || !table->is_table()) {
      return;
    }
    table->erase(key.substr(dot + 1));
    for (auto& [name, inner] : table->table()) {
      if (inner.is_table() && parts_.contains(key.substr(0, dot))) {
        inner.erase(key.substr(dot + 1));
      }
    }
  }

  // The next cell to take, claimed; -1 where all are done or failed. Waits while others work on what is left, as they
  // may die.
  int64_t next(std::vector<CellState>& states) {
    Group& group = Group::world();
    while (true) {
      int64_t chosen = -1;
      bool waiting = false;
      if (group.first()) {
        for (size_t i = 0; i < states.size() && chosen < 0; ++i) {
          if (states[i] == CellState::done || states[i] == CellState::failed) {
            continue;
          }
          const fs::path folder = cell_folder(output_, cells_[i]);
          if (states[i] == CellState::elsewhere && others_result(i, folder, states[i])) {
            continue;
          }
          claim_ = Claim::take(claim_path(i));
          if (!claim_) {
            states[i] = CellState::elsewhere;
            waiting = true;
            continue;
          }
          chosen = static_cast<int64_t>(i);
        }
      }
      chosen = group.from_first(chosen >= 0 ? chosen : waiting ? -2 : -1);
      if (chosen != -2) {
        return chosen;
      }
      if (stop_requested()) {
        throw Error("interrupted; the same command goes on from there");
      }
      if (!std::exchange(waiting_said_, true)) {
        log::done("other processes are at work on what is left; waiting for them, in case one dies");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
  }

  fs::path claim_path(size_t i) const {
    return is_sweep() ? output_ / "cells" / cells_[i].name : fs::path(output_.string() + ".work");
  }

  // What another worker made of a cell that was not claimed any more.
  bool others_result(size_t i, const fs::path& folder, CellState& state) {
    if (!Claim::holder(claim_path(i)).empty()) {
      return false;
    }
    if (const std::string now = failure(folder); !now.empty() && now != failures_[i]) {
      state = CellState::failed;
      return true;
    }
    return false;
  }

  // Which failure a cell's folder tells of; clocks of several machines cannot say whether it is a new one.
  static std::string failure(const fs::path& folder) {
    std::error_code missing;
    return fs::exists(folder / "failed.json", missing) ? read_text(folder / "failed.json") : "";
  }

  CellState take(size_t i, Stages stages) {
    const auto claim = std::move(claim_);
    const fs::path folder = cell_folder(output_, cells_[i]);
    Group& group = Group::world();
    at::set_num_threads(threads_);  // a backend of the cell before may have changed it
    try {
      const std::unique_ptr<CellRun> cell = open(i);
      const bool done = stages == Stages::everything && cell->finished() && !(request_.fresh && !is_sweep());
      if (group.from_first(done)) {
        return CellState::done;
      }
      if (group.first() && stages != Stages::evaluate) {
        cell->prepare(request_.fresh && !is_sweep(), request_.frozen);
        cell->count_death(claim && claim->deaths() > 0);
      }
      group.meet();
      const auto began = Clock::now();
      if (stages != Stages::evaluate) {
        say_begin(*cell);
        const bool share = sharing_.at(solves_[i]) > 1;
        cell->train(share ? stored_solves(Store(store_.folder() / "solves"), cell->experiment().solve_key()) : nullptr);
      }
      if (claim && claim->lost()) {  // this process was suspended for so long that another took the cell over
        return CellState::elsewhere;
      }
      if (stages != Stages::train && group.first()) {
        cell->evaluate(shared_, request_.frozen);
        std::error_code ignored;
        fs::remove(folder / "failed.json", ignored);
        if (is_sweep()) {
          log::done(cells_[i].name + ": " + summary(folder) + " (" +
                    log::duration(std::chrono::duration<double>(Clock::now() - began).count()) + ")");
        }
      }
      return CellState::done;
    } catch (const std::bad_alloc&) {
      if (group.size() > 1) {  // the others wait for this process, and must learn that it is gone
        throw;
      }
      return fail(i, folder, "out of memory");
    } catch (const std::exception& e) {
      if (!is_sweep() || stop_requested() || group.size() > 1) {
        throw;
      }
      return fail(i, folder, e.what());
    }
  }

  CellState fail(size_t i, const fs::path& folder, const std::string& what) {
    const std::string line = what.substr(0, what.find('\n'));
    log::error("cell " + cells_[i].name + " failed: " + line);
    make_folder(folder);
    const Json content = {{"error", line}, {"process", getpid()}, {"failure", ++failures_here_}, {"began", began_}};
    write_text(folder / "failed.json", spell(content) + "\n");
    return CellState::failed;
  }

  void say_begin(const CellRun& cell) const {
    const Experiment& e = cell.experiment();
    if (!cell.trained()) {
      log::info(
          "training: " + std::to_string(e.train->steps) + " steps of " +
          std::to_string(e.train->batch * e.train->accumulate) + " on " + e.training_backend().describe() +
          (e.automatic_backend() ? " (chosen by auto)" : "") +
          (Group::world().size() > 1 ? ", shared by " + std::to_string(Group::world().size()) + " processes" : ""));
      if (const double last = e.train->ema_decay(e.train->steps); last < e.train->ema) {
        log::info("train.ema = " + Value{e.train->ema, {}}.text() + " is not reached in " +
                  std::to_string(e.train->steps) + " steps; the average's decay is " +
                  Value{std::round(last * 1e4) / 1e4, {}}.text() + " at the end (train.ema_ramp = false: at once)");
      }
    }
  }

  RunRequest request_;
  Registry& registry_;
  Models models_;
  Value config_;  // as written and overridden, before its cells
  std::vector<Cell> cells_;
  fs::path output_;
  Store store_;
  SharedTensors shared_;
  std::vector<std::string> solves_;                            // of each cell, which solves its training needs
  std::map<std::string, int> sharing_;                         // how many cells need them
  std::map<std::string, std::map<std::string, Value>> parts_;  // table to plugin to its keys
  std::vector<bool> finished_;
  size_t failed_ = 0;
  std::unique_ptr<Claim> claim_;
  bool waiting_said_ = false;
  std::vector<std::string> failures_;  // what the cells' folders told of failures when this began
  int64_t failures_here_ = 0;
  int64_t began_ = std::chrono::system_clock::now().time_since_epoch().count();
  int threads_ = at::get_num_threads();
};

// Cells that cost the same: all settings but the seed, the length and the optimizer's are equal.
std::string kind_of(const Experiment& e) {
  return e.fingerprint(Decides::step_cost) + std::to_string(e.train->batch * e.train->accumulate);
}

void print_costs(const RunRequest& request, Registry& registry) {
  const Run all(request, registry, Run::For::looking);
  std::map<std::string, TrainingCost> kinds;
  double seconds = 0, evaluations = 0;
  size_t done = 0;
  std::printf("%-50s  %-8s  %14s  %10s\n", "cell", "state", "teacher evals", "training");
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string name = all.cell(i).name.empty() ? "(nothing is swept)" : all.cell(i).name;
    if (all.finished(i)) {
      std::printf("%-50s  %-8s\n", name.c_str(), "done");
      done += 1;
      continue;
    }
    const std::unique_ptr<CellRun> cell = all.open(i);
    const Experiment& e = cell->experiment();
    const auto [found, is_new] = kinds.try_emplace(kind_of(e));
    if (is_new) {
      found->second = Workbench(cell->experiment()).training_cost();
    }
    const auto steps = static_cast<double>(e.train->steps * e.train->accumulate);
    seconds += found->second.seconds * steps;
    evaluations += found->second.evaluations * steps;
    std::printf("%-50s  %-8s  %14.0f  %10s\n", name.c_str(), "to do", found->second.evaluations * steps,
                log::duration(found->second.seconds * steps).c_str());
    std::fflush(stdout);
  }
  std::printf(
      "\n%zu cells, %zu done. The rest trains for about %s on one process (solves that cells share are counted for "
      "each of them), with %.3g teacher evaluations; sampling and metrics come on top.\n",
      all.size(), done, log::duration(seconds).c_str(), evaluations);
}

}  // namespace

void print_plan(const RunRequest& request, Registry& registry) {
  try {
    print_costs(request, registry);
  } catch (const NotTrained& e) {
    const std::vector<Cell> cells = expand(load_config(request));
    for (const Cell& cell : cells) {
      std::printf("%s\n", cell.name.c_str());
    }
    std::printf("\n%zu cells. What they cost cannot be told yet: %s\n", cells.size(), e.what());
  }
}

fs::path run(const RunRequest& request, Registry& registry, Stages stages) {
  if (!Group::world().first()) {
    log::be_quiet();
  }
  Run all(request, registry, stages == Stages::evaluate ? Run::For::measuring : Run::For::working);
  if (stages == Stages::everything && all.complete() && !request.fresh) {
    log::info("these results are complete; --fresh runs it again");
  } else {
    all.work(stages);
  }
  // Without any cell that is done there is nothing to put together, and the reasons have been said.
  if (stages != Stages::train && all.failed() < all.size()) {
    all.finish();
    if (!request.worker && Group::world().first()) {
      std::fputs(terminal_table(all.output()).c_str(), stdout);
      std::printf("\n%s\n", (all.output() / "report.html").c_str());
    }
  }
  if (all.failed() > 0) {
    throw Error(std::to_string(all.failed()) + " of " + std::to_string(all.size()) +
                " cells failed, for the reasons above; the same command tries them again");
  }
  return all.output();
}

}  // namespace retort
