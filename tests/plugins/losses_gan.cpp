// The adversarial term: values and gradients of both networks against formulas, and beside other losses in a sum.
#include "plugins/losses_distribution.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::distribution;

namespace {

const std::string mlp = "discriminator = \"mlp\"\n";

// The values of student and discriminator, by logits of data and samples.
std::pair<Tensor, Tensor> values(const std::string& form, const Tensor& of_data, const Tensor& of_made,
                                 const Tensor& of_made_fixed) {
  if (form == "hinge") {
    return {-of_made, (1 + of_made_fixed).clamp_min(0) + (1 - of_data).clamp_min(0)};
  }
  if (form == "relativistic") {
    return {soft(of_data.detach() - of_made), soft(of_made_fixed - of_data)};
  }
  return {soft(-of_made), soft(of_made_fixed) + soft(-of_data)};
}

}  // namespace

TEST_CASE("gan plays each form's game on noised samples and data, and its slope is that of a second look") {
  for (const std::string form : {"non_saturating", "hinge", "relativistic"}) {
    for (const double r1 : {0.0, 0.5}) {
      CAPTURE(form);
      CAPTURE(r1);
      World w;
      const Tensor more = normal({batch_rows, 2}, 4);
      if (r1 > 0) {
        w.numbers.push_back(more);
      }
      const LossValue got =
          w.run("gan", mlp + "form = \"" + form + "\"\nr1_std = 0.1\nr1_weight = " + Value{r1, {}}.text());
      CHECK(most(got.t - w.t) < 1e-15);
      const Tensor real = col(1 - w.t) * w.real + col(w.t) * w.noise;
      auto [student, discriminator] = values(form, w.logit(real), w.logit(w.x_t), w.logit(w.x_t.detach()));
      if (r1 > 0) {
        discriminator = discriminator + r1 * ((w.logit(real + 0.1 * more) - w.logit(real)) / 0.1).square();
      }
      w.agree(got.per_row, student, "student");
      // What is added to both logits changes no difference.
      w.agree(got.roles.at("discriminator"), discriminator, "discriminator", 1e-11, form == "relativistic" ? "b2" : "");
    }
  }
}

TEST_CASE("gan without noise compares samples as they are, and is told a noise level of 0.002") {
  World w;
  w.numbers = {w.z};
  const LossValue got = w.run("gan", mlp + "noised = false");
  w.t = at::full({batch_rows}, 0.002 / 1.002, at::kDouble);
  const auto [student, discriminator] = values("non_saturating", w.logit(w.real), w.logit(w.x), w.logit(w.x.detach()));
  w.agree(got.per_row, student, "student");
  w.agree(got.roles.at("discriminator"), discriminator, "discriminator");
  CHECK(!got.t.defined());
}

TEST_CASE("the discriminator's slope goes to the norm of its gradient, as the noise that finds it vanishes") {
  World w;
  const Tensor real = col(1 - w.t) * w.real + col(w.t) * w.noise;
  const Tensor at = real.clone().requires_grad_(true);
  w.logit(at).sum().backward();
  const Tensor slope = at.grad();
  const std::string toml = mlp + "r1_std = 1e-5\nr1_weight = ";
  Tensor mean = at::zeros({batch_rows}, at::kDouble);
  // Along the axes in place of normal noise: their squares sum to the gradient's.
  for (const int64_t axis : {0, 1}) {
    Tensor along = at::zeros({batch_rows, 2}, at::kDouble);
    along.select(1, axis).fill_(1);
    w.numbers = {w.z, w.place, w.noise, along};
    const Tensor with = w.run("gan", toml + "1.0").roles.at("discriminator");
    w.numbers.pop_back();
    mean = mean + with - w.run("gan", toml + "0.0").roles.at("discriminator");
  }
  CHECK(most(mean - slope.square().sum(1)) < 1e-4);
}

TEST_CASE("a generator that deceives a discriminator nears the mixture, by every form") {
  for (const std::string form : {"non_saturating", "hinge", "relativistic"}) {
    CAPTURE(form);
    Apprentice student("gan", mlp + "r1_weight = 1.0\nform = \"" + form + "\"", Makes::generator);
    const double before = student.distance(1);
    student.train(400, 2e-3);
    const double after = student.distance(1);
    MESSAGE("energy distance " << before << " before, " << after << " after");
    CHECK(before > 0.1);
    CHECK(after < 0.6 * before);  // it circles, as games do
  }
}

TEST_CASE("a sum of ctm and gan trains the flow map and the discriminator") {
  const std::string ctm = "{ type = \"ctm\", solver_steps = 3, target = \"student\" }";
  Apprentice student(
      "sum", "terms = [" + ctm + ", { type = \"gan\", weight = 0.1, form = \"hinge\", discriminator = \"mlp\" }]",
      Makes::flow_map, /*end_time=*/true);
  const auto tell = [&] {  // how far the discriminator has moved from saying nothing
    const at::NoGradGuard no_grad;
    return rms(student.model("discriminator").raw(draw_mixture(100, 5), at::full({100}, 0.3, at::kDouble), {}));
  };
  CHECK(tell() == 0);
  const double before = student.distance(1);
  student.train(300);
  const double after = student.distance(1);
  MESSAGE("energy distance " << before << " before, " << after << " after; logits of " << tell());
  CHECK(tell() > 0.01);
  CHECK(before > 0.1);
  CHECK(after < 0.03);
}
