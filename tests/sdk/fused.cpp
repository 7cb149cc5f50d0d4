#include "retort/fused.h"

#include "support/support.h"

using namespace retort;
using namespace retort::test;
using arithmetic::Measure;

TEST_CASE("a weighted sum is what LibTorch's operators make of it, in every type and layout") {
  const Tensor a = times({0.5, -2, 3}), b = times({1, 0.25, -1});
  const Tensor x = normal({3, 4, 5, 5}, 1), y = normal({3, 4, 5, 5}, 2);
  const Tensor exact = a.view({3, 1, 1, 1}) * x + b.view({3, 1, 1, 1}) * y;
  CHECK(most(combine({{a, x}, {b, y}}) - exact) == 0);
  const auto single = [](const Tensor& t) { return t.to(at::kFloat); };
  CHECK(most(combine({{a, single(x)}, {b, single(y)}}).to(at::kDouble) - exact) < 1e-5);
  const Tensor turned = y.transpose(2, 3).contiguous().transpose(2, 3);
  CHECK(most(combine({{a, x}, {b, turned}}) - exact) == 0);
  CHECK(combine({{a.narrow(0, 0, 0), x.narrow(0, 0, 0)}, {b.narrow(0, 0, 0), y.narrow(0, 0, 0)}}).size(0) == 0);
  // It is differentiable where that is asked for.
  const Tensor leaf = x.clone().requires_grad_(true);
  combine({{a, leaf}, {b, y}}).sum().backward();
  CHECK(most(leaf.grad() - a.view({3, 1, 1, 1}).expand_as(x)) == 0);
}

TEST_CASE("distances and their slopes are those of their formulas, by automatic differentiation") {
  const Tensor p = normal({3, 7, 5}, 3), q = normal({3, 7, 5}, 4);
  const double c = 0.3;
  for (const Measure kind : {Measure::square, Measure::absolute, Measure::pseudo_huber}) {
    CAPTURE(static_cast<int>(kind));
    const auto formula = [&](const Tensor& d) {
      return kind == Measure::square     ? d.square()
             : kind == Measure::absolute ? d.abs()
                                         : (d.square() + c * c).sqrt() - c;
    };
    Tensor mine = p.clone().requires_grad_(true), theirs = p.clone().requires_grad_(true);
    Tensor target = q.clone().requires_grad_(true), their_target = q.clone().requires_grad_(true);
    const Tensor value = mean_measure(kind, mine, target, c);
    const Tensor exact = formula(theirs - their_target).flatten(1).mean(1);
    CHECK(most(value.detach() - exact.detach()) < 1e-14);
    const Tensor weights = times({1, -2, 0.5});
    (value * weights).sum().backward();
    (exact * weights).sum().backward();
    CHECK(most(mine.grad() - theirs.grad()) < 1e-14);
    CHECK(most(target.grad() - their_target.grad()) < 1e-14);
    CHECK(most(mean_measure(kind, p.to(at::kFloat), q.to(at::kFloat), c).to(at::kDouble) - exact.detach()) < 1e-6);
  }
}

TEST_CASE("equal samples are at distance zero, with a slope of zero") {
  const Tensor p = normal({2, 3}, 5);
  for (const Measure kind : {Measure::square, Measure::absolute, Measure::pseudo_huber}) {
    const Tensor leaf = p.clone().requires_grad_(true);
    const Tensor value = mean_measure(kind, leaf, p, 1e-3);
    value.sum().backward();
    CHECK(most(value.detach()) == 0);
    CHECK(most(leaf.grad()) == 0);
  }
}
