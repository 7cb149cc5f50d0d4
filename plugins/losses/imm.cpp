/// Inductive moment matching: a flow map whose samples at a time are distributed alike, from wherever they come.
///
/// Rows are in groups of `particles`, which share times t > r >= s. The data are noised to x_t and x_r with the same
/// noise. The group's jumps from t to s are to have the distribution of the jumps from r to s, which carry no gradient:
/// the loss is the squared maximum mean discrepancy of both sets under a Laplace kernel. r is where the noise level is
/// `decrement` below that of t, or s. With one particle it is a consistency loss. From data, without a teacher; groups
/// know nothing of conditions.
///
///   k(x, y) = exp(-max(|x - y|, 1e-8) / (|c_out| D)), c_out the factor of the network's output in the jump from t to s
///   weight  = 1/2 sigmoid(b - log SNR) (-d log SNR / dt) alpha^a / (alpha^2 + sigma^2)
///
/// form = "torch_flow_models" has what that port has instead: only pairs of different rows, mean squares in the kernel,
/// c_out for s = 0, and alpha^2 sigma^2 below. With network_input "t" the network is not told s, and a jump is the DDIM
/// step from D(x, t).
/// Source: Zhou et al. 2025 (arXiv 2503.07565), algorithm 1.
///
///     [loss]
///     type = "imm"
///     particles = 4
///     decrement = 0.0048828125       # 160 / 2^15
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <algorithm>

using namespace retort;

class Imm final : public Loss {
 public:
  explicit Imm(Params& p)
      : particles_(p.get("particles", 4, "M: rows that share their times", at_least(1))),
        decrement_(p.get("decrement", 160.0 / 32768, "noise level of t less that of r", more_than(0))),
        least_(p.get("least_time", 1e-3, "least t, as a fraction of the noisiest; t is uniform", between(0, 1))),
        most_(p.get("greatest_time", 0.994, "greatest t, as a fraction of the noisiest", between(0, 1))),
        a_(p.get("a", 1.0, "exponent of alpha in the weight", at_least(0))),
        b_(p.get("b", 5.0, "shift of the sigmoid in the weight")),
        kernel_scale_(p.get("kernel_scale", 1.0, "factor of the distances in the kernel", more_than(0))),
        port_(p.choice("form", "paper", {"paper", "torch_flow_models"}, "kernel and weight") != "paper"),
        told_s_(p.choice("network_input", "t_and_s", {"t_and_s", "t"}, "what the network is told of the jump") ==
                "t_and_s") {
    if (least_ >= most_) {
      throw p.error("least_time", "is not below greatest_time; expected least_time < greatest_time");
    }
  }

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return told_s_ ? Needs{.end_time = true, .predicts = Predicts::flow} : Needs{}; }

  LossValue operator()(const TrainingStep& step) const override {
    const int64_t count = step.batch.x.size(0);
    if (step.whole_rows() != count && count % particles_ != 0) {
      throw RequestError("loss.particles: " + std::to_string(particles_) + " does not divide the " +
                         std::to_string(count) +
                         " rows of each process; expected a divisor, so that no group is split");
    }
    const Tensor first = at::arange(count, at::kLong).div(particles_, "floor") * particles_;
    const Process& process = step.process;
    const Tensor t = (least_ + (most_ - least_) * step.uniform().index_select(0, first)) * process.t_max();
    const Tensor s = t * step.uniform().index_select(0, first);
    const Tensor level = process.noise_level(t) - decrement_;
    const Tensor r = at::where(level > process.noise_level(s), process.time_of_noise_level(level.clamp_min(0)), s);
    const Tensor noise = step.noise();
    const Conditioning& condition = step.batch.condition;
    const Tensor y = step.student.jump(process.add_noise(step.batch.x, noise, t), t, s, condition);
    Tensor z;
    {
      const at::NoGradGuard no_grad;
      z = step.student.jump(process.add_noise(step.batch.x, noise, r), r, s, condition);
    }
    const Tensor factor = weight(process, t).to(y.options()), sharpness = kernel_sharpness(step, t, s).to(y.options());
    std::vector<Tensor> per_row;  // whole groups, then what is left
    for (const auto& [begin, size, members] : parts(count)) {
      const auto part = [&, begin = begin, size = size](const Tensor& all) { return all.narrow(0, begin, size); };
      if (size > 0) {
        per_row.push_back(part(factor) * discrepancy(part(y), part(z), part(sharpness), members));
      }
    }
    return {at::cat(per_row), t};
  }

 private:
  struct Part {
    int64_t begin, size, members;
  };
  std::vector<Part> parts(int64_t count) const {
    const int64_t left = count % particles_;
    return {{0, count - left, particles_}, {count - left, left, left}};
  }

  // Each row's part of its group's squared discrepancy, which is their mean.
  Tensor discrepancy(const Tensor& y, const Tensor& z, const Tensor& sharpness, int64_t members) const {
    const auto grouped = [&](const Tensor& x) { return x.flatten(1).view({-1, members, x[0].numel()}); };
    const Tensor own = grouped(y), other = grouped(z), scale = sharpness.view({-1, members, 1});
    const auto k = [&](const Tensor& a, const Tensor& b) {
      const Tensor square = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(3);
      const auto dimension = static_cast<double>(a.size(2));
      constexpr double floor = 1e-8;  // of a distance: two equal particles have no direction
      return port_ ? (-scale * square / dimension).exp()
                   : (-scale * square.clamp_min(floor * floor).sqrt() / dimension).exp();
    };
    const Tensor cross = k(own, other);
    const Tensor pairs = k(own, own) + k(other, other) - cross - cross.transpose(1, 2);  // [groups, M, M]
    if (!port_) {
      return pairs.mean(2).flatten();
    }
    const Tensor different = 1 - at::eye(members, pairs.options());
    return ((pairs * different).sum(2) / static_cast<double>(std::max<int64_t>(members - 1, 1))).flatten();
  }

  // 1 / |c_out|: [B].
  Tensor kernel_sharpness(const TrainingStep& step, const Tensor& t, const Tensor& s) const {
    const Tensor end = port_ ? at::zeros_like(t) : s;
    Tensor factor = end - t;
    if (!told_s_) {
      const Process& process = step.process;
      const Tensor of_data = process.alpha(end) - process.alpha(t) * process.sigma(end) / process.sigma(t);
      factor = of_data * step.student.parametrisation().to_data(process, t).b;
    }
    return kernel_scale_ / factor.abs().clamp_min(1e-8);
  }

  Tensor weight(const Process& process, const Tensor& t) const {
    const Tensor alpha = process.alpha(t), sigma = process.sigma(t);
    const Tensor log_snr = 2 * process.lambda(t);
    const Tensor falls = 2 * (process.d_sigma(t) / sigma - process.d_alpha(t) / alpha);
    const Tensor below = port_ ? alpha.square() * sigma.square() : alpha.square() + sigma.square();
    return 0.5 * (b_ - log_snr).sigmoid() * falls * alpha.pow(a_) / below;
  }

  int64_t particles_;
  double decrement_, least_, most_, a_, b_, kernel_scale_;
  bool port_, told_s_;
};

RETORT_PLUGIN(Imm, loss, imm)
