/// How samples are spread over the classes of the data, and how good those of each class are.
///
/// The class of a sample is that of most of its nearest labelled data of the test split, in the configured features (k
/// neighbours; the least label where two are equally frequent). class_share_error is the total variation between the
/// shares of classes among samples and among data: half the sum of |share - share'|, 0 for equal shares, 1 for none in
/// common. Where samples are asked for by label, class_agreement is the share of them that are of the class asked for,
/// and series go by that label; else by the class found. The series, over the class: share_by_class; fd_by_class, fd
/// against data of the class, where both have two rows; ode_error_by_class, against the teacher's endpoints, of latents
/// where there are any. With few samples of a class fd_by_class is high for every model (see fd). The cost is samples
/// times `data`. Source: the k nearest neighbours rule of Cover & Hart 1967.
///
///     [evaluate]
///     metrics = ["per_class"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.per_class]
///     neighbours = 5
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/draw.h"
#include "../shared/features_at.h"
#include "distances.h"
#include "frechet.h"

using namespace retort;

class Classes final : public Metric {
 public:
  explicit Classes(Params& p)
      : k_(p.get("neighbours", 5, "labelled data that vote on the class of a sample", at_least(1))),
        most_(p.get("data", 10000, "at most so many labelled data, drawn from the test split", at_least(2))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Dataset* dataset = evaluation.dataset();
    if (dataset == nullptr || dataset->classes() == 0) {
      return {};
    }
    const int64_t classes = dataset->classes();
    const Tensor samples = evaluation.sample_features();
    const Tensor index =
        draw_rows(at::arange(dataset->size(Split::test), at::kLong), most_, evaluation.generator("classes"));
    const Tensor labels = dataset->labels(Split::test).index_select(0, index);
    const Tensor data = evaluation.shared("features of " + std::to_string(most_) + " labelled data",
                                          [&] { return features_at(evaluation, *dataset, Split::test, index); });
    const Tensor found = vote(samples.to(at::kDouble), data.to(at::kDouble), labels, classes);
    const Tensor asked = evaluation.start().condition[inputs::labels];
    const Tensor share = shares(found, classes), wanted = shares(labels, classes);
    Measurement out{{{"class_share_error", 0.5 * (share - wanted).abs().sum().item<double>()}}, {}};
    if (asked.defined()) {
      out.values.emplace_back("class_agreement", (asked.cpu() == found).to(at::kDouble).mean().item<double>());
    }
    const Tensor by = asked.defined() ? asked.cpu() : found;
    const Tensor ends = evaluation.model() != nullptr ? evaluation.endpoints() : Tensor();
    const Tensor error = ends.defined()
                             ? (evaluation.sample_states() - ends).to(at::kCPU, at::kDouble).square().flatten(1).mean(1)
                             : Tensor();
    for (int64_t c = 0; c < classes; ++c) {
      const auto x = static_cast<double>(c);
      const Tensor own = at::nonzero(by == c).view({-1}), real = at::nonzero(labels == c).view({-1});
      out.series["share_by_class"].emplace_back(x, share[c].item<double>());
      if (own.numel() > 1 && real.numel() > 1) {
        const auto fitted = [](const Tensor& all, const Tensor& which) {
          return Gaussian(all.index_select(0, which.to(all.device())));
        };
        out.series["fd_by_class"].emplace_back(x, frechet_distance(fitted(samples, own), fitted(data, real)));
      }
      if (error.defined() && own.numel() > 0) {
        out.series["ode_error_by_class"].emplace_back(x, error.index_select(0, own).mean().item<double>());
      }
    }
    return out;
  }

 private:
  int64_t k_, most_;

  // [n] int64 on the CPU
  Tensor vote(const Tensor& samples, const Tensor& data, const Tensor& labels, int64_t classes) const {
    std::vector<Tensor> out;
    const Tensor one_hot = at::one_hot(labels, classes);  // [m, classes]
    for (const Tensor& part : samples.split(rows_at_once)) {
      const Tensor nearest = std::get<1>(distances(part, data).topk(std::min(k_, data.size(0)), 1, /*largest=*/false));
      const Tensor votes = one_hot.index_select(0, nearest.cpu().view({-1})).view({part.size(0), -1, classes}).sum(1);
      out.push_back(votes.argmax(1));
    }
    return at::cat(out);
  }

  static Tensor shares(const Tensor& labels, int64_t classes) {
    return labels.bincount({}, classes).to(at::kDouble) / static_cast<double>(labels.size(0));
  }
};

RETORT_PLUGIN(Classes, metric, per_class)
