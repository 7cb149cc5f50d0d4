#include "bench/bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/profiler/util.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "help/machine.h"
#include "log.h"
#include "retort/recompute.h"
#include "sample/conditions.h"
#include "sample/sampler.h"

namespace retort {

namespace {

constexpr const char* whole_step = "training step, whole";

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double quantile(const Stage& stage, double q) {
  std::vector<double> sorted = stage.seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
}

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

Workbench::Workbench(Experiment& e)
    : e_(e),
      network_(e.new_network()),
      weights_(*network_),
      adapter_(Adapter::of(e, *network_, weights_)),
      trained_(adapter_ ? adapter_->factors() : weights_),
      optimizer_(trained_, *e.train),
      roles_(e, weights_) {
  check_trainable(trained_.parameters(), "the student");
  const Backend& frozen = e.backend();
  const int64_t batch = e.train->batch;
  if (!e.student->from_teacher) {
    const at::NoGradGuard no_grad;  // the zero weights that some layers begin with would hide work
    uint64_t index = 0;
    for (Tensor& p : network_->module()->parameters()) {
      p.add_(at::randn(p.sizes(), seeded(0, "bench", index++), p.options()), 0.01);
    }
  }
  student_.emplace(e.model(e.training_backend().trainable(network_)));
  target_.emplace(e.model(frozen.compile(network_)));
  const Tensor index = at::arange(batch, at::kLong);
  data =
      for_model(e, e.dataset->batch(Split::train, index.remainder(e.dataset->size(Split::train))), middle_guidance(e));
  if (e.teacher != nullptr) {
    ode_.emplace(*e.teacher, data.condition);
  }
  if (e.schedule != nullptr) {
    grid = e.schedule->times(e.process());
    intervals = e.schedule->draw(grid.size(0) - 1, batch, seeded(0, "bench times"));
    t = grid.index_select(0, intervals);
    s = grid.index_select(0, intervals + 1);
  } else {
    t = at::full({batch}, e.process().t_max() / 2, at::kDouble);
  }
  x = e.process().add_noise(data.x, normal_like(data.x, seeded(0, "bench noise")), t);
  add_stages();
}

void Workbench::train() {
  const Recompute recompute(e_.train->gradient_checkpointing);
  target_->network().refresh();
  const TrainingStep one{.batch = data,
                         .student = *student_,
                         .target = *target_,
                         .ode = ode_ ? &*ode_ : nullptr,
                         .solver = e_.solver.get(),
                         .schedule = e_.schedule.get(),
                         .process = e_.process(),
                         .generator = seeded(0, "bench step", static_cast<uint64_t>(step_)),
                         .progress = 0.5,
                         .spec = e_.spec(),
                         .index = step_,
                         .stage = step_ / roles_.rhythm() % e_.loss->stages(),
                         .roles = roles_.at_step(step_)};
  const LossValue value = (*e_.loss)(one);
  for (const auto& [name, per_row] : value.roles) {
    if (roles_.due(name, step_)) {
      roles_.backward(name, per_row.mean());
    }
  }
  if (value.per_row.defined()) {
    value.per_row.mean().backward();
    update_student();
  }
  roles_.step(step_);
  ++step_;
}

void Workbench::update_student() {
  if (adapter_) {
    adapter_->pull_gradients();
  }
  optimizer_.step(step_, step_);
  if (adapter_) {
    adapter_->apply();
  }
}

TrainingCost Workbench::training_cost(double enough) {
  train();
  constexpr int least = 3;
  const int64_t cycle = roles_.rhythm() * e_.loss->stages();  // of steps, after which all costs come again
  const int64_t before = ode_ ? ode_->evaluations() : 0;
  TrainingCost out;
  int steps = 0;
  for (; steps < least || out.seconds < enough || steps % cycle != 0; ++steps) {
    out.seconds += seconds_of([this] { train(); });
  }
  out.seconds /= steps;
  out.evaluations = ode_ ? static_cast<double>(ode_->evaluations() - before) / steps : 0;
  return out;
}

void Workbench::add_stages() {
  const int64_t batch = data.x.size(0);
  const auto add = [this](const char* name, int64_t rows, double evaluations, std::function<void()> work) {
    stages.push_back({name, rows, evaluations, std::move(work), {}});
  };
  const auto without_gradients = [](auto work) {
    return [work] {
      const at::NoGradGuard no_grad;
      work();
    };
  };
  add("batch of data", 0, 0, [this, batch] {
    e_.dataset->batch(Split::train, at::arange(batch, at::kLong).remainder(e_.dataset->size(Split::train)));
  });
  if (ode_) {
    add("teacher, one evaluation", batch * e_.teacher->cost(), 1, [this] { ode_->data(x, t); });
  }
  if (ode_ && e_.solver && e_.schedule) {
    add("solver, one step", 0, 0, without_gradients([this, batch] { take_step(*e_.solver, *ode_, x, t, s); }));
    add("solve to the end, packed", 0, 0, without_gradients([this] { solve(*ode_, *e_.solver, grid, x, t); }));
    add("target, one evaluation", batch, 1, without_gradients([this] { target_->data(x, t, data.condition); }));
  }
  if (makes_samples(e_.loss->makes())) {
    add("student, forward", batch, 1, without_gradients([this] { student_->data(x, t, data.condition); }));
    add("student, forward and backward", batch, 3, [this] {
      const Recompute recompute(e_.train->gradient_checkpointing);
      student_->data(x, t, data.condition).square().mean().backward();
    });
  }
  add("optimizer", 0, 0, [this] {
    update_student();
    ++step_;
  });
  add(whole_step, 0, 0, [this] { train(); });
}

double Workbench::gflop_of_row() const {
  const at::NoGradGuard no_grad;
  const Tensor one = x.narrow(0, 0, 1), time = t.narrow(0, 0, 1);
  return flops_of([&] {
           if (!makes_samples(e_.loss->makes())) {
             network_->forward(one, {}, {});
           } else {
             student_->raw(one, time, data.condition.first(1));
           }
         }) /
         1e9;
}

namespace {

// Those that are asked for, each by the beginning of its name.
void keep_wanted(std::vector<Stage>& stages, const std::vector<std::string>& wanted) {
  std::vector<std::string> names;
  std::string all;
  for (const Stage& stage : stages) {
    names.push_back(stage.name);
    all += (all.empty() ? "'" : ", '") + stage.name + "'";
  }
  for (const std::string& one : wanted) {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return name.starts_with(one); })) {
      throw RequestError("--stage: there is no '" + one + "' here" + did_you_mean(one, names) + " (there are: " + all +
                         ")");
    }
  }
  const auto is_left_out = [&](const Stage& stage) {
    return std::none_of(wanted.begin(), wanted.end(), [&](const auto& one) { return stage.name.starts_with(one); });
  };
  if (!wanted.empty()) {
    std::erase_if(stages, is_left_out);
  }
}

}  // namespace

Json bench(Experiment& e, const BenchRequest& request) {
  Workbench work(e);
  keep_wanted(work.stages, request.stages);
  constexpr double warm_by_itself = 10;
  const auto rounds = static_cast<size_t>(request.rounds);
  log::Progress progress("bench", (request.rounds + 1) * static_cast<int64_t>(work.stages.size()));
  for (size_t round = 0; round <= rounds; ++round) {
    for (Stage& stage : work.stages) {
      if (stage.seconds.size() < rounds) {
        const double taken = seconds_of(stage.work);
        if (round > 0 || taken > warm_by_itself) {
          stage.seconds.push_back(taken);
        }
      }
      progress.advance();
    }
  }
  const double peak = gemm_gflops(), per_row = work.gflop_of_row();
  Json out = {{"machine", processor() + ", " + std::to_string(at::get_num_threads()) + " thread(s)"},
              {"backend", e.backend().describe()},
              {"training_backend", e.training_backend().describe()},
              {"batch", e.train->batch},
              {"gemm_gflops", peak},
              {"network_gflop", per_row},
              {"stages", Json::array()}};
  for (const Stage& stage : work.stages) {
    Json row = {{"name", stage.name},
                {"median", quantile(stage, 0.5)},
                {"low", quantile(stage, 0.25)},
                {"high", quantile(stage, 0.75)}};
    if (stage.rows > 0) {
      row["rows"] = stage.rows;
      row["share_of_gemm"] =
          per_row * static_cast<double>(stage.rows) * stage.evaluations / quantile(stage, 0.5) / peak;
    }
    out["stages"].push_back(row);
    if (stage.name == whole_step) {
      out["steps"] = e.train->steps;
      out["training_seconds"] =
          static_cast<double>(e.train->steps * e.train->gradient_accumulation) * quantile(stage, 0.5);
    }
  }
  out["peak_memory_bytes"] = peak_memory();
  if (work.intervals.defined() && e.teacher && e.solver->evaluations() > 0) {
    out["teacher_evaluations"] =
        count_evaluations(work.intervals, work.grid.size(0) - 1, e.solver->evaluations() * e.teacher->cost());
  }
  return out;
}

}  // namespace retort
