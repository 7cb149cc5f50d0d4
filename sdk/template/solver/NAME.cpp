/// The explicit midpoint method in the angle atan2(sigma, alpha).
///
/// Second order, two evaluations a step. With z = x / sqrt(alpha^2 + sigma^2), the ODE of a diffusion model reads
/// dz/da = cos(a) eps - sin(a) D, which is finite from pure noise (alpha = 0) to clean data (sigma = 0).
///
///     [solver]
///     type = "@name@"
///     node = 0.5
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

using namespace retort;

class @Name@ final : public Solver {
 public:
  // Parameters are declared here, once: what they are, their range and their sentence for `retort inspect`.
  explicit @Name@(Params& p)
      : node_(p.get("node", 0.5, "where in the step the second evaluation lies", {.low = 0, .high = 1, .low_open = true})) {
  }

  int order() const override { return 2; }
  int evaluations() const override { return 2; }

  // Moves x: [B, …] from step.from to step.to, the times of each row. step.ode is the teacher's ODE.
  Tensor step(const Step& step, const Tensor& x) const override {
    const double weight = 1 / (2 * node_);  // order 2 for any node
    return runge_kutta(step, x, Coordinate::angle,
                       {.order = 2, .a = {{}, {node_}}, .b = {1 - weight, weight}, .c = {0, node_}});
  }

 private:
  double node_;
};

RETORT_PLUGIN(@Name@, solver, @name@)
