// Every part works with every other that it claims to work with: teachers x processes x grids x solvers x reference
// solvers x metrics on tiny data either give finite numbers, or are refused by a line before any work. A part is
// walked; RETORT_WALK_ALL=1 walks all.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "run/cell_run.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::vector<std::string> processes = {"ve", "vp_linear", "vp_scaled_linear", "vp_cosine", "rectified_flow"};

// Grids to zero and above it, in the process's own time (of unit `t`) or in noise levels.
std::vector<std::string> grids(const std::string& process) {
  const double t = process == "ve" ? 20 : process == "vp_scaled_linear" ? 1000 : process == "vp_cosine" ? 0.9946 : 1;
  const auto number = [](double v) { return Value{v, {}}.text(); };
  const std::string first = "t_max = " + number(t);
  return {"type = \"karras\"\nsteps = 5\nsigma_max = 9.0",
          "type = \"karras\"\nsteps = 5\nsigma_max = 9.0\nsigma_min = 0.1\nfinal_zero = false",
          "type = \"log_snr\"\nsteps = 5\nsigma_max = 9.0",
          "type = \"log_snr\"\nsteps = 5\nsigma_max = 9.0\nsigma_min = 0.1\nfinal_zero = false",
          "type = \"uniform\"\nsteps = 5\n" + first,
          "type = \"uniform\"\nsteps = 5\n" + first + "\nt_min = " + number(0.05 * t),
          "type = \"ddpm\"\nsteps = 5",
          "type = \"explicit\"\ntimes = [" + number(0.9 * t) + ", " + number(0.4 * t) + ", " + number(0.02 * t) + "]"};
}

const std::vector<std::string> solvers = {"type = \"euler\"",
                                          "type = \"ddim\"",
                                          "type = \"heun\"",
                                          "type = \"heun\"\nvariable = \"time\"",
                                          "type = \"heun\"\nvariable = \"time\"\nfinal_step = \"heun\"",
                                          "type = \"dpm_solver\"\norder = 1",
                                          "type = \"dpm_solver\"\norder = 2",
                                          "type = \"dpm_solver\"\norder = 3",
                                          "type = \"dpmpp_2m\"",
                                          "type = \"rk45\"\nrtol = 1e-2\natol = 1e-2"};

std::string table(const std::string& name, const std::string& body) { return "[" + name + "]\n" + body + "\n"; }

const std::string small =
    table("backend", "type = \"cpu\"\nthreads = 1") +
    table("dataset", "type = \"gaussian_mixture\"\nlayout = \"ring\"\nsamples = 40\ntest_samples = 20") +
    table("network", "type = \"mlp\"\nwidth = 8\ndepth = 1\nembedding = 4");

CellRun cell_of(const std::string& toml, const std::filesystem::path& folder, const Folder& place) {
  write_text(place / "walk.toml", toml);
  Cell cell;
  cell.config = read_config((place / "walk.toml").string());
  return {cell, "walk", folder, registry(), Store(place / "cache"), Models::find};
}

// The checkpoint of a network that has learned one step of denoising.
std::string trained(const std::string& process, const std::string& predicts, const Folder& place) {
  const auto folder = place / (process + predicts);
  cell_of(small + table("process", "type = \"" + process + "\"") +
              table("student", "boundary = \"time_scaled\"\nparametrisation = \"" + predicts + "\"") +
              table("loss", "type = \"denoising\"") + table("train", "steps = 1\nbatch = 8"),
          folder, place)
      .train(nullptr);
  return (folder / "checkpoints" / "step_000001.safetensors").string();
}

}  // namespace

TEST_CASE("teachers x processes x grids x solvers x reference solvers x metrics: numbers, or a line before the work") {
  Folder place;
  std::string metrics;
  for (const std::string& name : registry().names(Metric::kind)) {
    // Of models that make no samples, and of text and files that are not here.
    static const std::set<std::string> left_out = {"accuracy",   "reconstruction", "retrieval",
                                                   "clip_score", "aesthetic",      "python"};
    metrics += left_out.contains(name) ? "" : (metrics.empty() ? "\"" : ", \"") + name + "\"";
  }
  const size_t stride = std::getenv("RETORT_WALK_ALL") != nullptr ? 1 : 13;  // 13 meets each grid and solver
  std::map<std::string, int> refusals;
  size_t walked = 0, number = 0;
  for (const std::string& process : processes) {
    std::vector<std::pair<std::string, std::string>> teachers = {
        {"gaussian_mixture", "type = \"gaussian_mixture\"\nlayout = \"ring\""},
        {"empirical",
         "type = \"empirical\"\ndataset = { type = \"gaussian_mixture\", layout = \"ring\", samples = 30 }"}};
    for (const char* predicts : {"noise", "v", "data", "edm", "flow"}) {
      teachers.emplace_back(std::string("network that predicts ") + predicts,
                            "type = \"network\"\ncheckpoint = \"" + trained(process, predicts, place) + "\"");
    }
    for (const auto& [teacher, teacher_toml] : teachers) {
      for (const std::string& grid : grids(process)) {
        for (size_t i = 0; i < solvers.size(); ++i) {
          if (number++ % stride != 0) {
            continue;
          }
          const std::string& reference = solvers[(i + number) % solvers.size()];
          const std::string toml =
              small + (teacher.starts_with("network") ? "" : table("process", "type = \"" + process + "\"")) +
              table("teacher", teacher_toml) + table("schedule", grid) + table("solver", solvers[i]) +
              table("loss", i % 2 == 0 ? "type = \"cm\"" : "type = \"direct_cm\"") +
              table("train", "steps = 1\nbatch = 8") +
              table("evaluate", "samples = 8\nstudent_steps = [1, 2]\nmetrics = [" + metrics + "]") +
              table("metric.ode_error", "exact_samples = 4\nnoise_levels = 2\nnoise_level_samples = 4") +
              table("metric.ode_error.reference", reference) + table("metric.consistency_error", "samples = 4") +
              table("metric.precision_recall", "neighbours = 3") + table("metric.kid", "subset_size = 4\nsubsets = 3") +
              table("metric.sliced_wasserstein", "directions = 8") +
              table("metric.mode_coverage", "layout = \"ring\"") +
              table("metric.nll", "samples = 1\ntolerance = 1e3\ndata = false") +
              table("metric.sinkhorn", "epsilon = 100.0");
          CAPTURE(process);
          CAPTURE(teacher);
          CAPTURE(grid);
          CAPTURE(solvers[i]);
          CAPTURE(reference);
          ++walked;
          const auto folder = place / "out";
          std::filesystem::remove_all(folder);
          try {
            CellRun cell = cell_of(toml, folder, place);
            cell.try_evaluation();
            make_folder(folder);
            SharedTensors shared;
            CHECK_NOTHROW(cell.train(nullptr));
            CHECK_NOTHROW(cell.evaluate(shared, /*frozen=*/true));
          } catch (const RequestError& e) {
            std::string why = e.what();
            why = why.substr(why.find(": ") + 2);
            refusals[teacher + " on " + process + ", " + solvers[i].substr(7) + ": " + why.substr(0, 120)] += 1;
          }
        }
      }
    }
  }
  int refused = 0;
  for (const auto& [why, count] : refusals) {
    MESSAGE(count << " refused: " << why);
    refused += count;
  }
  MESSAGE(walked << " walked, " << refused << " refused before the work");
  CHECK(static_cast<size_t>(refused) < walked / 10);
}
