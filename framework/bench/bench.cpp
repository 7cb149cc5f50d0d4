#include "bench/bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/profiler/util.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>

#include "log.h"
#include "train/optimizer.h"
#include "train/weights.h"

namespace retort {

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

struct Stage {
  std::string name;
  int64_t rows;        // network evaluations that it stands for; 0: no evaluations
  double evaluations;  // in units of a forward pass: a backward pass counts as two
  std::function<void()> work;
  std::vector<double> seconds;

  double quantile(double q) const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
};

// What LibTorch's profiler counts for convolutions and matrix products, over one call.
double flops_of(const std::function<void()>& work) {
  static thread_local double total;
  total = 0;
  namespace profiler = torch::profiler::impl;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback([](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
        total += static_cast<double>(profiler::computeFlops(f.name(), profiler::saveExtraArgs(f)));
        return nullptr;
      })
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return total;
}

// GFLOP/s of a float32 matrix product of 1536 x 1536, the best of some.
double gemm_gflops() {
  constexpr int64_t side = 1536;
  const Tensor a = at::ones({side, side}), b = at::ones({side, side});
  double least = 1e9;
  for (int i = 0; i < 6; ++i) {
    least = std::min(least, seconds_of([&] { at::mm(a, b); }));
  }
  return 2.0 * side * side * side / least / 1e9;
}

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) {
      return line.substr(line.find(':') + 2);
    }
  }
  return "unknown processor";
}

// Evaluations of a solve from these times: each row its own steps, and every row as many as the noisiest needs.
Json count_evaluations(const Tensor& index, int64_t intervals, int64_t each) {
  const int64_t rows = index.size(0);
  const int64_t packed = (intervals - index).sum().item<int64_t>() * each;
  const int64_t unpacked = (intervals - index.min().item<int64_t>()) * rows * each;
  return {{"packed", packed}, {"unpacked", unpacked}};
}

}  // namespace

Json bench(Experiment& e, int64_t rounds) {
  const Backend& frozen = e.backend();
  const int64_t batch = e.train->batch;
  const auto network = e.new_network();
  Weights weights(*network);
  {
    const at::NoGradGuard no_grad;  // the zero weights that some layers begin with would hide work
    for (Tensor& p : network->module()->parameters()) {
      p.add_(at::randn(p.sizes(), seeded(0, "bench"), p.options()), 0.01);
    }
  }
  Optimizer optimizer(weights, *e.train);
  const Model student = e.model(e.training_backend().trainable(network));
  const Model target = e.model(frozen.compile(network));
  const Tensor index = at::arange(batch, at::kLong);
  Batch data = e.dataset->batch(Split::train, index.remainder(e.dataset->size(Split::train)));
  data.x = data.x.to(frozen.device(), frozen.dtype());
  if (e.classes() == 0) {
    data.condition = {};
  }
  const Tensor noise = normal_like(data.x, seeded(0, "bench noise"));

  const bool distils = e.teacher != nullptr && e.solver != nullptr && e.schedule != nullptr;
  const Tensor grid = distils ? e.schedule->times(e.process()) : Tensor();
  const int64_t intervals = distils ? grid.size(0) - 1 : 0;
  std::optional<Ode> ode;
  Tensor t, s, drawn;
  if (distils) {
    ode.emplace(*e.teacher, data.condition);
    drawn = e.schedule->draw(intervals, batch, seeded(0, "bench times"));
    t = grid.index_select(0, drawn);
    s = grid.index_select(0, drawn + 1);
  } else {
    t = at::full({batch}, e.process().t_max() / 2, at::kDouble);
  }
  const Tensor x = e.process().add_noise(data.x, noise, t);
  int64_t step = 0;
  const auto whole = [&] {
    target.evaluator().refresh();
    const TrainingStep one{data,
                           student,
                           target,
                           ode ? &*ode : nullptr,
                           e.solver.get(),
                           e.schedule.get(),
                           e.process(),
                           seeded(0, "bench step", static_cast<uint64_t>(step)),
                           0.5,
                           e.classes()};
    (*e.loss)(one).per_row.mean().backward();
    optimizer.step(step++);
  };

  std::vector<Stage> stages;
  stages.push_back({"batch of data",
                    0,
                    0,
                    [&] { e.dataset->batch(Split::train, index.remainder(e.dataset->size(Split::train))); },
                    {}});
  if (distils) {
    stages.push_back({"teacher, one evaluation", batch * e.teacher->cost(), 1, [&] { ode->data(x, t); }, {}});
    stages.push_back({"solver, one step",
                      0,
                      0,
                      [&] {
                        const at::NoGradGuard no_grad;
                        History history;
                        history.grow(batch);
                        e.solver->step(*ode, x, t, s, history);
                      },
                      {}});
    stages.push_back({"solve to the end, packed",
                      0,
                      0,
                      [&] {
                        const at::NoGradGuard no_grad;
                        solve(*ode, *e.solver, grid, x, t);
                      },
                      {}});
    stages.push_back({"target, one evaluation",
                      batch,
                      1,
                      [&] {
                        const at::NoGradGuard no_grad;
                        target.data(x, t, data.condition);
                      },
                      {}});
  }
  if (e.loss->objective() != Objective::classifier) {
    stages.push_back({"student, forward",
                      batch,
                      1,
                      [&] {
                        const at::NoGradGuard no_grad;
                        student.data(x, t, data.condition);
                      },
                      {}});
    stages.push_back({"student, forward and backward",
                      batch,
                      3,
                      [&] { student.data(x, t, data.condition).square().mean().backward(); },
                      {}});
  }
  stages.push_back({"optimizer", 0, 0, [&] { optimizer.step(step++); }, {}});
  stages.push_back({"training step, whole", 0, 0, whole, {}});

  log::Progress progress("bench", (rounds + 1) * static_cast<int64_t>(stages.size()));
  for (int64_t round = 0; round <= rounds; ++round) {
    for (Stage& stage : stages) {
      const double taken = seconds_of(stage.work);
      if (round > 0) {
        stage.seconds.push_back(taken);
      }
      progress.advance();
    }
  }
  const double peak = gemm_gflops();
  double per_row = 0;
  {
    const at::NoGradGuard no_grad;
    const Tensor one = x.narrow(0, 0, 1), time = t.narrow(0, 0, 1);
    per_row = flops_of([&] {
                if (e.loss->objective() == Objective::classifier) {
                  network->forward(one, {}, {});
                } else {
                  student.raw(one, time, data.condition.first(1));
                }
              }) /
              1e9;
  }
  Json out = {{"machine", processor() + ", " + std::to_string(at::get_num_threads()) + " thread(s)"},
              {"backend", frozen.describe()},
              {"training_backend", e.training_backend().describe()},
              {"batch", batch},
              {"gemm_gflops", peak},
              {"network_gflop", per_row},
              {"stages", Json::array()}};
  for (const Stage& stage : stages) {
    Json row = {{"name", stage.name},
                {"median", stage.quantile(0.5)},
                {"low", stage.quantile(0.25)},
                {"high", stage.quantile(0.75)}};
    if (stage.rows > 0) {
      row["rows"] = stage.rows;
      row["share_of_gemm"] = per_row * static_cast<double>(stage.rows) * stage.evaluations / stage.quantile(0.5) / peak;
    }
    out["stages"].push_back(row);
  }
  if (distils && e.solver->evaluations() > 0) {
    out["teacher_evaluations"] = count_evaluations(drawn, intervals, e.solver->evaluations() * e.teacher->cost());
  }
  return out;
}

}  // namespace retort
