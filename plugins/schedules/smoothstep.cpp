/// Times along the cubic that is flat at both ends: many steps near noise and near data, few between.
///
/// t_i = t_min + s(1 - i / steps) (t_max - t_min) with s(u) = u^2 (3 - 2 u), i = 0 … steps. It is near `beta`.
/// Source: stable-diffusion.cpp, its scheduler of this name, which rounds to whole steps of a table.
///
///     [schedule]
///     type = "smoothstep"
///     steps = 20
#include <retort/plugin.h>

#include "time_span.h"

using namespace retort;

class Smoothstep final : public Schedule {
 public:
  explicit Smoothstep(Params& p) : span_(p, 20) {}

  Tensor times(const Process& process, double) const override {
    const Tensor u = span_.falling();
    return span_.times(process, u.square() * (3 - 2 * u));
  }

 private:
  TimeSpan span_;
};

RETORT_PLUGIN(Smoothstep, schedule, smoothstep)
