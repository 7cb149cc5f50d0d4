/// Points on a spiral in the plane, with Gaussian noise; labels tell its two arms apart.
///
///     [dataset]
///     type = "@name@"
///     turns = 1.0
///     noise = 0.03
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>

#include <numbers>

using namespace retort;

class @Name@ final : public Dataset {
 public:
  explicit @Name@(Params& p) {
    const double turns = p.get("turns", 1.0, "turns of an arm", more_than(0));
    const double noise = p.get("noise", 0.03, "standard deviation of the noise", at_least(0));
    const int64_t train = p.get("train_samples", 20000, "points to train on", at_least(1));
    const int64_t test = p.get("test_samples", 5000, "points to compare with", at_least(1));
    if (!p.is_describing()) {
      train_ = draw(train, turns, noise, seeded(0, "train"));
      test_ = draw(test, turns, noise, seeded(0, "test"));
    }
  }

  std::vector<int64_t> shape() const override { return {2}; }
  int64_t classes() const override { return 2; }
  std::vector<std::string> class_names() const override { return {"inner", "outer"}; }
  int64_t size(Split split) const override { return of(split).x.size(0); }
  // index: [B] int64. The same indices give the same samples.
  Batch batch(Split split, const Tensor& index) const override {
    return {of(split).x.index_select(0, index), of(split).condition.select(index)};
  }

 private:
  static Batch draw(int64_t n, double turns, double noise, at::Generator generator) {
    const auto options = at::TensorOptions().dtype(at::kFloat);
    const Tensor arm = at::randint(0, 2, {n}, generator, at::kLong);
    const Tensor along = at::rand({n}, generator, options).sqrt();
    const Tensor angle = along * (2 * std::numbers::pi * turns) + arm.to(at::kFloat) * std::numbers::pi;
    const Tensor points = at::stack({angle.cos() * along, angle.sin() * along}, 1);
    return {points + noise * at::randn({n, 2}, generator, options), {{inputs::labels, arm}}};
  }
  const Batch& of(Split split) const { return split == Split::train ? train_ : test_; }

  Batch train_, test_;
};

RETORT_PLUGIN(@Name@, dataset, @name@)
