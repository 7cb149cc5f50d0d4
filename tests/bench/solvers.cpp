// What a solver costs beside the network: nanoseconds a row and step of pictures [64, 1, 28, 28], with a teacher that
// costs next to nothing, and its share of an evaluation of the shipped Fashion-MNIST teacher, timed just before it.
//     ./retort build retort_solvers_bench && OMP_NUM_THREADS=1 build/release/bin/retort_solvers_bench [SOLVER …]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "config/experiment.h"
#include "config/toml.h"

using namespace retort;

namespace {

constexpr int64_t batch = 64, steps = 20;

// Says that clean data are half the state.
class Half final : public Teacher {
 public:
  Tensor predict(const Tensor& x, const Tensor&, const Conditioning&) const override { return x; }
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return Parametrisation(Predicts::data, 0.5); }
  std::vector<int64_t> shape() const override { return {1, 28, 28}; }

 private:
  Process process_;
};

double seconds(const std::function<void()>& work) {
  work();
  double best = 1e9;
  for (int i = 0; i < 7; ++i) {
    const auto began = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  return best;
}

Value read(const std::string& text) { return parse_toml(text, "bench"); }

}  // namespace

int main(int count, char** words) {
  const at::NoGradGuard no_grad;
  const Registry registry({RETORT_BENCH_PLUGINS});
  const Experiment shipped(read("[teacher]\ntype = \"network\"\ncheckpoint = \"" RETORT_BENCH_TEACHER "\"\n"), "bench",
                           registry, Parts::solving);
  const Tensor x = at::randn({batch, 1, 28, 28}), t = at::full({batch}, 2.0, at::kDouble);
  const Ode network(*shipped.teacher);
  std::printf("Fashion-MNIST's teacher, %d thread(s).\n\n", at::get_num_threads());
  std::printf("%-28s  %12s  %12s  %12s  %10s\n", "solver", "ns row step", "of the time", "ns the net", "evaluations");

  const Half teacher;
  const Tensor levels = at::linspace(std::pow(80.0, 1.0 / 7), std::pow(0.002, 1.0 / 7), steps + 1, at::kDouble).pow(7);
  const double own = [&] {
    const Ode ode(teacher);
    return seconds([&] { ode.predict(x, t); }) / batch;
  }();
  const std::vector<std::string> chosen(words + 1, words + count);
  for (const std::string& name : chosen.empty() ? registry.names(Solver::kind) : chosen) {
    if (name == "python") {
      continue;
    }
    try {
      const Experiment built(read("[solver]\ntype = \"" + name + "\"\n"), "bench", registry, Parts::solving);
      const double evaluation = seconds([&] { network.data(x, t); }) / batch;
      const Ode ode(teacher);
      solve(ode, *built.solver, levels, x * 80);
      const double evaluations = static_cast<double>(ode.evaluations()) / (batch * steps);
      const double each =
          seconds([&] { solve(Ode(teacher), *built.solver, levels, x * 80); }) / (batch * steps) - evaluations * own;
      std::printf("%-28s  %12.0f  %10.2f %%  %12.0f  %10.2f\n", name.c_str(), each * 1e9,
                  100 * each / (evaluations * evaluation), evaluation * 1e9, evaluations);
    } catch (const Error& e) {
      std::printf("%-28s  %s\n", name.c_str(), e.what());
    }
  }
}
