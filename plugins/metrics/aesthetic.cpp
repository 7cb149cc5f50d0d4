/// Aesthetic score: what a small network on CLIP's features says of a picture, trained on people's ratings.
///
/// aesthetic is the mean over samples of h(E / |E|), E the features of a picture, h the network of `file`: linear
/// layers one behind the other, without anything between them, as LAION's predictor has them (768, 1024, 128, 64, 16, 1
/// for ViT-L/14; its dropout does nothing here), or any TorchScript file. aesthetic_reference is that of the reference,
/// where there is one. The safetensors file has the names of PyTorch's modules, such as `layers.0.weight` and
/// `layers.0.bias`, and layers stand in the order of the last number. Pictures are seen by `encoder`, or by
/// evaluate.features. Source: LAION, improved-aesthetic-predictor (github.com/christophschuhmann), 2022.
///
///     [evaluate]
///     metrics = ["aesthetic"]
///
///     [metric.aesthetic]
///     file = "sac+logos+ava1-l14-linearMSE.safetensors"
///     encoder = { file = "clip.pt", size = 224 }
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <optional>

#include "../shared/encoded.h"
#include "../shared/safetensors_rows.h"
#include "../shared/script_module.h"

using namespace retort;

namespace {

// Linear layers in a row.
class Chain {
 public:
  explicit Chain(const std::string& path) {
    const SafetensorsRows file(path);
    std::vector<std::pair<std::pair<int64_t, std::string>, std::string>> order;  // number and name, prefix
    size_t used = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      const bool weight = name == "weight" || name.ends_with(".weight");
      if (weight && tensor.shape.size() == 2) {
        order.push_back({{last_number(name), name}, name.substr(0, name.size() - std::string("weight").size())});
      }
    }
    std::sort(order.begin(), order.end());
    int64_t width = order.empty() ? 0 : file.find(order[0].first.second)->shape[1];
    for (const auto& [key, prefix] : order) {
      const Tensor weight = file.all(key.second).to(at::kDouble);
      const StoredTensor* bias = file.find(prefix + "bias");
      const Tensor added = bias != nullptr ? file.all(prefix + "bias").to(at::kDouble) : at::zeros({1}, at::kDouble);
      if (weight.size(1) != width || (bias != nullptr && added.sizes() != at::IntArrayRef({weight.size(0)}))) {
        throw file.error("'" + key.second + "' does not follow the layer before it, which gives " +
                         std::to_string(width) + " numbers");
      }
      width = weight.size(0);
      layers_.emplace_back(weight, added);
      used += bias != nullptr ? 2 : 1;
    }
    if (width != 1 || used != file.tensors().size()) {
      throw file.error(width != 1 ? "gives " + std::to_string(width) +
                                        " numbers for a picture; expected linear layers "
                                        "that end in one"
                                  : "holds what is no linear layer; expected names such as layers.0.weight");
    }
  }

  int64_t width() const { return layers_[0].first.size(1); }
  Tensor operator()(Tensor x) const {
    for (const auto& [weight, bias] : layers_) {
      x = at::matmul(x, weight.to(x.device()).t()) + bias.to(x.device());
    }
    return x;
  }

 private:
  static int64_t last_number(const std::string& name) {
    const size_t end = name.find_last_of("0123456789");
    if (end == std::string::npos) {
      return -1;
    }
    const size_t before = name.find_last_not_of("0123456789", end);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    return end - begin > 8 ? -1 : std::stoll(name.substr(begin, end - begin + 1));
  }

  std::vector<std::pair<Tensor, Tensor>> layers_;
};

}  // namespace

class Aesthetic final : public Metric {
 public:
  explicit Aesthetic(Params& p)
      : encoded_(p), file_(p.path("file", "", "the predictor: safetensors of linear layers, or a TorchScript file")) {
    if (p.is_describing()) {
      return;
    }
    if (file_.empty()) {
      throw p.error("file", "missing; expected the predictor, a safetensors or TorchScript file");
    }
    if (!file_.ends_with(".safetensors")) {
      script_.emplace(ScriptKeys(file_, ""), p, std::vector<Input>{}, ScriptModule::Use::encoder);
      script_->weights()->eval();
      return;
    }
    try {
      chain_.emplace(file_);
    } catch (const RequestError& e) {
      throw p.error("file", e.what());
    }
  }

  Measurement measure(const Evaluation& evaluation) const override {
    Measurement out{{{"aesthetic", score(encoded_.samples(evaluation))}}, {}};
    if (evaluation.dataset() != nullptr || evaluation.ode() != nullptr) {
      const Tensor reference = evaluation.shared("aesthetic score of the reference", [&] {
        return at::tensor({score(encoded_.reference(evaluation))}, at::kDouble);
      });
      out.values.emplace_back("aesthetic_reference", reference.item<double>());
    }
    return out;
  }

 private:
  Encoded encoded_;
  std::string file_;
  std::optional<Chain> chain_;
  mutable std::optional<ScriptModule> script_;

  double score(const Tensor& features) const {
    const at::NoGradGuard no_grad;
    const Tensor unit = of_length_one(features);
    if (chain_) {
      if (unit.size(1) != chain_->width()) {
        throw RequestError("file: " + file_ + " takes " + std::to_string(chain_->width()) +
                           " features, and pictures have " + std::to_string(unit.size(1)));
      }
      return (*chain_)(unit).mean().item<double>();
    }
    Tensor rated;
    try {
      rated = (*script_)(unit.to(script_->dtype(at::kFloat)), {}, {});
    } catch (const ScriptFault& e) {
      throw RequestError(e.key + ": " + e.what());
    } catch (const std::exception& e) {
      throw RequestError("file: " + file_ + " fails on " + std::to_string(unit.size(1)) +
                         " features: " + script_parts::line_of(e));
    }
    if (rated.numel() != unit.size(0)) {
      throw RequestError("file: " + file_ + " gives " + script_parts::spell(rated.sizes()) + " for " +
                         std::to_string(unit.size(0)) + " pictures; expected a number for each");
    }
    return rated.to(at::kDouble).mean().item<double>();
  }
};

RETORT_PLUGIN(Aesthetic, metric, aesthetic)
