/// Noise levels that were optimised for Stable Diffusion: Align Your Steps.
///
/// Levels sigma / alpha of 10 steps from a table of the authors; of any other number, by linear interpolation of
/// log sigma. The table's last level becomes 0 if final_zero.
/// Source: Sabour et al. 2024 (arXiv 2404.14507), and the tables of its quick start guide.
///
///     [schedule]
///     type = "ays"
///     model = "sd15"                 # or "sdxl", "svd"
///     steps = 10
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

#include <array>
#include <string>
#include <vector>

using namespace retort;

namespace {

using Levels = std::array<double, 11>;
constexpr Levels sd15 = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029};
constexpr Levels sdxl = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029};
constexpr Levels svd = {700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002};

}  // namespace

class Ays final : public Schedule {
 public:
  explicit Ays(Params& p)
      : steps_(p.get("steps", 10, "solver steps", at_least(2))),
        final_zero_(p.get("final_zero", true, "end at sigma = 0, in place of the table's last level")) {
    const std::string model =
        p.choice("model", "sd15", {"sd15", "sdxl", "svd"}, "Stable Diffusion 1.5, XL, or Stable Video Diffusion");
    levels_ = model == "sd15" ? sd15 : model == "sdxl" ? sdxl : svd;
  }

  Tensor times(const Process& process, double) const override {
    const Tensor knots = at::tensor(std::vector<double>(levels_.begin(), levels_.end()), at::kDouble).log();
    const Tensor place = at::arange(steps_ + 1, at::kDouble) * static_cast<double>(levels_.size() - 1) / steps_;
    const Tensor before = place.floor().clamp_max(static_cast<double>(levels_.size() - 2));
    const Tensor from = knots.index_select(0, before.to(at::kLong));
    const Tensor to = knots.index_select(0, before.to(at::kLong) + 1);
    Tensor levels = (from + (place - before) * (to - from)).exp();
    if (final_zero_) {
      levels[-1] = 0;
    }
    return process.time_of_noise_level(levels);
  }

 private:
  int64_t steps_;
  bool final_zero_;
  Levels levels_;
};

RETORT_PLUGIN(Ays, schedule, ays)
