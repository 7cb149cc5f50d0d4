/// A toy solver for the tests: DDIM under another name, in a folder of its own.
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

double helper() { return 1; }

class Toy final : public Solver {
 public:
  explicit Toy(Params& p) : gain_(p.get("gain", 1.0, "factor of the prediction", more_than(0))) {}
  int order() const override { return 1; }
  int evaluations() const override { return static_cast<int>(helper()); }
  Tensor step(const Step& step, const Tensor& x) const override {
    return ddim_step(step.from, step.to, x, step.ode.data(x, step.from.t()) * gain_);
  }

 private:
  double gain_;
};

RETORT_PLUGIN(Toy, solver, toy)
