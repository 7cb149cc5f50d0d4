/// What the two-dimensional toy data sets share: a fixed table of points for each split, drawn once from a seed.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>

#include <functional>

namespace retort {

class Points : public Dataset {
 public:
  std::vector<int64_t> shape() const override { return {2}; }
  int64_t size(Split split) const override { return split == Split::train ? train_ : test_; }

  Batch batch(Split split, const Tensor& index) const override {
    Tensor& table = split == Split::train ? train_points_ : test_points_;
    if (!table.defined()) {
      table = draw(size(split),
                   seeded(static_cast<uint64_t>(seed_), split == Split::train ? "train points" : "test points"));
    }
    return {table.index_select(0, index), {}};
  }

 protected:
  explicit Points(Params& p)
      : train_(p.get("samples", 20000, "points to train on", at_least(1))),
        test_(p.get("test_samples", 5000, "points to compare with", at_least(1))),
        seed_(p.get("seed", 0, "of the points", at_least(0))) {}

  /// [n, D] float32 points.
  virtual Tensor draw(int64_t n, at::Generator generator) const = 0;

 private:
  int64_t train_, test_, seed_;
  mutable Tensor train_points_, test_points_;
};

}  // namespace retort
