/// Times even in the process's own unit.
///
///     [schedule]
///     type = "uniform"
///     steps = 50
///     t_min = 1e-3
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class Uniform final : public Schedule {
 public:
  explicit Uniform(Params& p)
      : steps_(p.get("steps", 50, "solver steps", at_least(1))),
        t_max_(p.get("t_max", 0.0, "first time; 0: the process's noisiest", at_least(0))),
        t_min_(p.get("t_min", 0.0, "last time", at_least(0))) {
    if (t_max_ > 0 && t_min_ >= t_max_) {
      throw p.error("t_min", "is not below t_max; expected t_min < t_max");
    }
  }

  Tensor times(const Process& process, double) const override {
    const double first = t_max_ > 0 ? t_max_ : process.t_max();
    if (t_min_ >= first) {
      throw RequestError("schedule.t_min is not below the process's noisiest time, " + std::to_string(first));
    }
    return at::linspace(first, t_min_, steps_ + 1, at::kDouble);
  }

 private:
  int64_t steps_;
  double t_max_, t_min_;
};

RETORT_PLUGIN(Uniform, schedule, uniform)
