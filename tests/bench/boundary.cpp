// What the plugin boundary costs: one step of a solver that does nothing, through a loaded library as the host calls
// it, and by a direct call of the same class. `./retort build retort_boundary_bench` builds it.
#include <benchmark/benchmark.h>

#include "plugin/registry.h"
#include "retort/ode.h"
#include "retort/solver.h"

using namespace retort;

namespace {

class Nothing final : public Solver {
 public:
  int order() const override { return 1; }
  int evaluations() const override { return 0; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

class NoTeacher final : public Teacher {
 public:
  Tensor predict(const Tensor& x, const Tensor&, const Conditioning&) const override { return x; }
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {}; }
  std::vector<int64_t> shape() const override { return {1}; }

 private:
  Process process_;
};

template <class S>
void steps(benchmark::State& state, const S& solver) {
  const NoTeacher teacher;
  const Ode ode(teacher);
  const Tensor x, t;
  History history;
  const Noise noise;
  const Step step{ode, Times(ode.process(), t), Times(ode.process(), t), history, noise};
  for (auto _ : state) {
    benchmark::DoNotOptimize(solver.step(step, x));
  }
}

void direct(benchmark::State& state) { steps(state, Nothing{}); }

void plugin(benchmark::State& state) {
  static const Registry registry({RETORT_BENCH_PLUGINS});
  const Value empty;
  Params p(empty, "solver", nullptr);
  const auto solver = std::static_pointer_cast<Solver>(registry.make("solver", "nothing", p));
  steps(state, *solver);
}

BENCHMARK(direct);
BENCHMARK(plugin);

}  // namespace

BENCHMARK_MAIN();
