/// Heun++: Euler's step in sigma / alpha along a mean of up to three noise predictions, here and at the next two times.
///
/// With y = x / alpha and rho = sigma / alpha, Euler's steps lead from rho_i on to rho_{i+1} and rho_{i+2}, where the
/// predictions eps_2 and eps_3 are made; then y moves to rho_{i+1} along w_1 eps_1 + w_2 eps_2 + w_3 eps_3, w_2 =
/// rho_{i+1} / (3 rho_0), w_3 = rho_{i+2} / (3 rho_0), w_1 = 1 - w_2 - w_3, rho_0 the first of the grid (the second,
/// where the first is pure noise). The last step but one has two predictions, w_2 = rho_{i+1} / (2 rho_0), and the last
/// step is Euler's, as are steps that stand alone. The weights are not those of a method of order 2: the less noise is
/// left, the more the step is Euler's.
/// Source: ComfyUI's `heunpp2`, after k-diffusion's Heun.
///
///     [solver]
///     type = "heunpp2"
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

#include <vector>

using namespace retort;

class Heunpp2 final : public Solver {
 public:
  explicit Heunpp2(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 3; }  // two and one in the last two steps
  bool interior() const override { return true; }

  Tensor step(const Step& step, const Tensor& x) const override {
    std::vector<Times> times = {step.from};
    if (step.remaining > 1 && step.grid.defined()) {
      times.push_back(step.to);
    }
    if (const auto next = step.later(); next && step.remaining > 2) {
      times.push_back(*next);
    }
    Tensor state = x, along, first = at::ones_like(step.from.t());  // weight of the first prediction
    std::vector<Term> others;
    for (size_t k = 0; k < times.size(); ++k) {
      const Tensor eps = step.ode.noise(state, times[k].t());
      if (k == 0) {
        along = eps;
      } else {
        const Tensor w = times[k].noise_level() / (static_cast<double>(times.size()) * first_level(step));
        others.push_back({w, eps});
        first = first - w;
      }
      if (k + 1 < times.size()) {
        state = euler(times[k], times[k + 1], state, eps);
      }
    }
    others.push_back({first, along});
    return euler(step.from, step.to, x, combine(others));
  }

 private:
  static Tensor euler(const Times& from, const Times& to, const Tensor& x, const Tensor& eps) {
    return combine({{to.alpha() / from.alpha(), x}, {to.alpha() * (to.noise_level() - from.noise_level()), eps}});
  }

  // The greatest finite level of the grid.
  static Tensor first_level(const Step& step) {
    const Tensor levels = step.ode.process().noise_level(step.grid.narrow(0, 0, 2));
    return at::where(levels[0].isfinite(), levels[0], levels[1]);
  }
};

RETORT_PLUGIN(Heunpp2, solver, heunpp2)
