/// Importance sampling of training times by the loss there.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "noise_times.h"

namespace retort {

/// With m(u) the root of the loss's second moment at the place u of a density of times, rows are drawn in proportion to
/// m and weigh 1 / m, in units that leave the mean of the loss as it is: of all densities this one has the least
/// variance (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.3). They keep the last ten losses of each time step.
/// Here a small network learns log m of the time, as times are continuous: its value is log m + l^2 / (2 m^2), least
/// where m^2 is the mean of l^2. It is saved with the run, so a training goes on as it was. One draw in a thousand is
/// of the density itself, as in their code.
class Importance {
 public:
  explicit Importance(Params& p)
      : on_(p.get("importance", false,
                  "times are drawn more often where the loss is large, and count less there: its mean stays, and its "
                  "variance falls")) {
    if (p.is_describing() || on_) {
      network_ = p.plugin<Network>("importance_network", "mlp", "importance: the network that learns the loss's size");
      rate_ = p.get("importance_learning_rate", rate_, "importance: its learning rate", more_than(0));
      places_ =
          p.get("importance_places", places_, "importance: parts of the density that have a rate each", at_least(2));
    }
  }

  std::vector<Role> roles() const {
    if (!network_) {
      return {};
    }
    return {{.name = role, .start = Role::Start::own, .network = network_, .learning_rate = rate_}};
  }

  struct Drawn {
    Tensor t;       // [B] float64
    Tensor weight;  // [B] float64; undefined: 1
  };
  Drawn draw(const TrainingStep& step, const NoiseTimes& times) const {
    if (!network_) {
      return {times.draw(step), {}};
    }
    const Tensor centres = (at::arange(places_, at::kDouble) + 0.5) / static_cast<double>(places_);
    Tensor share;
    {
      const at::NoGradGuard no_grad;
      const Tensor size = log_size(step, times.quantiles(step.process, centres)).to(at::kCPU, at::kDouble);
      share = (1 - of_density) * at::softmax(size, 0) + of_density / static_cast<double>(places_);
    }
    // The inverse of the distribution function, which is linear between the places.
    const Tensor ends = share.cumsum(0), u = times.uniform(step) * ends[-1];
    const Tensor place = at::searchsorted(ends, u, false, true).clamp_max(places_ - 1);
    const Tensor rate = share.index_select(0, place);
    const Tensor within = (u - ends.index_select(0, place) + rate) / rate;
    const Tensor quantile = (place.to(at::kDouble) + within.clamp(0, 1)) / static_cast<double>(places_);
    return {times.quantiles(step.process, quantile), 1 / (rate * static_cast<double>(places_))};
  }

  /// error: [B], the loss of those rows; its gradients stay.
  LossValue value(const TrainingStep& step, const Drawn& drawn, const Tensor& error) const {
    if (!network_) {
      return {error, drawn.t};
    }
    LossValue out{error * drawn.weight.to(error.options()), drawn.t};
    const Tensor size = log_size(step, drawn.t);
    out.roles[role] = size + 0.5 * (error.detach() * (-size).exp()).square();
    return out;
  }

 private:
  static constexpr const char* role = "importance";
  static constexpr double of_density = 1e-3;

  // log m at times t: [n]. It is of the time alone: the network is shown neither sample nor condition.
  static Tensor log_size(const TrainingStep& step, const Tensor& t) {
    const Tensor& x = step.batch.x;
    std::vector<int64_t> shape = x.sizes().vec();
    shape[0] = t.size(0);
    const Conditioning none = without_condition(step.batch.condition, step.spec.inputs)
                                  .select(at::zeros({t.size(0)}, at::TensorOptions().dtype(at::kLong)));
    return step.role(role).raw(at::zeros(shape, x.options()), t, none).flatten(1).mean(1);
  }

  bool on_;
  std::shared_ptr<Network> network_;
  double rate_ = 1e-3;
  int64_t places_ = 64;
};

}  // namespace retort
