#include "config/times.h"

#include <ATen/ATen.h>

#include <limits>

namespace retort {

Tensor checked_times(const Schedule& schedule, const Process& process, const std::string& place, double progress) {
  const Tensor times = schedule.times(process, progress);
  if (times.size(0) < 2 || !times.isfinite().all().item<bool>() || !(times.diff() < 0).all().item<bool>()) {
    throw RequestError(place + "its times on process '" + process.name() +
                       "' do not fall strictly; use fewer steps or another range");
  }
  const double most =
      process.is_variance_exploding() ? std::numeric_limits<double>::infinity() : process.t_max() * (1 + 1e-12);
  if (times[0].item<double>() > most) {
    throw RequestError(place + "begins at " + Value{times[0].item<double>(), {}}.text() +
                       ", beyond the noisiest time of process '" + process.name() + "', " +
                       Value{process.t_max(), {}}.text());
  }
  return times;
}

}  // namespace retort
