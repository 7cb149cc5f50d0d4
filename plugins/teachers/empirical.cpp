/// The ideal denoiser of a finite data set: what a network of unlimited capacity would learn from it.
///
/// D(x, t) = sum_i w_i x_i, w = softmax_i(-||x - alpha x_i||^2 / (2 sigma^2)). Its ODE ends in the training samples.
/// Source: Karras et al. 2022, eq. 57 (appendix B.3).
///
///     [teacher]
///     type = "empirical"
///     dataset = "rings"              # or a table, [teacher.dataset], with its own keys
///     samples = 10000
#include <retort/dataset.h>
#include <retort/host.h>
#include <retort/plugin.h>
#include <retort/teacher.h>

#include <ATen/ATen.h>

using namespace retort;

class Empirical final : public Teacher {
 public:
  explicit Empirical(Params& p)
      : dataset_(p.plugin<Dataset>("dataset", "rings", "whose training samples are the data")),
        conditional_(p.get("conditional", false, "given a label, use the samples of that class only")) {
    const int64_t most = p.get("samples", 10000, "at most so many samples, the first ones", at_least(1));
    if (p.is_describing()) {
      return;
    }
    process_ = p.host().process();
    const Batch all =
        dataset_->batch(Split::train, at::arange(std::min(most, dataset_->size(Split::train)), at::kLong));
    data_ = all.x.flatten(1).to(at::kDouble);
    mean_ = data_.mean(0);
    centred_ = data_ - mean_;
    labels_ = all.condition[retort::inputs::labels];
    if (conditional_ && !labels_.defined()) {
      throw p.error("conditional", "needs a data set with labels");
    }
    half_square_ = centred_.square().sum(1) / 2;
  }

  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {Predicts::data, 1.0}; }
  std::vector<int64_t> shape() const override { return dataset_->shape(); }
  std::vector<Input> inputs() const override { return label_inputs(conditional_ ? dataset_->classes() : 0); }

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    return at::matmul(at::softmax(logits(x, t, condition), 1), data_).to(x.scalar_type()).view(x.sizes());
  }

  Tensor log_density(const Tensor& x, const Tensor& t) const override {
    const Tensor variance = process_.sigma(t).square();
    const Tensor own = centred(x, process_.alpha(t).unsqueeze(1)).square().sum(1) / (2 * variance);
    const auto d = static_cast<double>(data_.size(1));
    return at::logsumexp(logits(x, t, {}), 1) - own - 0.5 * d * (2 * M_PI * variance).log() -
           std::log(static_cast<double>(data_.size(0)));
  }

 private:
  // Distances do not change with the origin, and squares are small about the mean.
  Tensor centred(const Tensor& x, const Tensor& alpha) const { return x.to(at::kDouble).flatten(1) - alpha * mean_; }

  // -||x - alpha x_i||^2 / (2 sigma^2) but for the part that is the same for all i. [B, samples]
  Tensor logits(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
    const Tensor alpha = process_.alpha(t).unsqueeze(1);
    const Tensor variance = process_.sigma(t).square().clamp_min(1e-24).unsqueeze(1);
    const Tensor dot = at::matmul(centred(x, alpha), centred_.t());
    Tensor out = (alpha * dot - alpha * alpha * half_square_) / variance;
    if (const Tensor labels = condition[retort::inputs::labels]; conditional_ && labels.defined()) {
      const Tensor wanted = labels.unsqueeze(1);
      const Tensor other = labels_.unsqueeze(0).ne(wanted).logical_and(wanted < dataset_->classes());
      out = out.masked_fill(other, -std::numeric_limits<double>::infinity());
    }
    return out;
  }

  std::shared_ptr<Dataset> dataset_;
  bool conditional_;
  Process process_;
  Tensor data_;         // [samples, D]
  Tensor mean_;         // [D]
  Tensor centred_;      // data less mean
  Tensor half_square_;  // [samples], of those
  Tensor labels_;
};

RETORT_PLUGIN(Empirical, teacher, empirical)
