#include <ATen/ATen.h>

#include "cli/commands.h"
#include "config/experiment.h"
#include "io/safetensors.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "sample/sampler.h"

namespace retort {

namespace {

struct SolveRequest {
  RunRequest run;
  std::string start, out, trajectory, start_time;
  std::string dtype = "float32";
};

Tensor starting_times(const std::string& path, int64_t rows) {
  if (path.empty()) {
    return {};
  }
  const Tensor t = read_samples(path, {1}).flatten();
  if (t.size(0) != rows) {
    throw RequestError(path + ": has " + std::to_string(t.size(0)) + " time(s) for " + std::to_string(rows) +
                       " sample(s)");
  }
  return t;
}

// What the teacher is told of each point: tensors of its inputs' names beside the points.
Conditioning conditions_of(const std::string& path, const Teacher& teacher, const Tensor& x) {
  Conditioning out;
  if (!path.ends_with(".safetensors")) {
    return out;
  }
  const std::map<std::string, Tensor> beside = read_safetensors(path).tensors;
  for (const Input& input : teacher.inputs()) {
    const auto found = beside.find(input.name);
    if (found == beside.end()) {
      continue;
    }
    std::vector<int64_t> wanted = input.shape;
    wanted.insert(wanted.begin(), x.size(0));
    if (found->second.sizes() != at::IntArrayRef(wanted)) {
      throw RequestError(path + ": '" + input.name + "' is of shape " + c10::str(found->second.sizes()) +
                         "; expected " + c10::str(at::IntArrayRef(wanted)));
    }
    const auto dtype = input.classes > 0 ? at::kLong : input.dtype == at::kFloat ? x.scalar_type() : input.dtype;
    out.set(input.name, found->second.to(x.device(), dtype));
  }
  return out;
}

void solve_points(const SolveRequest& request, const Registry& registry) {
  RunRequest asked = request.run;
  if (request.dtype == "float64") {
    asked.overrides.emplace_back("backend.precision=float64");
  }
  const Value config = expand(load_config(asked))[0].config;
  Experiment experiment(config, "solve", registry, Parts::solving,
                        model_maker(registry, Store(shared_folder(config, asked)), Models::find));
  for (const auto& [there, name] :
       {std::pair(experiment.teacher != nullptr, "teacher"), std::pair(experiment.solver != nullptr, "solver"),
        std::pair(experiment.schedule != nullptr, "schedule")}) {
    if (!there) {
      throw RequestError(asked.config + ": [" + name + "] is missing; solve needs a teacher, a solver and a schedule");
    }
  }
  const Backend& backend = experiment.backend();
  const auto dtype = request.dtype == "float64" ? at::kDouble : at::kFloat;
  const Tensor x = read_samples(request.start, experiment.teacher->shape()).to(backend.device(), dtype);
  require_finite(x, request.start + ": points");
  const Tensor grid = experiment.schedule->times(experiment.process());
  const Tensor times = starting_times(request.start_time, x.size(0));
  // Every grid point, for each row its own start until it joins: [n, N + 1, …]
  std::vector<Tensor> points = {x};
  const Observer observer = [&](double, const Tensor& index, const Tensor& state) {
    points.push_back(points.back().index_copy(0, index.to(x.device()), state));
  };
  const at::NoGradGuard no_grad;
  const Ode ode(*experiment.teacher, conditions_of(request.start, *experiment.teacher, x));
  const Tensor end = solve(ode, *experiment.solver, grid, x, times, request.trajectory.empty() ? Observer{} : observer);
  require_finite(end, "the ends");
  write_samples(request.out, end);
  if (!request.trajectory.empty()) {
    write_samples(request.trajectory, at::stack(points, 1));
  }
  log::info(std::to_string(x.size(0)) + " sample(s), " + std::to_string(grid.size(0) - 1) + " steps, " +
            std::to_string(ode.evaluations()) + " teacher evaluations");
}

}  // namespace

void add_solve(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<SolveRequest>();
  CLI::App* command =
      app.add_subcommand("solve", "solve the teacher's ODE from given points, to hold a solver against your own code");
  command->add_option("CONFIG", request->run.config, "configuration with [teacher], [solver] and [schedule]")
      ->required();
  command->add_option("OVERRIDES", request->run.overrides, "key=value");
  command
      ->add_option("--start", request->start,
                   "points to begin from: CSV (a sample a line) or .safetensors (tensor x, and beside it what the "
                   "teacher is told of each, by the inputs' names)")
      ->required();
  command->add_option("--out", request->out, "where their ends go, in the same order; CSV or .safetensors")->required();
  command->add_option("--trajectory", request->trajectory,
                      "also write every grid point: one line a sample, its points side by side");
  command->add_option("--start-time", request->start_time,
                      "a starting time for each sample, one a line; all end at the grid's end");
  command->add_option("--dtype", request->dtype, "float32 or float64")->check(CLI::IsMember({"float32", "float64"}));
  command->callback([request, &shared] { solve_points(*request, shared.registry()); });
}

}  // namespace retort
