/// The contrastive loss of CLIP, which trains encoders of pictures and of what describes them.
///
/// Of a batch of B pairs, each picture is to find its own description among the B, and each description its picture:
/// with L_ij = e_i . f_j, half of -log softmax_j(L)_ii and half of -log softmax_i(L)_ii. The network gives both
/// embeddings of a pair behind each other, [B, 2 D], of such a length that their products are logits: network `clip`
/// learns that length, the temperature. The larger the batch, the harder the task. Where several processes share a
/// batch, each has the pairs of its own rows alone to choose from. Source: Radford et al. 2021 (arXiv 2103.00020),
/// figure 3; van den Oord et al. 2018 (arXiv 1807.03748), InfoNCE.
///
///     [loss]
///     type = "contrastive"
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Contrastive final : public Loss {
 public:
  explicit Contrastive(Params&) {}

  Makes makes() const override { return Makes::embedding; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor both = step.student.network()(step.batch.x, {}, step.batch.condition);
    if (both.dim() != 2 || both.size(1) % 2 != 0) {
      throw RequestError("loss 'contrastive' needs a network that gives two embeddings of one width");
    }
    const auto halves = both.to(both.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).chunk(2, 1);
    const Tensor logits = halves[0].mm(halves[1].t());
    const Tensor own = at::arange(both.size(0), both.options().dtype(at::kLong));
    const auto entropy = [&](const Tensor& rows) { return at::cross_entropy_loss(rows, own, {}, at::Reduction::None); };
    LossValue out{0.5 * (entropy(logits) + entropy(logits.t())), {}};
    out.diagnostics["found_in_batch"] = logits.detach().argmax(0).eq(own).to(at::kFloat).mean();
    return out;
  }
};

RETORT_PLUGIN(Contrastive, loss, contrastive)
