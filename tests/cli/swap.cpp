// Every plugin of each kind, swapped by one word into each shipped configuration: it runs, or one line says why it
// cannot. Two configurations are also trained; the others in configs/, and a few in configs/paper/, only evaluated.
// RETORT_SWAPS=FILE takes them all, trains those in configs/, which takes half an hour, and writes the table.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "io/files.h"
#include "retort/error.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// What makes a configuration small, in place of what takes long; keys of parts that it does not have are left out.
std::vector<std::string> small_of(const fs::path& file) {
  const Value config = load_config({file.string(), {}});
  std::vector<std::string> out = {
      "train.steps=1",       "train.batch=2",  "train.gradient_accumulation=1",
      "evaluate.samples=2",  "evaluate.at=[]", "evaluate.reference_samples=8",
      "evaluate.pictures=0", "run.seed=0",     "metric.nll={samples = 1, tolerance = 1e3, data = false}"};
  if (config.find("metric") != nullptr && config.find("metric")->find("ode_error") != nullptr) {
    out.emplace_back("metric.ode_error={exact_samples = 0, noise_levels = 0}");
  }
  return out;
}

std::vector<fs::path> configurations(const std::string& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(source_dir() + folder)) {
    if (entry.path().extension() == ".toml") {
      out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What decides of an outcome without training: configurations that differ in other tables need not be tried again.
std::string decisive(const Value& config) {
  std::string out;
  for (const TableInfo& table : tables()) {
    if (table.decides & Decides::trial) {
      out += config.find(table.name) != nullptr ? config.find(table.name)->text() + "\n" : "\n";
    }
  }
  return out;
}

// "runs", "is evaluated" (its training is not tried), or the line why not.
std::string outcome(const fs::path& file, const std::string& kind, const std::string& name, bool train,
                    std::map<std::string, std::string>& known) {
  Folder folder;
  RunRequest request{file.string(), small_of(file)};
  const std::string list = kind == "metric" ? "evaluate.metrics" : kind == "tracker" ? "track.trackers" : "";
  request.overrides.push_back(list.empty() ? kind + ".type=" + name : list + "=[\"" + name + "\"]");
  if (kind != "backend") {
    request.overrides.emplace_back("backend.type=cpu");
  }
  std::string key;
  const auto remember = [&](const std::string& is) { return known[key] = is; };
  try {
    const Cell cell = expand(load_config(request))[0];
    key = decisive(cell.config);
    if (!train && known.contains(key)) {
      return known.at(key);
    }
    CellRun run(cell, "swap", folder / "out", registry(), Store(folder / "cache"), Models::find);
    run.try_evaluation();
    if (!train) {
      return remember("is evaluated");
    }
    run.prepare(false, false);
    run.train(nullptr);
    SharedTensors shared;
    run.evaluate(shared, false);
    return "runs";
  } catch (const RequestError& e) {
    const std::string line = std::string("refused: ") + e.what();
    return train ? line : remember(line);
  }
}

}  // namespace

TEST_CASE("every plugin of each kind, by one word, in each shipped configuration: it runs, or a line says why not") {
  const char* table = std::getenv("RETORT_SWAPS");
  std::ofstream out(table != nullptr ? table : "/dev/null");
  std::map<std::string, int> counts;
  std::map<std::string, std::string> known;
  const std::set<std::string> trained = {"mixture.toml", "captions.toml"};
  for (const auto& [folder, may_train] : {std::pair("/configs", true), std::pair("/configs/paper", false)}) {
    size_t number = 0;
    for (const fs::path& file : configurations(folder)) {
      constexpr size_t few = 6;  // those in configs/paper/ differ little
      if (!may_train && table == nullptr && number++ % few != 0) {
        continue;
      }
      const bool train = may_train && (table != nullptr || trained.contains(file.filename().string()));
      for (const char* kind : {"backend", "dataset", "teacher", "network", "solver", "schedule", "loss", "metric",
                               "tracker", "autoencoder"}) {
        for (const std::string& name : registry().names(kind)) {
          CAPTURE(file.string());
          CAPTURE(kind);
          CAPTURE(name);
          std::string is;
          CHECK_NOTHROW(is = outcome(file, kind, name, train, known));
          CHECK(!is.empty());
          CHECK(is.find('\n') == std::string::npos);
          const bool refused = is.starts_with("refused");
          const auto names = [&](const std::string& what) { return is.find(what) != std::string::npos; };
          // A refusal says where: the file, the command line, or the key.
          CHECK((!refused || names(".toml") || names("command line") || names(".type: ") || names("evaluate.") ||
                 names("backend '")));
          counts[refused ? "refused" : is] += 1;
          out << fs::relative(file, source_dir()).string() << "\t" << kind << "\t" << name << "\t" << is << std::endl;
        }
      }
    }
  }
  CHECK(counts["runs"] > 0);
  MESSAGE(counts["runs"] << " run, " << counts["is evaluated"] << " are evaluated, " << counts["refused"]
                         << " are refused");
}
