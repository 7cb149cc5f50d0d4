/// Frechet distance between samples and reference in the configured feature space.
///
/// ||mu - mu'||^2 + tr(C + C' - 2 (C C')^(1/2)), covariances with n - 1. It is the FID of Heusel et al. when the
/// features are Inception's; here they are those of `evaluate.features`, or the samples themselves. It falls with the
/// number of samples, so compare figures of equal numbers only. fd compares with the configured reference, fd_teacher
/// with the teacher's endpoints from the same noise, as Direct CM's paper does. Source: Dowson & Landau 1982; Heusel et
/// al. 2017.
///
///     [evaluate]
///     metrics = ["fd"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.fd]
///     teacher = true
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Fd final : public Metric {
 public:
  explicit Fd(Params& p) : teacher_(p.get("teacher", true, "measure fd_teacher too, where there is a teacher")) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor a = evaluation.sample_features();
    const Tensor b = evaluation.reference_features();
    if (!a.defined() || a.size(0) < 2 || b.size(0) < 2) {
      return {};
    }
    Measurement out;
    out.values.emplace_back("fd", distance(a.to(at::kDouble), b.to(at::kDouble)));
    const bool of_student = teacher_ && evaluation.model() != nullptr && evaluation.student_steps() > 0;
    if (const Tensor ends = of_student ? evaluation.endpoints() : Tensor(); ends.defined()) {
      const Tensor c = evaluation.shared("features of the endpoints", [&] { return evaluation.features(ends); });
      out.values.emplace_back("fd_teacher", distance(a.to(at::kDouble), c.to(at::kDouble)));
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"fd", 0}}; }
  bool symmetric() const override { return !teacher_; }  // the endpoints stay where they are

 private:
  bool teacher_;

  static double distance(const Tensor& a, const Tensor& b) {
    const Tensor ca = at::cov(a.t()).view({a.size(1), a.size(1)});
    const Tensor cb = at::cov(b.t()).view({a.size(1), a.size(1)});
    // tr (C C')^(1/2) = tr (S C' S)^(1/2) with S = C^(1/2): symmetric, so its eigenvalues are real and accurate.
    const auto [values, vectors] = at::linalg_eigh(ca);
    const Tensor root = at::matmul(vectors * values.clamp_min(0).sqrt(), vectors.t());
    const Tensor product = at::matmul(at::matmul(root, cb), root);
    const Tensor cross = at::linalg_eigvalsh((product + product.t()) / 2).clamp_min(0).sqrt().sum();
    const Tensor means = (a.mean(0) - b.mean(0)).square().sum();
    return std::max(0.0, (means + ca.trace() + cb.trace() - 2 * cross).item<double>());
  }
};

RETORT_PLUGIN(Fd, metric, fd)
