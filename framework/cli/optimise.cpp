#include <ATen/ATen.h>

#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "config/experiment.h"
#include "config/toml.h"
#include "evaluate/evaluator.h"
#include "io/files.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "sample/conditions.h"
#include "sample/optimise.h"
#include "sample/sampler.h"
#include "sample/student_times.h"

namespace retort {

namespace {

struct OptimiseRequest {
  RunRequest run;
  std::string method = "gits", out;
  std::string checkpoint, by;
  int64_t samples = 64, fine = 60, rounds = 40;
  int64_t seed = 1000;
  double weight = 1.15;
};

// Before the work, whether its result can be written.
void check_place(const std::string& out) {
  const std::filesystem::path place = std::filesystem::absolute(out);
  std::error_code none;
  if (std::filesystem::is_directory(place, none)) {
    throw RequestError("--out " + out + ": is a folder; expected a file");
  }
  make_folder(place.parent_path());
}

// A configuration of the schedule with these times.
Value schedule_of(const Tensor& times) {
  Array list;
  for (int64_t i = 0; i < times.size(0); ++i) {
    list.push_back(Value{times[i].item<double>(), {}});
  }
  Value out;
  out["schedule"]["type"] = Value{std::string(RETORT_SCHEDULE_OF_TIMES), {}};
  out["schedule"]["times"] = Value{list, {}};
  return out;
}

// The noise that grids are found for, and other noise that they are judged by.
struct Noises {
  Batch found, judged;
};

void optimise(const OptimiseRequest& request, const Registry& registry) {
  check_place(request.out);
  const Value config = expand(load_config(request.run))[0].config;
  Experiment e(config, "optimise", registry, Parts::all,
               model_maker(registry, Store(shared_folder(config, request.run)), Models::find));
  if (!e.teacher || !e.solver || !e.schedule) {
    throw RequestError(request.run.config + ": [teacher], [solver] and [schedule] are needed to find a schedule");
  }
  if (e.solver->stochastic()) {
    throw RequestError(request.run.config + ": solver.type draws noise; expected one whose ends are the ODE's");
  }
  const Tensor grid = e.schedule->times(e.process(), 1.0);
  const int64_t steps = grid.size(0) - 1;
  if (request.method == "gits" && request.fine < steps) {
    throw RequestError("--fine " + std::to_string(request.fine) + ": is less than the schedule's " +
                       std::to_string(steps) + " intervals; expected as many or more");
  }
  const at::NoGradGuard no_grad;
  const double guidance = middle_guidance(e);
  const Noises noise = {starting_noise(e, grid, request.samples, request.seed, guidance),
                        starting_noise(e, grid, request.samples, request.seed + 1, guidance)};
  const Value empty;
  Params of_reference(empty, "solver", &e);
  const auto reference =
      std::static_pointer_cast<Solver>(registry.make(Solver::kind, RETORT_FINE_SOLVER, of_reference));
  const Tensor whole = at::stack({grid[0], grid[-1]});
  const auto ends = [&](const Batch& start) {
    return solve(Ode(*e.teacher).with(start.condition), *reference, whole, start.x);
  };
  const Ode ode = Ode(*e.teacher).with(noise.found.condition);
  const GridProblem problem{ode, *e.solver, noise.found.x};
  Tensor found;
  if (request.method == "gits") {
    // Fine times between the schedule's own, so that they lie where it has them.
    const Tensor place = at::linspace(0, static_cast<double>(steps), request.fine + 1, at::kDouble);
    const Tensor low = place.floor().clamp_max(static_cast<double>(steps - 1)).to(at::kLong), share = place - low;
    const Tensor fine = grid.index_select(0, low) * (1 - share) + grid.index_select(0, low + 1) * share;
    found = grid_by_local_errors(problem, *reference, fine, steps, request.weight);
  } else {
    found = grid_by_end_error(problem, ends(noise.found), grid, request.rounds, [&](int64_t round, double error) {
      log::info("round " + std::to_string(round) + " of " + std::to_string(request.rounds) + ": mean squared error " +
                Value{error, {}}.text());
    });
  }
  const Ode judging = Ode(*e.teacher).with(noise.judged.condition);
  const GridProblem fresh{judging, *e.solver, noise.judged.x};
  const Tensor goal = ends(noise.judged);
  const double before = end_error(fresh, goal, grid), after = end_error(fresh, goal, found);
  char line[200];
  std::snprintf(line, sizeof line,
                "mean squared error of the ends, on %lld samples of fresh noise: %.4g, before %.4g (%.2f times)",
                static_cast<long long>(request.samples), after, before, before / after);
  write_text(request.out, "# Found by `retort optimise`, method " + request.method + ". In units of process '" +
                              e.process().name() + "'.\n# The " + line + ".\n" + write_toml(schedule_of(found)));
  log::info(line);
  log::info("the schedule is in " + request.out);
}

// The student of a checkpoint, and one of the configured metrics, at chosen times of its sampler.
class StudentAtTimes {
 public:
  StudentAtTimes(Experiment& e, const OptimiseRequest& request)
      : by_(request.by), model_(model_of(e, request.checkpoint)) {
    // The fresh noise and the drawn references are those of the next seed.
    e.evaluate->seed = request.seed;
    found_ = std::make_unique<ModelEvaluator>(e, e.teacher.get(), shared_, "found", middle_guidance(e));
    keep_metric(e);
    e.evaluate->seed = request.seed + 1;
    judged_ = std::make_unique<ModelEvaluator>(e, e.teacher.get(), shared_, "judged", middle_guidance(e));
  }
  double value(const Tensor& times) { return value_of(*found_, times); }
  const std::string& by() const { return by_; }
  double on_fresh_noise(const Tensor& times) { return value_of(*judged_, times); }

 private:
  static Model model_of(Experiment& e, const std::string& path) {
    const Checkpoint checkpoint = e.checkpoint(path);
    e.check_model(checkpoint, path);
    return e.model(e.backend().compile(e.network(checkpoint, path)));
  }

  // Of the metrics, only that is computed again and again which gives the value.
  void keep_metric(Experiment& e) {
    const Tensor grid = e.schedule->times(e.process(), 1.0);
    std::vector<std::string> known;
    const auto all = std::move(e.metrics);
    for (const auto& metric : all) {
      e.metrics = {metric};
      for (const auto& [name, unused] : measure(*found_, sampler_times(grid, 1)).values) {
        known.push_back(name);
        if (by_.empty() || name == by_) {
          by_ = name;
          return;
        }
      }
    }
    std::string list;
    for (const std::string& name : known) {
      list += (list.empty() ? "" : ", ") + name;
    }
    throw RequestError("--by " + by_ + ": is not measured" + did_you_mean(by_, known) + "; evaluate.metrics gives " +
                       (list.empty() ? "nothing" : list));
  }

  Measurement measure(ModelEvaluator& evaluator, const Tensor& times) {
    return evaluator.measure({&model_, times.size(0) - 1, times}).measurement;
  }

  double value_of(ModelEvaluator& evaluator, const Tensor& times) {
    for (const auto& [name, value] : measure(evaluator, times).values) {
      if (name == by_) {
        return value;
      }
    }
    throw Error("metric '" + by_ + "' gave no value in " + std::to_string(times.size(0) - 1) + " steps");
  }

  std::string by_;
  Model model_;
  SharedTensors shared_;
  std::unique_ptr<ModelEvaluator> found_, judged_;
};

void optimise_student(const OptimiseRequest& request, const Registry& registry) {
  check_place(request.out);
  const Value config = expand(load_config(request.run))[0].config;
  Experiment e(config, "optimise", registry, Parts::all,
               model_maker(registry, Store(shared_folder(config, request.run)), Models::find));
  if (!e.loss || !e.schedule || !samples_by_itself(e.loss->makes()) || e.loss->makes() == Makes::generator) {
    throw RequestError(request.run.config +
                       ": trains no student that samples in several steps; expected a [schedule], and a loss "
                       "of consistency models or flow maps");
  }
  std::vector<int64_t> several = e.evaluate->student_steps;
  std::erase(several, 1);
  if (several.empty()) {
    throw RequestError(request.run.config +
                       ": evaluate.student_steps has no sampler of two steps or more; there is no time "
                       "to choose");
  }
  const at::NoGradGuard no_grad;
  const Tensor grid = e.schedule->times(e.process(), 1.0);
  const std::vector<std::vector<double>> chosen = e.evaluate->student_times;
  StudentAtTimes student(e, request);
  Array lists;
  std::string comment;
  for (const int64_t steps : several) {
    const std::string name = std::to_string(steps) + " steps";
    const Tensor usual = sampler_times(grid, steps, chosen);
    const Tensor found = search_sampler_times(
        e.process(), usual, request.rounds, [&](const Tensor& times) { return student.value(times); },
        [&](int64_t round, double value) {
          log::info(name + ", round " + std::to_string(round) + ": " + student.by() + " " + Value{value, {}}.text());
        });
    Array list;
    for (int64_t k = 1; k < steps; ++k) {
      list.push_back(Value{found[k].item<double>(), {}});
    }
    lists.push_back(Value{list, {}});
    char line[200];
    std::snprintf(line, sizeof line, "%s: %s on fresh noise %.4g, before %.4g", name.c_str(), student.by().c_str(),
                  student.on_fresh_noise(found), student.on_fresh_noise(usual));
    log::info(line);
    comment += std::string("# ") + line + "\n";
  }
  Value out;
  out["evaluate"]["student_times"] = Value{lists, {}};
  write_text(request.out, "# Found by `retort optimise --checkpoint`, in units of process '" + e.process().name() +
                              "'.\n" + comment + write_toml(out));
  log::info("the times are in " + request.out);
}

}  // namespace

void add_optimise(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<OptimiseRequest>();
  CLI::App* command = app.add_subcommand("optimise",
                                         "find the times at which a solver solves this teacher's ODE best, as many as "
                                         "[schedule] has; or, with --checkpoint, those "
                                         "at which a student's sampler of evaluate.student_steps does best");
  command->add_option("CONFIG", request->run.config, "configuration with [teacher], [solver] and [schedule]")
      ->required();
  command->add_option("OVERRIDES", request->run.overrides, "key=value");
  command->add_option("--out", request->out, "a configuration with what was found, to be used by `extends`")
      ->required();
  command->add_option("--method", request->method, "gits: least errors of single steps; ld3: least error of the ends")
      ->check(CLI::IsMember({"gits", "ld3"}))
      ->capture_default_str();
  command->add_option("--checkpoint", request->checkpoint,
                      "a student's weights, such as runs/NAME/checkpoints/step_001500.safetensors");
  command->add_option(
      "--by", request->by,
      "with --checkpoint: the measured value that is to be least; by default the first of evaluate.metrics");
  command->add_option("--samples", request->samples, "how many trajectories")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--fine", request->fine, "gits: intervals of the grid that times are chosen from")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--weight", request->weight, "gits: how many times more an error counts one step later")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--rounds", request->rounds, "ld3, --checkpoint: rounds of the search at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", request->seed, "of the noise")->check(CLI::NonNegativeNumber)->capture_default_str();
  for (const char* other : {"--method", "--samples", "--fine", "--weight"}) {  // which are for a solver's times
    command->get_option(other)->excludes(command->get_option("--checkpoint"));
  }
  command->callback(
      [request, &shared] { (request->checkpoint.empty() ? optimise : optimise_student)(*request, shared.registry()); });
}

}  // namespace retort
