#include "run/plan.h"

#include <algorithm>
#include <exception>
#include <numeric>

#include "config/toml.h"
#include "io/files.h"
#include "io/hashes.h"
#include "run/provenance.h"
#include "run/searching.h"
#include "sweep/gather.h"
#include "train/group.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr const char* hashes_name = "hashes.json";  // in the folder of what runs share

std::string type_of(const Experiment& e, const std::string& table) {
  const Value* found = e.resolved().find(table);
  const Value* type = found != nullptr ? found->find("type") : nullptr;
  return type != nullptr ? std::get<std::string>(type->data) : "";
}

}  // namespace

std::string failure_in(const fs::path& folder) {
  std::error_code missing;
  return fs::exists(folder / "failed.json", missing) ? read_text(folder / "failed.json") : "";
}

Plan::Plan(const RunRequest& request, Work work, Registry& registry, For purpose)
    : request_(request),
      registry_(registry),
      models_(purpose == For::working ? Models::train : Models::find),
      config_(std::move(work.config)),
      cells_(std::move(work.cells)),
      output_(std::move(work.output)),
      store_(work.shared),
      memo_(std::in_place),
      planned_(cells_.size()) {
  if (request.frozen) {
    freeze(registry, request.config, output_);
  }
  load_hashes(store_.folder() / hashes_name);
  look(purpose);
  if (is_sweep()) {
    compared_key(presentation_["report"], cells_);  // so that a wrong one is told before the work
  }
  Searching::of(*this);  // so that what it lacks is told before the work
  agree();
  if (purpose == For::working && Group::world().first()) {
    prepare_folder();
    save_hashes(store_.folder() / hashes_name);
  }
  if (purpose != For::looking) {
    memo_.reset();  // its memory is needed
  }
  Group::world().meet();
}

bool Plan::complete() const {
  return std::all_of(planned_.begin(), planned_.end(), [](const Planned& p) { return p.finished; });
}

std::string Plan::prints() const {
  std::string all;
  for (const Planned& planned : planned_) {
    all += planned.results + "\n";
  }
  return sha256_of_text(all);
}

std::unique_ptr<CellRun> Plan::open(size_t i) {
  return std::make_unique<CellRun>(cells_[i], fs::path(request_.config).stem().string(), folder(i), registry_, store_,
                                   models_, memo_ ? &*memo_ : nullptr);
}

// Cells of equal tables one after another, those that are built first before all, so that few parts are built anew.
std::vector<size_t> Plan::cheapest_order() const {
  std::set<std::string> swept;
  for (const Cell& cell : cells_) {
    for (const auto& [key, value] : cell.values.table()) {
      swept.insert(key.substr(0, key.find('.')));
    }
  }
  std::vector<std::string> texts(cells_.size());
  for (const TableInfo& table : tables()) {
    if (!swept.contains(table.name) || table.decides == Decides::nothing) {
      continue;
    }
    for (size_t i = 0; i < cells_.size(); ++i) {
      const Value* found = cells_[i].config.find(table.name);
      texts[i] += (found != nullptr ? found->text() : "") + "\n";
    }
  }
  std::vector<size_t> out(cells_.size());
  std::iota(out.begin(), out.end(), size_t{0});
  std::stable_sort(out.begin(), out.end(), [&](size_t a, size_t b) { return texts[a] < texts[b]; });
  return out;
}

// Of several cells that are wrong, the first one's error is told.
void Plan::look(For purpose) {
  std::exception_ptr error;
  size_t wrong = cells_.size();
  for (const size_t i : cheapest_order()) {
    if (i > wrong) {
      continue;
    }
    try {
      look_at(i, purpose);
    } catch (const std::exception&) {
      error = std::current_exception();
      wrong = i;
    }
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

void Plan::look_at(size_t i, For purpose) {
  Planned& planned = planned_[i];
  planned.failure = failure_in(folder(i));
  const std::unique_ptr<CellRun> cell = open(i);
  planned.finished = cell->finished();
  try_cell(*cell, planned, purpose);
  const Experiment& e = cell->experiment();
  const std::string batch = std::to_string(e.train->batch) + " " + std::to_string(e.train->gradient_accumulation) + " ";
  planned.training = cell->training_print();
  planned.results = cell->print();
  planned.solves = sha256_of_text(e.fingerprint(Decides::training_solves) + std::to_string(e.run->seed) + " " + batch +
                                  type_of(e, "loss"));
  planned.cost = sha256_of_text(e.fingerprint(Decides::step_cost) + batch);
  planned.batches = cell->trains() ? static_cast<double>(e.train->steps * e.train->gradient_accumulation) : 0;
  planned.evaluations = static_cast<double>(e.train->evaluations);
  planned.seconds = e.train->seconds;
  planned.points = e.evaluate->at;
  std::sort(planned.points.begin(), planned.points.end());
  planned.points.erase(std::unique(planned.points.begin(), planned.points.end()), planned.points.end());
  std::erase_if(planned.points, [&](int64_t step) { return step >= e.train->steps; });
  sharing_[planned.solves] += 1;
  if (is_sweep()) {
    Value resolved = e.resolved_for(output_);
    kept_.note(cells_[i], resolved);
    if (i == 0) {
      kept_.set_first(std::move(resolved));
    }
  }
  if (i == 0) {
    presentation_ = {{"name", e.run->name}, {"report", to_json(*e.resolved().find("report"))}};
  }
}

void Plan::try_cell(CellRun& cell, const Planned& planned, For purpose) {
  if (!Group::world().first()) {
    return;
  }
  if (purpose == For::measuring) {
    cell.require_trained();
  }
  if (purpose == For::working && !planned.finished && !cell.trained() && tried_.insert(cell.trial_key()).second) {
    cell.try_evaluation();
  }
}

// The processes of a group work on one configuration, and believe the first of them about what is done.
void Plan::agree() {
  std::string prints, finished;
  for (const Planned& planned : planned_) {
    prints += planned.training;
    finished += planned.finished ? '1' : '0';
  }
  Group::world().agree("configuration, plugins and files that it names", sha256_of_text(prints));
  finished = Group::world().from_first(finished);
  for (size_t i = 0; i < planned_.size(); ++i) {
    planned_[i].finished = finished[i] == '1';
  }
}

void Plan::prepare_folder() {
  if (!is_sweep()) {
    return;  // the cell's folder is the run's
  }
  const bool other = fs::exists(output_ / "config.toml") && !fs::exists(output_ / "cells");
  if (other || (request_.fresh && fs::exists(output_))) {
    set_aside(output_, other ? "it holds a single run, not a sweep" : "--fresh begins anew");
  }
  make_folder(output_ / "cells");
  write_text(output_ / "config.toml", write_toml(kept_.whole(cells_, sweep())));
  write_provenance(output_, request_.frozen);
}

}  // namespace retort
