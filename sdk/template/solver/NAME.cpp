/// The explicit midpoint method in the angle atan2(sigma, alpha).
///
/// Second order, two evaluations a step. With z = x / sqrt(alpha^2 + sigma^2), the ODE of a diffusion model reads
/// dz/da = cos(a) eps - sin(a) D, which is finite from pure noise (alpha = 0) to clean data (sigma = 0).
///
///     [solver]
///     type = "@name@"
///     node = 0.5
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class @Name@ final : public Solver {
 public:
  // Parameters are declared here, once: what they are, their range and their sentence for `retort inspect`.
  explicit @Name@(Params& p)
      : node_(p.get("node", 0.5, "where in the step the second evaluation lies", {.low = 0, .high = 1, .low_open = true})) {
  }

  int order() const override { return 2; }
  int evaluations() const override { return 2; }

  // x: [B, …]; t and s: [B] float64, the time of each row and the one it goes to.
  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History&) const override {
    const Process& process = ode.process();
    const Tensor from = angle(process, t);
    const Tensor h = angle(process, s) - from;
    const Tensor between = process.time_of_noise_level((from + node_ * h).tan());

    const Tensor z = x / rows(radius(process, t), x);
    const Tensor first = slope(ode, x, t);
    const Tensor x_between = rows(radius(process, between), x) * (z + rows(node_ * h, x) * first);
    const Tensor second = slope(ode, x_between, between);
    const double weight = 1 / (2 * node_);  // order 2 for any node
    return rows(radius(process, s), x) * (z + rows(h, x) * ((1 - weight) * first + weight * second));
  }

 private:
  static Tensor angle(const Process& process, const Tensor& t) { return process.sigma(t).atan2(process.alpha(t)); }
  static Tensor radius(const Process& process, const Tensor& t) {
    return (process.alpha(t).square() + process.sigma(t).square()).sqrt();
  }
  // dz/da, from a single evaluation of the teacher.
  static Tensor slope(const Ode& ode, const Tensor& x, const Tensor& t) {
    const Tensor a = angle(ode.process(), t);
    const auto [data, noise] = ode.predict(x, t);
    return rows(a.cos(), x) * noise - rows(a.sin(), x) * data;
  }

  double node_;
};

RETORT_PLUGIN(@Name@, solver, @name@)
