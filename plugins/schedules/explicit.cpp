/// The times that you list, in the process's own unit, or as noise levels sigma / alpha.
///
///     [schedule]
///     type = "explicit"
///     times = [10.0, 1.0, 0.1]
///     unit = "time"                  # or "noise_level"
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class Explicit final : public Schedule {
 public:
  explicit Explicit(Params& p)
      : times_(p.require("times", std::vector<double>{10.0, 1.0, 0.1}, "falling times; the solver visits just these",
                         at_least(0))),
        of_levels_(p.choice("unit", "time", {"time", "noise_level"}, "of the listed numbers") == "noise_level") {
    if (times_.size() < 2) {
      throw p.error("times", "has fewer than two times; expected at least a first and a last");
    }
    for (size_t i = 1; i < times_.size(); ++i) {
      if (!(times_[i] < times_[i - 1])) {
        throw p.error("times",
                      "rises or repeats at entry " + std::to_string(i + 1) + "; expected strictly falling times");
      }
    }
  }

  Tensor times(const Process& process, double) const override {
    const Tensor listed = at::tensor(times_, at::kDouble);
    return of_levels_ ? process.time_of_noise_level(listed) : listed;
  }

 private:
  std::vector<double> times_;
  bool of_levels_;
};

RETORT_PLUGIN(Explicit, schedule, explicit)
