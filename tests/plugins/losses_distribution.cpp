// Losses that match distributions: values and gradients of every network against formulas written here, on process
// "rectified_flow", x_t = (1 - t) x + t n, and what they lead a Gaussian generator to with exact networks.
#include <cmath>

#include "plugins/losses_distribution.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::distribution;

TEST_CASE("diff_instruct moves the sample against the difference of both scores, weighted by the noise level") {
  for (const bool one : {false, true}) {
    CAPTURE(one);
    World w;
    const LossValue value = w.run("diff_instruct", one ? "weight = \"one\"" : "");
    CHECK(most(value.t - w.t) < 1e-15);
    // Scores of x_t, times alpha sigma^2 / alpha^2 of the chain's rule and of w = s^2.
    const auto score = [&](const Tensor& d) { return (col(1 - w.t) * d - w.x_t) / col(w.t.square()); };
    const Tensor weight = (one ? at::ones_like(w.t) : w.level.square()) * (1 - w.t);
    w.agree(value.per_row, w.half_square(col(weight) * (score(w.d_fake) - score(w.d_teacher))), "student");
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
  }
}

TEST_CASE("sid is the identity of scores, with gradients through the sample and both networks") {
  for (const double alpha : {1.2, 1.0, 0.5}) {
    CAPTURE(alpha);
    World w;
    const LossValue value = w.run("sid", "alpha = " + std::to_string(alpha));
    const Tensor d = w.d_teacher - w.d_fake;
    const Tensor size = (w.x - w.d_teacher).detach().abs().mean(1);
    // The derivative through the teacher is a central difference.
    w.agree(value.per_row, (d * ((w.d_teacher - w.x) - alpha * d)).mean(1) / size, "student", 1e-8);
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
  }
}

TEST_CASE("f_distill is dmd2 times h(r) of the discriminator's ratio, before the discriminator itself") {
  for (const bool batch : {false, true}) {
    CAPTURE(batch);
    World w;
    const LossValue value =
        w.run("f_distill", std::string("divergence = \"jeffreys\"\ngan_weight = 0.1\nratio_min = 0.8\nratio_max = "
                                       "1.5\ndiscriminator = \"mlp\"\nnormalise = ") +
                               (batch ? "\"batch\"" : "\"none\""));
    Tensor h = 1 + w.logit(w.x_t).exp().clamp(0.8, 1.5).detach();
    CHECK((h == 1.8).logical_or(h == 2.5).any().item<bool>());  // some ratio is beyond a bound
    h = batch ? h / h.mean() : h;
    w.agree(value.per_row, h * w.half_square(w.over_size(w.d_fake - w.d_teacher)) + 0.1 * soft(-w.logit(w.x_t)),
            "student");
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
    const Tensor real = col(1 - w.t) * w.real + col(w.t) * w.noise;
    w.agree(value.roles.at("discriminator"), soft(w.logit(w.x_t.detach())) + soft(-w.logit(real)), "discriminator");
  }
}

TEST_CASE("f_distill's weight is r^2 f''(r) of each divergence") {
  const std::tuple<const char*, double, std::function<double(double)>> kinds[] = {
      {"reverse_kl", 1, [](double r) { return -std::log(r); }},
      {"kl", 1, [](double r) { return r * std::log(r); }},
      {"jensen_shannon", 1, [](double r) { return r * std::log(r) - (r + 1) * std::log((r + 1) / 2); }},
      {"softened_reverse_kl", 1, [](double r) { return (r + 1) * std::log((r + 1) / (2 * r)); }},
      {"jeffreys", 1, [](double r) { return (r - 1) * std::log(r); }},
      {"squared_hellinger", 2, [](double r) { return (1 - std::sqrt(r)) * (1 - std::sqrt(r)); }},
      {"neyman", 0.5, [](double r) { return (1 - r) * (1 - r) / r; }},
      {"pearson", 0.5, [](double r) { return (1 - r) * (1 - r); }}};
  for (const auto& [name, factor, f] : kinds) {
    CAPTURE(name);
    World w;
    const std::string toml = "gan_weight = 0\nratio_min = 1e-3\nratio_max = 1e3\ndiscriminator = \"mlp\"\n";
    const Tensor plain = w.run("dmd2", "").per_row;
    const Tensor h = w.run("f_distill", toml + "divergence = \"" + name + "\"").per_row / plain;
    const Tensor ratio = w.logit(w.x_t).exp();
    for (int64_t i = 0; i < batch_rows; ++i) {
      const double r = ratio[i].item<double>(), e = 1e-4 * r;
      const double second = (f(r + e) - 2 * f(r) + f(r - e)) / (e * e);
      CHECK(h[i].item<double>() == doctest::Approx(factor * r * r * second).epsilon(1e-5));
    }
  }
}

TEST_CASE("a student that is not due has no value, and its networks learn the same") {
  for (const std::string name : {"dmd2", "diff_instruct", "sid", "f_distill"}) {
    CAPTURE(name);
    World w;
    const LossValue due = w.run(name, ""), not_due = w.run(name, "", false);
    CHECK(!not_due.per_row.defined());
    REQUIRE(due.roles.size() == not_due.roles.size());
    for (const auto& [role, value] : due.roles) {
      CHECK(at::equal(value, not_due.roles.at(role)));
    }
    CHECK(w.host.make_plugin<Loss>(name, "student_every = 3")->roles()[0].every == 3);
  }
}

namespace {

const std::pair<std::string, std::string> with_exact_networks[] = {
    {"dmd2", ""},
    {"diff_instruct", ""},
    {"sid", ""},
    {"sid", "alpha = 1.0"},
    {"f_distill", "gan_weight = 0.1"},
    {"f_distill", "divergence = \"kl\"\nnormalise = \"batch\""}};

}  // namespace

TEST_CASE("the exact generator with the exact fake network has no gradient") {
  for (const auto& [name, toml] : with_exact_networks) {
    CAPTURE(name);
    CAPTURE(toml);
    Gaussians exact(0.4, 0.3), wrong(0.5, 0.3);
    const auto loss = exact.host.make_plugin<Loss>(name, toml);
    exact.step(*loss, 1);
    CHECK(most(exact.a.grad()) < 1e-6);  // of the label's float32
    CHECK(most(exact.b.grad()) < 1e-6);
    wrong.step(*loss, 1);
    CHECK(most(wrong.a.grad()) > 1e-3);
  }
}

TEST_CASE("a Gaussian generator is led to the teacher's Gaussian") {
  for (const auto& [name, toml] : with_exact_networks) {
    CAPTURE(name);
    CAPTURE(toml);
    Gaussians g(toml.empty() && name == "sid" ? 0.5 : 0.8, -0.2);  // sid's alpha of 1.2 has to begin nearer
    const auto loss = g.host.make_plugin<Loss>(name, toml);
    for (uint64_t i = 0; i < 500; ++i) {
      g.step(*loss, i);
      const at::NoGradGuard no_grad;
      g.a -= 0.1 * g.a.grad();
      g.b -= 0.1 * g.b.grad();
    }
    CHECK(g.a.item<double>() == doctest::Approx(0.4).epsilon(0.02));
    CHECK(g.b.item<double>() == doctest::Approx(0.3).epsilon(0.02));
  }
}

TEST_CASE("losses of distributions have finite gradients at weights of zeros and of ones, and for equal rows") {
  for (const std::string name : {"dmd2", "diff_instruct", "sid", "f_distill"}) {
    for (const double number : {0.0, 1.0}) {
      for (const bool equal : {false, true}) {
        CAPTURE(name);
        CAPTURE(number);
        CAPTURE(equal);
        World w;
        for (const auto& [role, network] : w.networks) {
          for (Tensor& p : network->module()->parameters()) {
            p.set_data(at::full_like(p, number));
          }
        }
        if (equal) {
          w.z.fill_(0.3);
          w.noise.fill_(0.3);
          w.real.fill_(0.3);
        }
        LossValue value = w.run(name, "");
        value.roles["student"] = value.per_row;
        for (const auto& [role, per_row] : value.roles) {
          const std::vector<Tensor> own = w.networks.at(role)->module()->parameters();
          per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
          for (const Tensor& p : own) {
            CHECK((!p.grad().defined() || p.grad().isfinite().all().item<bool>()));
          }
          // A discriminator of zeros learns nothing of means: it says 0 of both, and its hidden layer nothing.
          CHECK((role == "discriminator" || most(own.back().grad()) + most(own.front().grad()) > 0));
        }
      }
    }
  }
}
