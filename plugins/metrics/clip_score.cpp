/// CLIP score: how well samples show what their prompts say.
///
/// clip_score is the mean of w max(cos(E, T), 0) over the samples, E the features of a sample, T those of its prompt.
/// The paper's w is 2.5; torchmetrics and most tables of text-to-image models have 100, the default. torchmetrics cuts
/// the mean at 0 and not each sample, which is the same wherever no cosine is negative. clip_score_reference is that of
/// as many data with their own prompts. Pictures are seen by `encoder`, or by evaluate.features; the prompts' features
/// come with the data set, by default as the pooled prompt embeddings that SDXL's second text encoder gives, or from a
/// file with a row for each label. Both must be of one CLIP: figures of different ones cannot be compared. Source:
/// Hessel et al. 2021 (arXiv 2104.08718), section 3.
///
///     [evaluate]
///     metrics = ["clip_score"]
///
///     [metric.clip_score]
///     text = "pooled_prompt_embeds"
///     encoder = { file = "clip.pt", size = 224 }
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <optional>

#include "../shared/draw.h"
#include "../shared/encoded.h"
#include "../shared/features_at.h"
#include "../shared/safetensors_rows.h"

using namespace retort;

class ClipScore final : public Metric {
 public:
  explicit ClipScore(Params& p)
      : encoded_(p),
        text_(p.get("text", "pooled_prompt_embeds", "the condition [F] that holds the features of a sample's prompt")),
        file_(p.path("text_features", "",
                     "in place of `text`: safetensors file of one tensor [classes, F], the features of a prompt for "
                     "each label")),
        weight_(p.get("weight", 100.0, "w; the paper has 2.5", more_than(0))) {
    if (!p.is_describing() && !file_.empty()) {
      try {
        read_texts();
      } catch (const RequestError& e) {
        throw p.error("text_features", e.what());
      }
    }
  }

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor texts = texts_of(evaluation.start().condition);
    if (!texts.defined()) {
      throw RequestError(by_label_.defined() ? "samples have no labels, which `text_features` goes by"
                                             : "samples have no condition '" + text_ +
                                                   "'; expected the features of their prompts in the data set, or "
                                                   "`text_features`");
    }
    Measurement out{{{"clip_score", score(encoded_.samples(evaluation), texts)}}, {}};
    if (const Dataset* dataset = evaluation.dataset()) {
      const Tensor of_data = evaluation.shared("clip score of " + std::to_string(texts.size(0)) + " data", [&] {
        return at::tensor({of(*dataset, evaluation, texts.size(0))}, at::kDouble);
      });
      if (const double value = of_data.item<double>(); value >= 0) {
        out.values.emplace_back("clip_score_reference", value);
      }
    }
    return out;
  }

 private:
  Encoded encoded_;
  std::string text_, file_;
  double weight_;
  Tensor by_label_;  // [classes, F]

  void read_texts() {
    const SafetensorsRows file(file_);
    if (file.tensors().size() != 1 || file.tensors().begin()->second.shape.size() != 2) {
      throw file.error("holds " + std::to_string(file.tensors().size()) +
                       " tensor(s); expected a single one, [classes, F]");
    }
    by_label_ = file.all(file.tensors().begin()->first).to(at::kDouble);
  }

  // Of data with their own prompts; -1 where these are not to be had.
  double of(const Dataset& dataset, const Evaluation& evaluation, int64_t count) const {
    const Tensor index =
        draw_rows(at::arange(dataset.size(Split::test), at::kLong), count, evaluation.generator("clip score"));
    const auto options = evaluation.samples().options();
    std::vector<Tensor> texts, features;
    for (const Tensor& rows : index.split(pictures_at_once)) {
      const Batch data = dataset.batch(Split::test, rows);
      texts.push_back(texts_of(data.condition));
      features.push_back(texts.back().defined() ? encoded_.of(evaluation, data.x.to(options)) : Tensor());
      if (!features.back().defined()) {
        return -1.0;
      }
    }
    return score(at::cat(features), at::cat(texts));
  }

  // [n, F] float64; undefined where the conditions do not say them.
  Tensor texts_of(const Conditioning& condition) const {
    if (!by_label_.defined()) {
      const Tensor own = condition[text_];
      if (own.defined() && own.dim() != 2) {
        throw RequestError("text: '" + text_ + "' has " + std::to_string(own.dim() - 1) +
                           " dimensions; expected a row of features for each sample");
      }
      return own.defined() ? own.to(at::kDouble) : own;
    }
    const Tensor labels = condition[inputs::labels];
    if (!labels.defined()) {
      return {};
    }
    if (labels.max().item<int64_t>() >= by_label_.size(0)) {
      throw RequestError("text_features: " + file_ + " has " + std::to_string(by_label_.size(0)) +
                         " rows, and there is a label " + std::to_string(labels.max().item<int64_t>()));
    }
    return by_label_.to(labels.device()).index_select(0, labels);
  }

  double score(const Tensor& features, const Tensor& texts) const {
    if (features.size(1) != texts.size(1)) {
      throw RequestError("pictures have " + std::to_string(features.size(1)) + " features, and prompts " +
                         std::to_string(texts.size(1)) + "; expected both of one CLIP");
    }
    const Tensor cosine = (of_length_one(features) * of_length_one(texts.to(features.device()))).sum(1);
    return weight_ * cosine.clamp_min(0).mean().item<double>();
  }
};

RETORT_PLUGIN(ClipScore, metric, clip_score)
