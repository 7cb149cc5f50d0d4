// Two towers that are trained to meet: network `clip`, loss `contrastive`, metric `retrieval`.
#include <torch/nn/module.h>

#include <cmath>
#include <map>

#include "retort/model.h"
#include "support/evaluation.h"

using namespace retort;
using namespace retort::test;

namespace {

const char* const small = "vocabulary = 9\nwidths = [8, 16]\ngroups = 4\nwidth = 16\nlayers = 2\nheads = 2\n";

ModelSpec spec_of(int64_t words = 5) {
  return {{3, 12, 10}, {{.name = "input_ids", .shape = {words}, .dtype = at::kLong}}};
}

// In float64, so that properties are exact, and with weights that are not small.
std::shared_ptr<Network> clip(const std::string& toml = small, const ModelSpec& spec = spec_of()) {
  TestHost host("type = \"ve\"", spec);
  at::manual_seed(3);
  const auto out = host.make_plugin<Network>("clip", toml);
  out->module()->to(at::kDouble);
  out->module()->eval();
  return out;
}

Tensor parameter(Network& network, const std::string& name) { return network.module()->named_parameters()[name]; }

// Texts of five words.
Tensor ids_of(const std::vector<int64_t>& words) { return at::tensor(words, at::kLong).view({-1, 5}); }

// Says what it is told, whatever it is asked.
class Told final : public CompiledNetwork {
 public:
  explicit Told(Tensor says) : says_(std::move(says)) {}
  Tensor operator()(const Tensor& x, const Tensor&, const Conditioning&) override {
    const Tensor out = says_.narrow(0, at_, x.size(0));
    at_ = (at_ + x.size(0)) % says_.size(0);
    return out;
  }

 private:
  Tensor says_;
  int64_t at_ = 0;
};

LossValue contrastive(const Tensor& both) {
  TestHost host;
  const auto loss = host.make_plugin<Loss>("contrastive");
  const Model model(std::make_shared<Told>(both), host.process(), {Predicts::edm, 0.5}, {}, loss->makes());
  return (*loss)({.batch = {at::zeros({both.size(0), 1}), {}},
                  .student = model,
                  .target = model,
                  .process = host.process(),
                  .generator = seeded(1, "training")});
}

// What retrieval says of a network that gives these embeddings.
Values retrieval(const Tensor& both) {
  const auto network = std::make_shared<Told>(both);
  const Tensor x = at::zeros({both.size(0), 1});
  const GivenData data(x);
  const Model model(network, Process(), {Predicts::edm, 0.5}, {}, Makes::embedding);
  GivenEvaluation evaluation(x, x);
  evaluation.dataset_ = &data;
  evaluation.model_ = &model;
  evaluation.network_ = network.get();
  return measure("retrieval", evaluation);
}

}  // namespace

TEST_CASE("both embeddings have the length whose square is exp(logit_scale), which stops at 100") {
  const auto network = clip();
  const Tensor x = normal({4, 3, 12, 10}), ids = ids_of({1, 2, 3, 0, 0, 4, 0, 0, 0, 0, 8, 7, 6, 5, 4, 0, 0, 0, 0, 0});
  for (const auto& [scale, square] :
       {std::pair(std::log(1 / 0.07), 1 / 0.07), std::pair(4.0, std::exp(4.0)), std::pair(6.0, 100.0)}) {
    const at::NoGradGuard no_grad;
    parameter(*network, "logit_scale").fill_(scale);
    const Tensor both = network->forward(x, {}, {{"input_ids", ids}});
    CHECK(both.sizes() == at::IntArrayRef({4, 32}));
    const Tensor squares = both.view({4, 2, 16}).square().sum(2);
    CHECK(most(squares.narrow(0, 0, 3) / square - 1) < 1e-6);
    CHECK(squares[3][0].item<double>() == doctest::Approx(square));
    CHECK(squares[3][1].item<double>() < 1e-9);  // of no word there is nothing to embed
  }
}

TEST_CASE("features are the picture's embedding, and what is asked with words alone the text's and its words'") {
  const auto network = clip();
  const at::NoGradGuard no_grad;
  const Tensor x = normal({3, 3, 12, 10}), ids = ids_of({1, 2, 3, 0, 0, 4, 0, 0, 0, 0, 8, 7, 6, 5, 4});
  const auto unit = [](const Tensor& v) { return v / v.norm(2, 1, true); };
  const Tensor both = network->forward(x, {}, {{"input_ids", ids}}),
               text = network->forward({}, {}, {{"input_ids", ids}});
  CHECK(text.sizes() == at::IntArrayRef({3, 6, 16}));
  CHECK(most(unit(both.narrow(1, 0, 16)) - unit(network->features(x))) < 1e-6);
  CHECK(most(unit(both.narrow(1, 16, 16)) - unit(text.select(1, 5))) < 1e-6);
  // The embedding is the projection of the words' mean.
  const Tensor projection = parameter(*network, "text.projection.weight");
  CHECK(most(text[0].narrow(0, 0, 3).mean(0, true).mm(projection.t()) - text[0][5]) < 1e-9);
  CHECK(most(text[1][0].unsqueeze(0).mm(projection.t()) - text[1][5]) < 1e-9);
}

TEST_CASE("a text is read in order, and nothing stands behind its last word") {
  const auto network = clip();
  const at::NoGradGuard no_grad;
  const auto embedded = [&](const Tensor& ids) {
    return network->forward({}, {}, {{"input_ids", ids}}).select(1, ids.size(1));
  };
  const Tensor before = embedded(ids_of({3, 5, 0, 0, 0}));
  CHECK(most(before - embedded(ids_of({5, 3, 0, 0, 0}))) > 1e-3);
  CHECK(most(before - embedded(ids_of({3, 5, 5, 0, 0}))) > 1e-3);
  parameter(*network, "text.places").narrow(0, 2, 3).add_(normal({3, 16}, 5));  // of the places behind
  parameter(*network, "text.words")[0].add_(normal({16}, 6));
  CHECK(most(before - embedded(ids_of({3, 5, 0, 0, 0}))) == 0);
  parameter(*network, "text.places")[1].add_(normal({16}, 7));
  CHECK(most(before - embedded(ids_of({3, 5, 0, 0, 0}))) > 1e-3);
}

TEST_CASE("what clip cannot be built for, or cannot read, is said in one line") {
  const auto refused = [](const std::string& toml, const ModelSpec& spec) {
    return request_error([&] { clip(toml, spec); });
  };
  CHECK(contains(refused("", {{3, 32, 32}}), "needs a data set of pictures with input_ids"));
  CHECK(contains(refused("", {{2}, spec_of().inputs}), "needs a data set of pictures with input_ids"));
  CHECK(contains(refused("widths = []", spec_of()), "network.widths: is an empty list"));
  CHECK(contains(refused("groups = 3", spec_of()), "network.groups: 3 does not divide the width 32"));
  CHECK(contains(refused("heads = 3", spec_of()), "network.heads: 3 does not divide the width 128"));
  CHECK(
      contains(refused("", spec_of()), "4 stages halve pictures of 12 x 10 too often; expected sides of 16 at least"));
  const auto network = clip();
  std::string what;
  try {
    network->forward({}, {}, {{"input_ids", ids_of({1, 9, 0, 0, 0})}});
  } catch (const Error& e) {
    what = e.what();
  }
  CHECK(contains(what, "input_ids have a word beyond its `vocabulary` of 9"));
}

TEST_CASE("contrastive is the mean of both cross entropies, and so are its gradients") {
  constexpr int64_t n = 7, width = 5;
  const Tensor both = (normal({n, 2 * width}, 4) * 1.5).requires_grad_(true);
  const LossValue value = contrastive(both);
  value.per_row.mean().backward();
  const at::NoGradGuard no_grad;
  const Tensor e = both.narrow(1, 0, width), f = both.narrow(1, width, width);
  // Written out: the shares of each row and column, their logarithms on the diagonal, and their difference to it.
  std::vector<std::vector<double>> product(n, std::vector<double>(n)), slope = product;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      product[i][j] = e[i].dot(f[j]).item<double>();
    }
  }
  double found = 0;
  for (int64_t i = 0; i < n; ++i) {
    double of_row = 0, of_column = 0;
    for (int64_t j = 0; j < n; ++j) {
      of_row += std::exp(product[i][j]);
      of_column += std::exp(product[j][i]);
    }
    const double expected =
        -0.5 * (std::log(std::exp(product[i][i]) / of_row) + std::log(std::exp(product[i][i]) / of_column));
    CHECK(value.per_row[i].item<double>() == doctest::Approx(expected).epsilon(1e-10));
    bool first = true;
    for (int64_t j = 0; j < n; ++j) {
      slope[i][j] += (std::exp(product[i][j]) / of_row - (i == j ? 1 : 0)) / (2 * n);
      slope[j][i] += (std::exp(product[j][i]) / of_column - (i == j ? 1 : 0)) / (2 * n);
      first = first && product[j][i] <= product[i][i];
    }
    found += first ? 1.0 / n : 0;
  }
  CHECK(value.diagnostics.at("found_in_batch").item<double>() == doctest::Approx(found).epsilon(1e-6));
  for (int64_t i = 0; i < n; ++i) {
    Tensor of_e = at::zeros({width}, at::kDouble), of_f = of_e.clone();
    for (int64_t j = 0; j < n; ++j) {
      of_e += slope[i][j] * f[j];
      of_f += slope[j][i] * e[j];
    }
    CHECK(most(both.grad()[i] - at::cat({of_e, of_f})) < 1e-10);
  }
}

TEST_CASE(
    "contrastive is log n where nothing tells pairs apart, nothing for one pair, and for pairs that are far apart") {
  for (const int64_t n : {1, 2, 9}) {
    CHECK(most(contrastive(at::ones({n, 6}, at::kDouble)).per_row - std::log(static_cast<double>(n))) < 1e-12);
    const Tensor far = at::eye(n, at::kDouble) * 10;  // products of 100 with one's own, and of 0 with others
    CHECK(most(contrastive(at::cat({far, far}, 1)).per_row) < 1e-12);
  }
  CHECK(contains(request_error([] { contrastive(at::ones({3, 5}, at::kDouble)); }), "two embeddings of one width"));
}

TEST_CASE("retrieval counts who is found first, and among the first five, in both directions") {
  constexpr int64_t n = 8;
  const Tensor own = at::eye(n, at::kDouble);
  const auto measured = [&](const Tensor& pictures, const Tensor& texts) {
    return retrieval(at::cat({pictures, texts}, 1));
  };
  for (const auto& [name, share] : measured(own * 3, own * at::arange(1, n + 1, at::kDouble).unsqueeze(1))) {
    CAPTURE(name);  // lengths do not matter
    CHECK(share == 1);
  }
  // The texts 0 and 1 are exchanged: each then has one picture before its own, or ties with six others.
  Tensor texts = own.clone();
  texts[0] = own[1] + 0.5 * own[0];
  texts[1] = own[0] + 0.5 * own[1];
  Values values = measured(own, texts);
  CHECK(values["retrieval_1"] == 6.0 / n);
  CHECK(values["retrieval_5"] == 1);
  CHECK(values["retrieval_text_1"] == 6.0 / n);
  // A picture that shows all: every other text is at one cosine with it, and its own, too.
  Tensor pictures = own.clone();
  pictures[3] = at::ones({n}, at::kDouble);
  values = measured(pictures, own);
  CHECK(values["retrieval_1"] == 1);             // for the text 3, the others are at a right angle
  CHECK(values["retrieval_text_1"] == 7.0 / n);  // of the picture 3: equal cosines count as greater
  CHECK(values["retrieval_text_5"] == 7.0 / n);
  CHECK(contains(request_error([&] {
                   retrieval(at::ones({n, 3}, at::kDouble));
                 }),
                 "asks for two embeddings of one width"));
}

TEST_CASE("retrieval says nothing of models that make samples") {
  CHECK(measure("retrieval", normal({5, 2}), normal({5, 2}, 1)).empty());
}
