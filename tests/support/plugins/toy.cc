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
  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History&) const override {
    return ddim_step(ode.process(), x, ode.data(x, t) * gain_, t, s);
  }

 private:
  double gain_;
};

RETORT_PLUGIN(Toy, solver, toy)
