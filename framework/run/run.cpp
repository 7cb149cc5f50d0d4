#include "run/run.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <set>
#include <thread>
#include <utility>

#include "interrupt.h"
#include "io/files.h"
#include "io/json.h"
#include "log.h"
#include "report/report.h"
#include "run/plan.h"
#include "run/provenance.h"
#include "run/searching.h"
#include "share/claim.h"
#include "sweep/gather.h"
#include "sweep/told.h"
#include "sweep/tuning.h"
#include "train/group.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

class Run {
 public:
  Run(const RunRequest& request, Work work, Registry& registry, Plan::For purpose)
      : request_(request), plan_(request, std::move(work), registry, purpose), shared_(plan_.store()) {}

  const Plan& plan() const { return plan_; }
  size_t failed() const { return failed_; }

  // Takes one cell after another, until all are done by somebody. `after` sees the folder of each that this process has
  // done, and may throw.
  void work(Stages stages, const std::function<void(const fs::path&)>& after = {}) {
    std::vector<CellState> states(plan_.size(), CellState::open);
    for (const int64_t point : searching_ ? searching_->points() : std::vector<int64_t>{}) {
      until_ = point;
      take_all(states, stages, [&](size_t i) { searching_->number(i, point); });
      stop_losers(states, point);
    }
    until_.reset();
    take_all(states, stages, [&](size_t i) {
      if (after) {
        after(plan_.folder(i));
      }
    });
    failed_ = count(states, CellState::failed);
    if (Group::world().first()) {
      for (size_t i = 0; i < plan_.size(); ++i) {
        Claim::take(claim_path(i));  // and given back at once: with it goes what killed processes left
      }
    }
  }

  // Puts the results together and writes the report, whose settings may have changed since the results were made.
  void finish() {
    if (!Group::world().first()) {
      return;
    }
    if (plan_.is_sweep()) {
      write_provenance(plan_.output(), request_.frozen);
      gather(plan_.cells(), cell_folders(), plan_.output(), plan_.presentation(), to_json(plan_.sweep()));
    } else {
      present(plan_.output(), plan_.presentation());
    }
    write_report(plan_.output());
    if (searching_) {
      if (const std::string best = searching_->best(); !best.empty()) {
        log::done(best);
      }
    }
  }

 private:
  enum class CellState { open, done, failed, elsewhere, stopped, left };
  static constexpr bool is_over(CellState state) { return state != CellState::open && state != CellState::elsewhere; }

  // Takes what is not over. `after` sees each cell that this process has done.
  void take_all(std::vector<CellState>& states, Stages stages, const std::function<void(size_t)>& after) {
    log::Cells display(plan_.size());
    for (int64_t next_one = 0; (next_one = next(states)) >= 0;) {
      const auto i = static_cast<size_t>(next_one);
      display.begin(plan_.cells()[i].name, count(states, CellState::done) + count(states, CellState::stopped));
      states[i] = take(i, stages);
      if (states[i] == CellState::done && Group::world().first()) {
        after(i);
      }
    }
  }

  // What halving does after one of its points: the best go on, what else was measured there gets results as it is.
  void stop_losers(std::vector<CellState>& states, int64_t point) {
    std::vector<size_t> measured;
    for (size_t i = 0; i < states.size(); ++i) {
      if (states[i] == CellState::done) {
        measured.push_back(i);
      }
    }
    if (measured.empty()) {
      return;
    }
    Group& group = Group::world();
    const auto [go_on, line] = group.first() ? searching_->chosen(measured, point) : std::pair(measured, std::string());
    const Json known = Json::parse(group.from_first(spell(Json(go_on))));
    if (group.first()) {
      log::done(line);
    }
    for (const size_t i : measured) {
      const bool goes_on = std::find(known.begin(), known.end(), Json(i)) != known.end();
      states[i] = goes_on ? CellState::open : CellState::stopped;
      if (!goes_on && group.first()) {
        if (const auto claim = Claim::take(claim_path(i))) {  // or another process does it
          plan_.open(i)->stop_at(point, request_.frozen);
        }
      }
    }
  }

  static size_t count(const std::vector<CellState>& states, CellState state) {
    return static_cast<size_t>(std::count(states.begin(), states.end(), state));
  }

  std::vector<fs::path> cell_folders() const {
    std::vector<fs::path> out;
    for (size_t i = 0; i < plan_.size(); ++i) {
      out.push_back(plan_.folder(i));
    }
    return out;
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
          if (is_over(states[i])) {
            continue;
          }
          if (hours_are_over(i)) {
            states[i] = CellState::left;
            continue;
          }
          const fs::path folder = plan_.folder(i);
          if (states[i] == CellState::elsewhere && others_result(i, folder, states[i])) {
            continue;
          }
          claim_ = Claim::take(claim_path(i));
          if (!claim_ && !(until_ && has_all(i))) {
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

  // Whether a cell that nobody has begun stays so, since the search has taken its hours.
  bool hours_are_over(size_t i) {
    if (!searching_ || !searching_->is_untouched(i) || !Claim::holder(claim_path(i)).empty() ||
        !searching_->is_over()) {
      return false;
    }
    if (!std::exchange(hours_said_, true)) {
      log::done("the hours of sweep.search.hours are over: what is not begun is left out");
    }
    return true;
  }

  // Whether a cell has what this pass wants of it.
  bool has_all(size_t i) const { return plan_.is_done(i) || (until_ && searching_->is_measured(i, *until_)); }

  fs::path claim_path(size_t i) const {
    return plan_.is_sweep() ? plan_.folder(i) : fs::path(plan_.output().string() + ".work");
  }

  // What another worker made of a cell that was not claimed any more.
  bool others_result(size_t i, const fs::path& folder, CellState& state) {
    if (!Claim::holder(claim_path(i)).empty()) {
      return false;
    }
    if (const std::string now = failure_in(folder); !now.empty() && now != plan_[i].failure) {
      state = CellState::failed;
      return true;
    }
    return false;
  }

  CellState take(size_t i, Stages stages) {
    const auto claim = std::move(claim_);
    const fs::path folder = plan_.folder(i);
    Group& group = Group::world();
    at::set_num_threads(threads_);  // a backend of the cell before may have changed it
    const auto began = Clock::now();
    const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
    try {
      const bool done = stages == Stages::everything && has_all(i) && !(request_.fresh && !plan_.is_sweep());
      if (group.from_first(done)) {
        return CellState::done;
      }
      const std::unique_ptr<CellRun> cell = plan_.open(i);
      if (group.first() && stages != Stages::evaluate) {
        cell->prepare(request_.fresh && !plan_.is_sweep(), request_.frozen);
        cell->count_death(claim && claim->deaths() > 0);
      }
      group.meet();
      if (stages != Stages::evaluate) {
        say_begin(*cell);
        const Store solves(plan_.store().folder() / "solves");
        // Solves that another cell has made would be a present to one that is given seconds.
        const bool share = plan_.sharing(i) > 1 && cell->experiment().train->seconds == 0;
        cell->train(share ? stored_solves(solves, cell->experiment().solve_key()) : nullptr, until_);
      }
      if (claim && claim->lost()) {  // this process was suspended for so long that another took the cell over
        return CellState::elsewhere;
      }
      if (until_ && group.first()) {
        cell->evaluate_at(shared_, *until_);
      } else if (stages != Stages::train && group.first()) {
        cell->evaluate(shared_, request_.frozen);
        if (plan_.is_sweep()) {
          log::done(plan_.cells()[i].name + ": " + summary(folder) + " (" + log::duration(seconds()) + ")");
        }
      }
      if (stages != Stages::train && group.first()) {
        std::error_code ignored;
        fs::remove(folder / "failed.json", ignored);
      }
      count_seconds(i, seconds());
      return CellState::done;
    } catch (const std::bad_alloc&) {
      if (group.size() > 1) {  // the others wait for this process, and must learn that it is gone
        throw;
      }
      count_seconds(i, seconds());
      return fail(i, folder, "out of memory");
    } catch (const std::exception& e) {
      if (!plan_.is_sweep() || stop_requested() || group.size() > 1) {
        throw;
      }
      count_seconds(i, seconds());
      return fail(i, folder, e.what());
    }
  }

  void count_seconds(size_t i, double seconds) const {
    if (searching_ && Group::world().first()) {
      searching_->add_seconds(i, seconds);
    }
  }

  CellState fail(size_t i, const fs::path& folder, const std::string& what) {
    const std::string line = what.substr(0, what.find('\n'));
    log::error("cell " + plan_.cells()[i].name + " failed: " + line);
    make_folder(folder);
    const Json content = {{"error", line}, {"process", getpid()}, {"failure", ++failures_here_}, {"began", began_}};
    write_text(folder / "failed.json", spell(content) + "\n");
    return CellState::failed;
  }

  void say_begin(const CellRun& cell) const {
    const Experiment& e = cell.experiment();
    if (!cell.trained()) {
      log::info(
          "training: " + Budget(*e.train).text() + ", batches of " +
          std::to_string(e.train->batch * e.train->gradient_accumulation) + " on " + e.training_backend().describe() +
          (e.automatic_backend() ? " (chosen by auto)" : "") +
          (Group::world().size() > 1 ? ", shared by " + std::to_string(Group::world().size()) + " processes" : ""));
      if (!Budget(*e.train).counts_steps_alone()) {
        return;
      }
      const int64_t stages = e.loss->stages();
      const int64_t last_stage = e.train->steps - ((stages - 1) * e.train->steps + stages - 1) / stages;
      if (const double last = e.train->ema_decay(last_stage); last < e.train->ema) {
        log::info("train.ema = " + Value{e.train->ema, {}}.text() + " is not reached in " + std::to_string(last_stage) +
                  " steps; the average's decay is " + Value{std::round(last * 1e4) / 1e4, {}}.text() +
                  " at the end (train.ema_ramp = false: at once)");
      }
    }
  }

  RunRequest request_;
  int threads_ = at::get_num_threads();  // before any backend changes it
  Plan plan_;
  std::optional<Searching> searching_ = Searching::of(plan_);
  std::optional<int64_t> until_;  // the step that cells are trained to in this pass; nothing: to their end
  SharedTensors shared_;
  size_t failed_ = 0;
  std::unique_ptr<Claim> claim_;
  bool waiting_said_ = false, hours_said_ = false;
  int64_t failures_here_ = 0;
  int64_t began_ = std::chrono::system_clock::now().time_since_epoch().count();
};

}  // namespace

namespace {

// Finds what each cell of [sweep.tune] takes, by a sweep of its own. Once that is done it is not asked again, also not
// for choices that failed: they have lost.
void explore(const RunRequest& request, Work work, Registry& registry) {
  const fs::path folder = work.output;
  const Tuning tuning = *tuning_of(load_config(request));
  Run all(request, work, registry, Plan::For::working);
  const bool known = Group::world().from_first(known_choices(folder, all.plan().prints()).is_object());
  if (known) {
    return;
  }
  log::done("exploring: " + std::to_string(work.cells.size()) + " cells, to choose what [sweep.tune] asks for");
  all.work(Stages::everything, [&](const fs::path& done) { judged(tuning, done); });
  if (all.failed() == all.plan().size()) {
    throw Error("all cells that explore failed, for the reasons above; the same command tries them again");
  }
  all.finish();
  if (Group::world().first()) {
    std::vector<fs::path> folders;
    for (const Cell& cell : work.cells) {
      folders.push_back(cell_folder(folder, cell));
    }
    keep_choices(folder, all.plan().prints(), choose(tuning, work.cells, folders));
  }
  Group::world().meet();
}

void say_choices(const Work& work) {
  std::set<std::string> said;
  for (const Cell& cell : work.cells) {
    Value kind = cell.values;
    kind.erase("run.seed");
    if (said.insert(kind.text()).second) {
      log::done("chosen for " + kind.text() + ": " + cell.chosen.text());
    }
  }
}

// What stands where a tuned sweep is to be, if that is to go: before the exploring begins in it.
void clear_for_exploring(const fs::path& output, bool fresh) {
  const bool single = fs::exists(output / "config.toml") && !fs::exists(output / "cells");
  if (Group::world().first() && fs::exists(output) && (fresh || single)) {
    set_aside(output, fresh ? "--fresh begins anew" : "it holds a single run, not a sweep");
  }
  Group::world().meet();
}

RunOutcome run_work(const RunRequest& request, Work work, Registry& registry, Stages stages) {
  const Value* sweep = work.config.find("sweep");
  const std::optional<Search> search = sweep != nullptr ? search_of(*sweep) : std::nullopt;
  if (stages != Stages::everything && search && search->halves()) {
    throw RequestError(request.config + ": sweep.search halves, which measures while it trains; expected `retort run`");
  }
  Run all(request, std::move(work), registry, stages == Stages::evaluate ? Plan::For::measuring : Plan::For::working);
  if (stages == Stages::train && all.plan()[0].batches == 0) {
    throw RequestError(request.config + ": [loss] is missing; there is nothing to train");
  }
  if (stages == Stages::everything && all.plan().complete() && !request.fresh) {
    log::info("these results are complete; --fresh runs it again");
  } else {
    all.work(stages);
  }
  RunOutcome out{all.plan().output(), all.plan().size(), all.failed(), false};
  // Without any cell that is done there is nothing to put together, and the reasons have been said.
  if (stages != Stages::train && out.failed < out.cells) {
    all.finish();
    out.reported = !request.worker && Group::world().first();
  }
  return out;
}

}  // namespace

RunOutcome run(const RunRequest& request, Registry& registry, Stages stages) {
  if (!Group::world().first()) {
    log::be_quiet();
  }
  RunRequest rest = request;
  if (std::optional<Work> first = exploring_work(request)) {
    if (stages != Stages::evaluate) {
      clear_for_exploring(first->output.parent_path(), request.fresh);
      rest.fresh = false;  // for both sweeps at once
      explore(rest, std::move(*first), registry);
    } else if (!known_choices(first->output).is_object()) {
      throw RequestError(first->output.string() +
                         ": holds no choice of [sweep.tune] yet; `retort run` explores, and trains what is chosen");
    }
    Work second = work_of(rest);
    say_choices(second);
    return run_work(rest, std::move(second), registry, stages);
  }
  return run_work(rest, work_of(request), registry, stages);
}

namespace {
Search judging_search(const Value& config) {
  const Value* sweep = config.find("sweep");
  const std::optional<Search> search = sweep != nullptr ? search_of(*sweep) : std::nullopt;
  if (!search || search->by.empty()) {
    throw RequestError(
        to_string(config.origin) +
        ": [sweep.search] with `by` is missing; expected what is searched, and the metric that judges it");
  }
  return *search;
}
}  // namespace

Json ask(const RunRequest& request, Registry& registry) {
  const Value config = load_config(request);
  const Search search = judging_search(config);
  Json out = {{"by", search.by}, {"space", space_of(searched_axes(*config.find("sweep")))}, {"trials", Json::array()}};
  if (search.draws() || !told_in(output_folder(config, request)).empty()) {
    const Plan plan(request, work_of(request), registry, Plan::For::looking);
    out["trials"] = Searching::of(plan)->trials(searched_axes(*config.find("sweep")));
  }
  return out;
}

Json tell(const RunRequest& request, const std::string& values, Registry& registry) {
  const Value config = load_config(request);
  judging_search(config);
  const std::vector<Axis> axes = searched_axes(*config.find("sweep"));
  const Assignments place = told_place(axes, values);
  const fs::path output = output_folder(config, request);
  std::vector<Assignments> all = request.fresh ? std::vector<Assignments>{} : told_in(output);
  all.push_back(place);
  Work work{config, expand(config, all), output, shared_folder(config, request)};
  Value wanted;
  for (const auto& [key, value] : place) {
    wanted[key] = value;
  }
  std::erase_if(work.cells, [&](const Cell& cell) {
    Value own = cell.values;
    own.erase("run.seed");
    return !(own == wanted);
  });
  if (work.cells.empty()) {
    throw RequestError("--tell: sweep.exclude leaves out these values");
  }
  Run told(request, std::move(work), registry, Plan::For::working);
  keep_told(output, place);  // now that they are known to make cells
  told.work(Stages::everything);
  return Searching::of(told.plan())->trials(axes).at(0);
}

void RunOutcome::require_all() const {
  if (failed > 0) {
    throw Error(std::to_string(failed) + " of " + std::to_string(cells) +
                " cells failed, for the reasons above; the same command tries them again");
  }
}

}  // namespace retort
