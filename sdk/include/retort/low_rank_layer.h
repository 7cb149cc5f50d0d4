/// What a layer does whose weights may be stored in a shorter type than it computes in, and be changed by a product of
/// low rank that stands beside them (Hu et al. 2022, arXiv 2106.09685).
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <map>
#include <string>
#include <vector>

#include "retort/export.h"
#include "retort/tensor.h"

namespace retort {

/// A layer that computes in the type of what it is given, whatever the type its own weights have. A backend leaves
/// these in the type of their file where it is asked to; the weights of all other modules it converts.
class RETORT_API StoredLayer {
 public:
  virtual ~StoredLayer();

 protected:
  /// A weight in the type of x, where its own is shorter. Undefined stays undefined.
  static Tensor widened(const Tensor& weight, const Tensor& x) {
    const bool same = !weight.defined() || weight.scalar_type() == x.scalar_type();
    return same || weight.element_size() >= x.element_size() ? weight : weight.to(x.scalar_type());
  }
};

/// A layer with a matrix or convolution "weight", W, that can add scale B A to it without a sum of that size.
class RETORT_API LowRankLayer : public StoredLayer {
 public:
  /// a: [r, in] or [r, in, h, w]; b: [out, r] or [out, r, 1, 1]. The layer shares their memory.
  void change_by(Tensor a, Tensor b, double scale);
  /// A and B, or none.
  std::vector<Tensor> factors() const;

 protected:
  bool is_changed() const { return a_.defined(); }
  /// The factors in the type of x. They are no weights of the module: throws Error where the network is traced, as the
  /// trace would keep their numbers of today.
  Tensor a(const Tensor& x) const;
  Tensor b(const Tensor& x) const;
  double scale_ = 1;

 private:
  Tensor a_, b_;
};

/// The layers of a module that are such, by the names of their weights: "NAME.weight".
RETORT_API std::map<std::string, LowRankLayer*> low_rank_layers(torch::nn::Module& module);

/// What is trained within a module: the parameters that ask for a gradient, and the factors of its layers.
RETORT_API std::vector<Tensor> trained_within(const torch::nn::Module& module);

}  // namespace retort
