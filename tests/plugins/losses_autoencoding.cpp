// What trains an autoencoder, and what measures it, against formulas written out here.
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <cmath>

#include "support/autoencoders.h"
#include "support/evaluation.h"

using namespace retort;
using namespace retort::test;

namespace {

// One network and all that a step needs, in float64.
class Lesson {
 public:
  explicit Lesson(const char* name, const std::string& loss_toml = "")
      : coded(autoencoder_case(name)),
        network(coded.network(at::kDouble)),
        backend_(coded.host.make_plugin<Backend>("cpu", "precision = \"float64\"")),
        loss_(coded.host.make_plugin<Loss>("autoencoding", loss_toml)),
        model_(backend_->trainable(network), Process(), Parametrisation{}, {}, Makes::autoencoder) {}

  const Loss& loss() const { return *loss_; }
  const Model& model() const { return model_; }

  LossValue value(const Tensor& x, const Tensor& noise = {}) const {
    const Batch data{x, {}};
    TrainingStep step{.batch = data,
                      .student = model_,
                      .target = model_,
                      .process = model_.process(),
                      .generator = seeded(3, "training"),
                      .spec = {{x.sizes().slice(1).vec()}}};
    if (noise.defined()) {
      step.brought = [noise](std::string_view) { return noise; };
    }
    return (*loss_)(step);
  }

  AutoencoderCase coded;
  std::shared_ptr<AutoencoderNetwork> network;

 private:
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<Loss> loss_;
  Model model_;
};

std::map<std::string, Tensor> gradients(Network& network, const Tensor& value) {
  std::map<std::string, Tensor> out;
  for (const auto& p : network.module()->named_parameters()) {
    Tensor(p.value()).mutable_grad() = Tensor();
  }
  value.sum().backward();
  for (const auto& p : network.module()->named_parameters()) {
    out[p.key()] = p.value().grad().defined() ? p.value().grad().clone() : at::zeros_like(p.value());
  }
  return out;
}

void check_equal(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& wanted) {
  REQUIRE(got.size() == wanted.size());
  for (const auto& [name, gradient] : wanted) {
    CAPTURE(name);
    CHECK(most(gradient) > 0);
    CHECK(most(got.at(name) - gradient) < 1e-11 * (1 + most(gradient)));
  }
}

// A network of an autoencoder as metrics see it.
class CodedEvaluation final : public Evaluation {
 public:
  CodedEvaluation(CompiledNetwork& network, const Dataset& data) : network_(network), data_(data) {}
  Tensor samples() const override { throw RequestError("has none"); }
  Tensor reference() const override { throw RequestError("has none"); }
  Tensor sample_features() const override { throw RequestError("has none"); }
  Tensor reference_features() const override { throw RequestError("has none"); }
  Tensor features(const Tensor& x) const override { return x; }
  Batch start() const override { return {}; }
  Tensor endpoints() const override { return {}; }
  Batch data(int64_t n) const override {
    return data_.batch(Split::test, at::arange(std::min(n, data_.size(Split::test)), at::kLong));
  }
  const Dataset* dataset() const override { return &data_; }
  const Model* model() const override { return nullptr; }
  CompiledNetwork* network() const override { return &network_; }
  int64_t student_steps() const override { return 0; }
  const Ode* ode() const override { return nullptr; }
  const Solver* solver() const override { return nullptr; }
  Tensor grid() const override { return {}; }
  at::Generator generator(const char* stream) const override { return seeded(0, stream); }
  Tensor shared(const std::string&, const std::function<Tensor()>& compute) const override { return compute(); }

 private:
  CompiledNetwork& network_;
  const Dataset& data_;
};

}  // namespace

TEST_CASE("autoencoding is the distance of drawn pictures and the KL, and so is every parameter's gradient") {
  for (const char* name : {"Stable Diffusion", "attention on the levels", "one level"}) {
    CAPTURE(std::string(name));
    const Lesson lesson(name, "distance = \"l2\"\nkl_weight = 0.3\n");
    CHECK((lesson.loss().makes() == Makes::autoencoder));
    const Tensor x = lesson.coded.x(), noise = lesson.coded.noise();
    const LossValue value = lesson.value(x, noise);
    REQUIRE(value.per_row.sizes() == at::IntArrayRef({2}));
    const auto got = gradients(*lesson.network, value.per_row);
    const Tensor encoded = lesson.network->encode(x);
    const int64_t half = encoded.size(1) / 2;
    const Tensor m = encoded.narrow(1, 0, half), variance = encoded.narrow(1, half, half).exp();
    const Tensor picture = lesson.network->decode(m + variance.sqrt() * noise);
    const auto size = static_cast<double>(x[0].numel());
    const Tensor kl = 0.5 * (m.square() + variance - 1 - variance.log()).flatten(1).sum(1);
    const Tensor wanted = (picture - x).square().flatten(1).sum(1) / size + 0.3 * kl / size;
    CHECK(most((value.per_row - wanted).detach()) < 1e-12 * (1 + most(wanted.detach())));
    CHECK(most(kl.detach() - numbers_in(lesson.coded.json["kl"])) < 1e-10 * most(kl.detach()));  // diffusers' own
    check_equal(got, gradients(*lesson.network, wanted));
    // And by differences, of one weight in the middle of it all.
    const at::NoGradGuard no_grad;
    Tensor weight = weights_of(*lesson.network).at("encoder.conv_out.weight");
    const Tensor direction = hashed(weight.sizes(), 77);
    const auto at_distance = [&](double step) {
      weight.add_(direction, step);
      const double out = lesson.value(x, noise).per_row.sum().item<double>();
      weight.sub_(direction, step);
      return out;
    };
    const double slope = (at_distance(1e-5) - at_distance(-1e-5)) / 2e-5;
    CHECK(slope == doctest::Approx((got.at("encoder.conv_out.weight") * direction).sum().item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("where nothing is drawn, autoencoding limits the squared latents") {
  for (const char* name : {"TAESD", "bilinear"}) {
    CAPTURE(std::string(name));
    const Lesson lesson(name, "kl_weight = 100\nlatent_weight = 0.2\n");
    const Tensor x = lesson.coded.x();
    const LossValue value = lesson.value(x);
    const auto got = gradients(*lesson.network, value.per_row);
    const Tensor z = lesson.network->encode(x), picture = lesson.network->decode(z);
    const Tensor wanted =
        (picture - x).abs().flatten(1).mean(1) + 0.2 * z.square().flatten(1).sum(1) / static_cast<double>(z[0].numel());
    CHECK(most((value.per_row - wanted).detach()) < 1e-13);
    check_equal(got, gradients(*lesson.network, wanted));
    const Lesson without(name);
    CHECK(most((without.value(x).per_row - (picture - x).abs().flatten(1).mean(1)).detach()) < 1e-13);
  }
}

TEST_CASE("the noise of autoencoding is that of the step, however often it was asked for") {
  const Lesson lesson("one level"), again("one level");  // of latents that are more than a picture's numbers
  const Tensor x = lesson.coded.x();
  const Tensor first = lesson.value(x).per_row, second = lesson.value(x).per_row;
  CHECK(at::equal(first, second));
  CHECK(at::equal(first, again.value(x).per_row));
  const LossValue drawn = lesson.value(x), mean = lesson.value(x, at::zeros(lesson.coded.latent, at::kDouble));
  CHECK(!at::equal(drawn.diagnostics.at("distance"), mean.diagnostics.at("distance")));
  CHECK(at::equal(drawn.diagnostics.at("kl"), mean.diagnostics.at("kl")));
}

TEST_CASE("autoencoding refuses networks that are no autoencoders, and pictures of another size, in one line") {
  TestHost host("type = \"ve\"", ModelSpec{{2}});
  const auto backend = host.make_plugin<Backend>("cpu");
  const auto loss = host.make_plugin<Loss>("autoencoding");
  const Model model(backend->trainable(host.make_plugin<Network>("mlp", "width = 8\ndepth = 1")), Process(), {}, {},
                    Makes::autoencoder);
  const Batch data{normal({3, 2}).to(at::kFloat), {}};
  const TrainingStep step{
      .batch = data, .student = model, .target = model, .process = model.process(), .generator = seeded(3, "training")};
  CHECK_THROWS_AS((*loss)(step), Error);
  const Lesson larger("three times, bicubic");
  std::string line;
  try {
    larger.value(larger.coded.x());
  } catch (const Error& e) {
    line = e.what();
  }
  CHECK(contains(line, "network 'autoencoder_tiny': decodes to 3 x 6 x 9 what it encoded of 3 x 4 x 6; expected"));
}

TEST_CASE("reconstruction is the error of the mean's pictures, in dB too, and the deviation of drawn latents") {
  for (const char* name : {"Stable Diffusion", "TAESD"}) {
    CAPTURE(std::string(name));
    const Lesson lesson(name);
    const GivenData data(lesson.coded.x());
    const CodedEvaluation evaluation(lesson.model().network(), data);
    const at::NoGradGuard no_grad;
    const Values got = measure("reconstruction", evaluation, "batch = 1"),
                 whole = measure("reconstruction", evaluation);
    const Tensor x = lesson.coded.x(), said = lesson.network->encode(x);
    const bool variational = lesson.coded.is_variational();
    const Tensor mean = variational ? said.chunk(2, 1)[0] : said;
    const Tensor mse = (lesson.network->decode(mean) - x).square().flatten(1).mean(1);
    CHECK(got.at("mse") == doctest::Approx(mse.mean().item<double>()));
    CHECK(got.at("psnr") == doctest::Approx((10 * (4 / mse).log10()).mean().item<double>()));
    const double drawn = variational ? said.chunk(2, 1)[1].exp().mean().item<double>() : 0;
    CHECK(got.at("latent_std") == doctest::Approx(std::sqrt(mean.var(/*unbiased=*/false).item<double>() + drawn)));
    for (const auto& [key, value] : whole) {
      CHECK(value == doctest::Approx(got.at(key)));
    }
  }
}
