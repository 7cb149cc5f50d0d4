/// How often a picture is found by its description, and a description by its picture, among those of the test split.
///
/// Of a network that embeds both (loss `contrastive`), retrieval_1 is the share of texts to which, of all pictures,
/// their own has the greatest cosine, and retrieval_5 the share whose own is among the five greatest;
/// retrieval_text_1 and retrieval_text_5 are the same for pictures that look for their text. Of equal cosines, all
/// others count as greater. Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1 and table 13.
///
///     [evaluate]
///     metrics = ["retrieval"]
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Retrieval final : public Metric {
 public:
  explicit Retrieval(Params&) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Dataset* dataset = evaluation.dataset();
    if (evaluation.model() == nullptr || evaluation.model()->makes() != Makes::embedding || dataset == nullptr) {
      return {};
    }
    const Batch data = evaluation.data(dataset->size(Split::test));
    const at::NoGradGuard no_grad;
    std::vector<Tensor> parts;
    constexpr int64_t at_once = 250;
    for (const Tensor& index : at::arange(data.x.size(0), data.x.options().dtype(at::kLong)).split(at_once)) {
      const Batch part{data.x.index_select(0, index), data.condition.select(index)};
      parts.push_back((*evaluation.network())(part.x, {}, part.condition).to(at::kDouble));
    }
    const Tensor both = at::cat(parts);
    if (both.dim() != 2 || both.size(1) % 2 != 0) {
      throw RequestError("asks for two embeddings of one width, and the network gives others");
    }
    const auto unit = [](const Tensor& x) { return x / x.norm(2, 1, true).clamp_min(1e-12); };
    const Tensor cosines = unit(both.chunk(2, 1)[0]).mm(unit(both.chunk(2, 1)[1]).t());  // [pictures, texts]
    Measurement out;
    add(out, "retrieval_", cosines.t());
    add(out, "retrieval_text_", cosines);
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    return {{"retrieval_1", 1}, {"retrieval_text_1", 1}};
  }

 private:
  // cosines: [n, n], a row for each that looks, its own on the diagonal
  static void add(Measurement& out, const std::string& name, const Tensor& cosines) {
    if (!cosines.isfinite().all().item<bool>()) {
      throw Error("the network's embeddings are not finite");
    }
    const Tensor before = (cosines >= cosines.diagonal().unsqueeze(1)).sum(1) - 1;  // not itself
    for (const int64_t first : {1, 5}) {
      out.values.emplace_back(name + std::to_string(first), (before < first).to(at::kDouble).mean().item<double>());
    }
  }
};

RETORT_PLUGIN(Retrieval, metric, retrieval)
