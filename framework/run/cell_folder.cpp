// What a cell's folder holds, and how it is made ready for work.
#include <algorithm>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/provenance.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

void set_aside(const fs::path& folder, const std::string& why) {
  fs::path aside;
  for (int i = 1; fs::exists(aside = folder.string() + "~" + std::to_string(i)); ++i) {
  }
  std::error_code error;
  fs::rename(folder, aside, error);
  if (error) {
    throw Error(folder.string() + ": holds other results, which cannot be moved to " + aside.string() + ": " +
                error.message());
  }
  log::info("what " + folder.string() + " held is now in " + aside.string() + ", as " + why);
}

bool CellRun::holds_results(const fs::path& folder, const std::string& print) {
  const Json results = read_json(folder / "results.json");
  return results.is_object() && results.value("fingerprint", "") == print;
}

bool CellRun::trained() const {
  if (!trains()) {
    return true;
  }
  const std::optional<int64_t> last = Trainer::last_step(folder_, *experiment_->train);
  const auto there = [&](int64_t step) { return step > *last || fs::exists(Trainer::checkpoint_path(folder_, step)); };
  return last && std::all_of(experiment_->evaluate->at.begin(), experiment_->evaluate->at.end(), there);
}

bool CellRun::is_same_training() const {
  const fs::path print = folder_ / "training.sha256";
  return fs::exists(print) && read_text(print) == training_print_ + "\n";
}

// Of a point to be evaluated that the training in the folder has passed without keeping its weights; "" without one.
std::string CellRun::passed_point() const {
  if (!trains()) {
    return "";
  }
  int64_t reached = -1;
  for (const int64_t step : experiment_->evaluate->at) {
    if (fs::exists(Trainer::checkpoint_path(folder_, step))) {
      continue;
    }
    if (reached < 0) {
      const std::optional<int64_t> last = Trainer::last_step(folder_, *experiment_->train);
      reached = last ? *last : Trainer::saved_step(folder_);
    }
    if (step <= reached) {
      return "holds no weights after step " + std::to_string(step) + ", which evaluate.at asks for";
    }
  }
  return "";
}

namespace {

// The first key whose value differs and matters so much, as "train.steps = 10, not 20".
std::string first_difference(const Value& before, const Value& now, const std::string& path, Affects least) {
  for (const auto& [key, value] : now.table()) {
    const std::string own = path.empty() ? key : path + "." + key;
    const Value* old = before.find(key);
    if (value.is_table() && old != nullptr && old->is_table()) {
      if (std::string inner = first_difference(*old, value, own, least); !inner.empty()) {
        return inner;
      }
    } else if (affects(own) >= least && (old == nullptr || old->text() != value.text())) {
      return own + " = " + (old != nullptr ? old->text() : "(none)") + ", not " + value.text();
    }
  }
  return "";
}

}  // namespace

std::string CellRun::difference() const {
  std::string found;
  try {
    const Value saved = read_config((folder_ / "config.toml").string());
    found = first_difference(saved, experiment_->resolved_for(folder_), "", Affects::training);
  } catch (const Error&) {
    return "its configuration cannot be read";
  }
  return found.empty() ? "it was trained by other plugins, or with files of other content"
                       : "it was trained with " + found;
}

void CellRun::require_trained() const {
  if (!trains()) {
    return;
  }
  const std::string again = "; `retort train`, with the configuration and overrides that are meant, makes one";
  if (!fs::exists(folder_ / "config.toml")) {
    throw RequestError(folder_.string() + ": holds no training of this configuration" + again);
  }
  if (!is_same_training()) {
    throw RequestError(folder_.string() + ": holds another training: " + difference() +
                       "; give the configuration and overrides that it was trained with");
  }
  if (const std::string lack = passed_point(); !lack.empty()) {
    throw RequestError(folder_.string() + ": " + lack);
  }
  if (!trained()) {
    throw RequestError(folder_.string() + ": its training is not finished; `retort train` goes on with it");
  }
}

// Threads sum in another order, so the last digits change; that is no reason to begin anew.
void CellRun::say_threads() const {
  if (trained()) {
    return;
  }
  const Value saved = read_toml((folder_ / "config.toml").string());
  for (const char* key : {"backend.threads", "backend.student.threads"}) {
    const Value* before = at_path(saved, key);
    const Value* now = at_path(experiment_->resolved(), key);
    if (before != nullptr && now != nullptr && before->text() != now->text()) {
      log::info(std::string("goes on with ") + key + " = " + now->text() + ", begun with " + before->text() +
                ": the last digits will differ from those of one go");
    }
  }
}

void CellRun::prepare(bool fresh, bool frozen) {
  if (fs::exists(folder_ / "config.toml")) {
    if (!is_same_training()) {
      set_aside(folder_, difference());
    } else if (fresh) {
      set_aside(folder_, "--fresh begins anew");
    } else if (const std::string lack = passed_point(); !lack.empty()) {
      set_aside(folder_, "it " + lack);
    } else {
      say_threads();
    }
  }
  make_folder(folder_);
  for (const fs::path& place : {folder_, folder_ / "checkpoints", folder_ / "samples"}) {
    remove_half_written(place);
  }
  write_text(folder_ / "training.sha256", training_print_ + "\n");
  write_text(folder_ / "config.toml", write_toml(experiment_->resolved_for(folder_)));
  write_provenance(folder_, frozen);
}

// How far the work has come, for telling whether anything was done between two deaths.
std::string CellRun::progress() const {
  std::string out = trained() ? "trained" : "step " + std::to_string(Trainer::saved_step(folder_));
  const fs::path measured = folder_ / measured_name;
  return out + ", " + (fs::exists(measured) ? sha256_of_file(measured).substr(0, 12) : "nothing") + " measured";
}

void CellRun::count_death(bool died) {
  constexpr int64_t most = 3;  // it is likely to bring the next worker down too
  const fs::path file = folder_ / "deaths.json";
  const Json before = read_json(file);
  const std::string now = progress();
  const bool same = before.is_object() && before.value("at", "") == now;
  const int64_t deaths = died ? (same ? before.value("deaths", int64_t{0}) : 0) + 1 : 0;
  write_text(file, spell({{"at", now}, {"deaths", deaths}}) + "\n");
  if (deaths >= most) {
    throw Error("its worker died " + std::to_string(deaths) + " times at it without getting on (" + now +
                "); not tried again");
  }
}

}  // namespace retort
