/// Frechet distance between samples and reference in the configured feature space.
///
/// ||mu - mu'||^2 + tr(C + C' - 2 (C C')^(1/2)), covariances with n - 1. It is the FID of Heusel et al. when the
/// features are Inception's; here they are those of `evaluate.features`, or the samples themselves. It falls with the
/// number of samples, so compare figures of equal numbers only. fd compares with the configured reference, fd_teacher
/// with the teacher's endpoints from the same noise, as Direct CM's paper does.
///
/// fd_infinity is free of that bias to first order: fd of subsets of several sizes N, evenly spaced from a tenth of the
/// samples (5000 at most) to all of them, is fitted by a line in 1 / N, and the line is read at 0. The reference stays
/// whole. Each size costs one eigendecomposition. It may fall below zero. Source: Dowson & Landau 1982; Heusel et al.
/// 2017; Chong & Forsyth 2020 (arXiv 1911.07023), FID-infinity with ordinary random numbers.
///
/// `statistics` brings the reference along, as others measured it: mean `mu` [F] and covariance `sigma` [F, F] in
/// numpy's .npz, as pytorch-fid and clean-fid write them. fd and fd_infinity then need no data. They must be of the
/// features that are configured, made of pictures that were prepared in the same way. It is a key of this metric, as no
/// other one compares by these two alone.
///
///     [evaluate]
///     metrics = ["fd"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.fd]
///     teacher = true
///     extrapolate = 15               # sizes of subsets; 0: no fd_infinity
///     statistics = ""                # or "fid_stats.npz"
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <optional>

#include "../shared/draw.h"
#include "../shared/npz.h"
#include "frechet.h"

using namespace retort;

class Fd final : public Metric {
 public:
  explicit Fd(Params& p)
      : teacher_(p.get("teacher", true, "measure fd_teacher too, where there is a teacher")),
        sizes_(p.get("extrapolate", 0, "sizes of subsets that fd_infinity is extrapolated from; 0: none", at_least(0))),
        file_(p.path("statistics", "",
                     "npz file with mu and sigma of a reference, compared with in place of evaluate.reference")) {
    if (sizes_ == 1) {
      throw p.error("extrapolate", "1 size makes no line; expected 0, or 2 and more");
    }
    if (!p.is_describing() && !file_.empty()) {
      try {
        read_statistics();
      } catch (const RequestError& e) {
        throw p.error("statistics", e.what());
      }
    }
  }

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor a = evaluation.sample_features();
    const std::optional<Gaussian> reference = statistics_ ? brought_along(a) : measured(evaluation);
    if (!a.defined() || a.size(0) < 2 || !reference) {
      return {};
    }
    Measurement out;
    const Gaussian samples(a);
    const Tensor root = samples.root();
    out.values.emplace_back("fd", frechet_distance(samples, root, *reference));
    if (sizes_ > 0 && a.size(0) >= 20) {
      out.values.emplace_back("fd_infinity", extrapolated(a, *reference, evaluation.generator("fd infinity")));
    }
    const bool of_student = teacher_ && evaluation.model() != nullptr && evaluation.student_steps() > 0;
    if (const Tensor ends = of_student ? evaluation.endpoints() : Tensor(); ends.defined()) {
      const Tensor c = evaluation.shared("features of the endpoints", [&] { return evaluation.features(ends); });
      out.values.emplace_back("fd_teacher", frechet_distance(samples, root, Gaussian(c)));
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    return statistics_ ? std::vector<std::pair<std::string, double>>{}
                       : std::vector<std::pair<std::string, double>>{{"fd", 0}};
  }
  // The endpoints stay where they are, and subsets are those of the samples.
  bool symmetric() const override { return !teacher_ && sizes_ == 0 && !statistics_; }

 private:
  bool teacher_;
  int64_t sizes_;
  std::string file_;
  std::optional<Gaussian> statistics_;

  void read_statistics() {
    const std::map<std::string, Tensor> found = read_npz(file_, {"mu", "sigma"});
    const Tensor mu = found.at("mu").to(at::kDouble), sigma = found.at("sigma").to(at::kDouble);
    const auto spell = [](const Tensor& x) {
      std::string out;
      for (const int64_t n : x.sizes()) {
        out += (out.empty() ? "" : ", ") + std::to_string(n);
      }
      return "[" + out + "]";
    };
    if (mu.dim() != 1 || sigma.dim() != 2 || sigma.size(0) != mu.size(0) || sigma.size(1) != mu.size(0)) {
      throw RequestError(file_ + ": has mu of " + spell(mu) + " and sigma of " + spell(sigma) +
                         "; expected [F] and [F, F]");
    }
    if (!mu.isfinite().all().item<bool>() || !sigma.isfinite().all().item<bool>()) {
      throw RequestError(file_ + ": has numbers that are not finite");
    }
    if (!at::allclose(sigma, sigma.t(), 1e-4, 1e-6)) {
      throw RequestError(file_ + ": has a sigma that is not symmetric; expected a covariance");
    }
    statistics_.emplace(mu, (sigma + sigma.t()) / 2);
  }

  std::optional<Gaussian> brought_along(const Tensor& features) const {
    if (features.defined() && features.size(1) != statistics_->mean.size(0)) {
      throw RequestError("statistics: " + file_ + " is of " + std::to_string(statistics_->mean.size(0)) +
                         " features, and evaluate.features gives " + std::to_string(features.size(1)));
    }
    return Gaussian(statistics_->mean.to(features.device()), statistics_->covariance.to(features.device()));
  }

  static std::optional<Gaussian> measured(const Evaluation& evaluation) {
    const Tensor b = evaluation.reference_features();
    return b.size(0) < 2 ? std::nullopt : std::optional<Gaussian>(b);
  }

  double extrapolated(const Tensor& samples, const Gaussian& reference, const at::Generator& generator) const {
    const int64_t n = samples.size(0);
    const Tensor sizes =
        at::linspace(std::min<double>(5000, static_cast<double>(n / 10)), static_cast<double>(n), sizes_, at::kDouble)
            .floor();
    const Tensor root = reference.root();
    std::vector<double> distances;
    for (int64_t i = 0; i < sizes_; ++i) {
      const Tensor subset = draw_rows(samples, sizes[i].item<int64_t>(), generator);
      distances.push_back(frechet_distance(reference, root, Gaussian(subset)));
    }
    // Least squares: the line's value at 1 / N = 0.
    const Tensor x = sizes.reciprocal(), y = at::tensor(distances, at::kDouble);
    const Tensor slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum();
    return (y.mean() - slope * x.mean()).item<double>();
  }
};

RETORT_PLUGIN(Fd, metric, fd)
