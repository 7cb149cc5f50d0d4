// Encoders of pictures, and what is measured in their features, against other packages: tests/parity/make_features.py.
#include <torch/csrc/jit/api/module.h>

#include <filesystem>

#include "io/files.h"
#include "io/safetensors.h"
#include "retort/distance.h"
#include "retort/network.h"
#include "support/evaluation.h"
#include "support/parity.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string fixture(const std::string& name) { return source_dir() + "/tests/fixtures/features/" + name; }
std::string quoted(const std::string& text) { return "\"" + text + "\""; }

const Json& peers() {
  static const Json all = Json::parse(read_text(source_dir() + "/tests/parity/features.json"));
  return all;
}

// Bytes, with numbers a little above them, which quantising takes away.
Tensor pictures(const char* which) {
  static const TensorFile file = read_safetensors(fixture("pictures.safetensors"));
  return (file.tensors.at(which).to(at::kFloat) + 0.3) / 127.5 - 1;
}

std::shared_ptr<Network> encoder(const std::string& toml) {
  static TestHost host;
  return host.make_plugin<Network>("picture_encoder", toml);
}

// The keys that the export script printed, without their heading.
std::string keys_of(const Json& one) {
  std::string toml = one["toml"].get<std::string>();
  toml = toml.substr(toml.find('\n') + 1);
  const std::string file = "file = \"";
  return toml.replace(toml.find(file), file.size(), file + fixture(""));
}

// The same as the inner of an inline table.
std::string inline_table(const Json& one) {
  std::string out = keys_of(one);
  while (out.ends_with('\n')) {
    out.pop_back();
  }
  for (size_t at = out.find('\n'); at != std::string::npos; at = out.find('\n', at)) {
    out.replace(at, 1, ", ");
  }
  return "{ " + out + " }";
}

Tensor features_of(const Json& one, const char* which) {
  const at::NoGradGuard no_grad;
  return encoder(keys_of(one))->features(pictures(which));
}

double difference(double value, double of_peer) { return std::abs(value - of_peer) / std::max(1.0, std::abs(of_peer)); }

void check_value(const std::string& metric, const std::string& peer, const Values& got, const std::string& key,
                 double expected, double tolerance) {
  CAPTURE(metric);
  CAPTURE(key);
  REQUIRE(got.contains(key));
  const double apart = difference(got.at(key), expected);
  CHECK(apart <= tolerance);
  note_difference("metric", metric, peer, apart);
}

GivenEvaluation labelled() {
  GivenEvaluation out(pictures("samples"), pictures("reference"));
  out.start_.condition.set(inputs::labels, at::arange(out.samples_.size(0), at::kLong));
  return out;
}

std::string clip_keys() {
  return "text_features = " + quoted(fixture("texts.safetensors")) + "\nencoder = " + inline_table(peers()["clip"]) +
         "\n";
}

}  // namespace

TEST_CASE("pictures are prepared as clean-fid prepares them, by Pillow or by torch's interpolate") {
  size_t cases = 0;
  for (const Json& one : peers()["prepared"]) {
    std::string toml = "file = " + quoted(fixture("flat.pt")) + "\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.3, 0.4]\n";
    for (const auto& [key, value] : one["keys"].items()) {
      toml += key + " = " + value.dump() + "\n";
    }
    CAPTURE(toml);
    std::vector<int64_t> shape = one["shape"].get<std::vector<int64_t>>();
    shape.insert(shape.begin(), 1);
    const Tensor x = times(one["x"].get<std::vector<double>>()).to(at::kFloat).view(shape);
    const Tensor expected = times(one["expected"].get<std::vector<double>>());
    const Tensor got = encoder(toml)->features(x).to(at::kDouble).view({-1});
    REQUIRE(got.sizes() == expected.sizes());
    CHECK(most(got - expected) < 1e-5);
    note_difference("network", "picture_encoder", "clean-fid", most(got - expected));
    ++cases;
  }
  CHECK(cases == 9);
}

TEST_CASE("features of a convolutional network, of CLIP and of DINOv2 are PyTorch's") {
  for (const char* name : {"conv", "clip", "dinov2"}) {
    CAPTURE(std::string(name));
    const Json& one = peers()[name];
    const Tensor expected = table(one["features"]);
    const Tensor got = features_of(one, "samples").narrow(0, 0, expected.size(0)).to(at::kDouble);
    CHECK(most(got - expected) < 2e-5 * (1 + most(expected)));
    note_difference("network", "picture_encoder", std::string_view(name) == "conv" ? "torch" : "transformers",
                    most(got - expected) / most(expected));
  }
}

TEST_CASE("FD, KID, precision, recall, density and coverage in their features are those of other packages") {
  for (const char* name : {"conv", "clip"}) {
    CAPTURE(std::string(name));
    const Json& one = peers()[name];
    const Tensor a = features_of(one, "samples"), b = features_of(one, "reference");
    const auto expected = [&](const char* key) { return one[key].get<double>(); };
    check_value("fd", "pytorch-fid", measure("fd", a, b), "fd", expected("fd"), 1e-5);
    check_value("kid", "torchmetrics", measure("kid", a, b, "subset_size = 100000"), "kid", expected("kid"), 1e-5);
    const Values shares = measure("precision_recall", a, b, "density_coverage = true");
    for (const char* key : {"precision", "recall", "density", "coverage"}) {
      check_value("precision_recall", "prdc", shares, key, expected(key), 1e-12);
    }
  }
}

TEST_CASE("fd takes statistics that pytorch-fid wrote in place of the reference, which then need not be there") {
  const Json& one = peers()["conv"];
  const Tensor a = features_of(one, "samples"), other = at::zeros({1, 12});
  const double expected = one["fd"].get<double>();
  const auto with = [&](const char* file) {
    return measure("fd", a, other, "teacher = false\nstatistics = " + quoted(fixture(file)));
  };
  check_value("fd", "pytorch-fid", with("statistics.npz"), "fd", expected, 1e-5);
  CHECK(difference(with("statistics_f4.npz")["fd"], expected) < 1e-4);  // float32, not compressed, columns first
  const Values infinity =
      measure("fd", a, other, "teacher = false\nextrapolate = 3\nstatistics = " + quoted(fixture("statistics.npz")));
  CHECK(infinity.contains("fd_infinity"));
}

TEST_CASE("statistics that are none, or of other features, are refused in one line") {
  TestHost host;
  const Folder folder;
  const auto refused = [&](const std::string& path) {
    return request_error([&] { host.make_plugin<Metric>("fd", "statistics = " + quoted(path)); });
  };
  CHECK(contains(refused("nowhere.npz"), "test.toml:1: metric.statistics: nowhere.npz: no such file; expected what"));
  write_text(folder / "text.npz", "no zip at all");
  CHECK(contains(refused((folder / "text.npz").string()), "text.npz: is no .npz file; expected what numpy.savez"));
  CHECK(contains(refused(fixture("broken_no_sigma.npz")), "has no array 'sigma'; it has mu"));
  CHECK(contains(refused(fixture("broken_shapes.npz")), "has mu of [3] and sigma of [2, 2]; expected [F] and [F, F]"));
  CHECK(contains(refused(fixture("broken_integers.npz")), "array 'mu' is of type '<i8'; expected '<f8', '<f4'"));
  CHECK(contains(refused(fixture("broken_asymmetric.npz")), "has a sigma that is not symmetric"));
  CHECK(contains(refused(fixture("broken_infinite.npz")), "has numbers that are not finite"));
  // Wherever it is cut before its list of contents, which is at the end, it is a line.
  const std::string whole = read_text(fixture("statistics_f4.npz"));
  for (size_t length = 0; length < whole.find("PK\x01\x02"); length += 53) {
    write_text(folder / "cut.npz", whole.substr(0, length));
    CHECK(contains(refused((folder / "cut.npz").string()), "cut.npz: "));
  }
  // So it is where single bytes are wrong, unless they do not matter.
  for (size_t at = 0; at < whole.size(); at += 13) {
    std::string wrong = whole;
    wrong[at] = static_cast<char>(~wrong[at]);
    write_text(folder / "wrong.npz", wrong);
    std::string what = "fine";
    try {
      host.make_plugin<Metric>("fd", "statistics = " + quoted((folder / "wrong.npz").string()));
    } catch (const RequestError& e) {
      what = e.what();
    }
    CAPTURE(at);
    CHECK((what == "fine" || (contains(what, "wrong.npz: ") && what.find('\n') == std::string::npos)));
  }
  const std::string other = request_error([&] {
    measure("fd", normal({30, 5}), normal({30, 5}), "statistics = " + quoted(fixture("statistics.npz")));
  });
  CHECK(contains(other, "is of 12 features, and evaluate.features gives 5"));
}

TEST_CASE("the CLIP score is torchmetrics', of texts by label or in the conditions, and of data with their own") {
  const GivenEvaluation evaluation = labelled();
  std::vector<double> scores = peers()["clip"]["scores"].get<std::vector<double>>();
  const Tensor each = times(scores);
  CHECK(each.min().item<double>() < -1);  // so that cutting each at 0 is seen
  const double expected = each.clamp_min(0).mean().item<double>();
  check_value("clip_score", "torchmetrics", measure("clip_score", evaluation, clip_keys()), "clip_score", expected,
              1e-5);
  CHECK(difference(measure("clip_score", evaluation, clip_keys() + "weight = 2.5")["clip_score"], expected / 40) <
        1e-5);

  const Tensor texts = read_safetensors(fixture("texts.safetensors")).tensors.at("text_features");
  GivenEvaluation pooled(pictures("samples"), pictures("reference"));
  pooled.start_.condition.set("pooled_prompt_embeds", texts);
  const std::string keys = "encoder = " + inline_table(peers()["clip"]);
  CHECK(difference(measure("clip_score", pooled, keys)["clip_score"], expected) < 1e-5);

  GivenEvaluation with_data = labelled();
  const GivenData data(pictures("samples"), {}, at::arange(each.size(0), at::kLong), each.size(0));
  with_data.dataset_ = &data;
  CHECK(difference(measure("clip_score", with_data, clip_keys())["clip_score_reference"], expected) < 1e-5);
}

TEST_CASE("the aesthetic score is that of a module of LAION's form, from safetensors and from TorchScript") {
  GivenEvaluation evaluation = labelled();
  const GivenData data(pictures("reference"));
  const double expected = peers()["aesthetic"].get<double>();
  for (const char* file : {"predictor.safetensors", "predictor.pt"}) {
    const std::string keys =
        "file = " + quoted(fixture(file)) + "\nencoder = " + inline_table(peers()["clip"]) + "\nbatch = 7";
    const Values got = measure("aesthetic", evaluation, keys);
    check_value("aesthetic", "torch", got, "aesthetic", expected, 1e-5);
    CHECK(!got.contains("aesthetic_reference"));
    GivenEvaluation with_data = labelled();
    with_data.dataset_ = &data;
    with_data.reference_ = with_data.samples_;
    CHECK(difference(measure("aesthetic", with_data, keys)["aesthetic_reference"], expected) < 1e-5);
  }
}

TEST_CASE("what the measures of texts and taste cannot do is said in one line") {
  TestHost host;
  const GivenEvaluation evaluation = labelled(), points(normal({9, 8}), normal({9, 8}));
  const auto of = [&](const std::string& metric, const Evaluation& what, const std::string& toml) {
    return request_error([&] { measure(metric, what, toml); });
  };
  const std::string texts = "text_features = " + quoted(fixture("texts.safetensors"));
  CHECK(contains(of("clip_score", evaluation, ""), "samples have no condition 'pooled_prompt_embeds'; expected"));
  CHECK(contains(of("clip_score", points, texts), "samples have no labels, which `text_features` goes by"));
  CHECK(contains(of("clip_score", evaluation, texts), "pictures have 300 features, and prompts 8"));
  GivenEvaluation more = labelled();
  more.start_.condition.set(inputs::labels, at::full({40}, 77, at::kLong));
  CHECK(contains(of("clip_score", more, clip_keys()), "has 40 rows, and there is a label 77"));
  CHECK(contains(of("clip_score", evaluation, "text_features = " + quoted(fixture("predictor.safetensors"))),
                 "predictor.safetensors: holds 10 tensor(s); expected a single one, [classes, F]"));
  CHECK(
      contains(of("clip_score", points, clip_keys() + "text = \"x\"\nencoder_ = 1"), "unknown key 'metric.encoder_'"));
  CHECK(contains(of("clip_score", evaluation, clip_keys() + "encoder_checkpoint = \"a.safetensors\""),
                 "metric.encoder_checkpoint: is given beside encoder; expected one of them"));
  CHECK(contains(of("aesthetic", points, ""), "metric.file: missing; expected the predictor"));
  CHECK(contains(of("aesthetic", points, "file = " + quoted(fixture("pictures.safetensors"))),
                 "gives 0 numbers for a picture; expected linear layers that end in one"));
  CHECK(contains(of("aesthetic", evaluation, "file = " + quoted(fixture("predictor.safetensors"))),
                 "takes 8 features, and pictures have 300"));
  CHECK(contains(of("aesthetic", evaluation, "file = " + quoted(fixture("predictor.pt"))),
                 "predictor.pt fails on 300 features: "));
}

TEST_CASE("what is no encoder, or not of these pictures, is refused in one line") {
  const std::string flat = "file = " + quoted(fixture("flat.pt")) + "\n";
  const auto built = [&](const std::string& toml) { return request_error([&] { encoder(toml); }); };
  const auto asked = [&](const std::string& toml, at::IntArrayRef shape) {
    return request_error([&] { encoder(toml)->features(at::zeros(shape)); });
  };
  CHECK(contains(built(""), "network.file: missing; expected a TorchScript file"));
  CHECK(contains(built("file = \"nowhere.pt\""), "network.file: nowhere.pt: no such file; expected"));
  CHECK(contains(built("file = " + quoted(fixture("texts.safetensors"))), "cannot be read as TorchScript"));
  CHECK(contains(built(flat + "mean = [0.5, 0.5]"),
                 "network.mean: has 2 numbers; expected one, or one for each of the 3"));
  CHECK(contains(built(flat + "std = [0.0]"), "network.std: 0 is out of range"));
  CHECK(contains(built(flat + "interpolation = \"bicubc\""), "did you mean 'bicubic'?"));
  CHECK(contains(built(flat + "sise = 3"), "unknown key 'network.sise'; did you mean 'size'?"));
  CHECK(contains(asked(flat, {2, 5}), "takes pictures [C, H, W], and is given [5] for a sample"));
  CHECK(contains(asked(flat, {2, 4, 3, 3}), "takes 3 channels, and is given [4, 3, 3] for a sample"));
  CHECK(contains(asked(flat + "output = \"tokens\"", {2, 3, 3, 3}), "output: "));
  CHECK(contains(asked("file = " + quoted(fixture("clip.pt")), {2, 3, 5, 5}),
                 "clip.pt: fails on pictures of [3, 5, 5]: "));
  const std::string error = request_error([&] { encoder(flat)->forward(at::zeros({1, 3, 2, 2}), {}, {}); });
  CHECK(contains(error, "gives features, and is nothing to train"));
}

TEST_CASE("grey pictures are repeated, and tokens and maps pooled as asked") {
  const Tensor grey = normal({3, 1, 4, 4}).to(at::kFloat) * 0.3;
  const std::string flat = "file = " + quoted(fixture("flat.pt")) + "\n";
  CHECK(at::equal(encoder(flat)->features(grey), encoder(flat)->features(grey.expand({-1, 3, -1, -1}))));
  CHECK(encoder(flat + "channels = 0")->features(grey).size(1) == 16);
  Folder folder;
  const auto script = [&](const char* name, const std::string& body) {
    torch::jit::Module made(name);
    made.define("def forward(self, x):\n    " + body + "\n");
    made.save((folder / (std::string(name) + ".pt")).string());
    return "quantise = false\nfile = " + quoted((folder / (std::string(name) + ".pt")).string()) + "\n";
  };
  const std::string tokens = script("tokens", "return x.flatten(2)"), maps = script("maps", "return x");
  const std::string both = script("both", "return {\"a\": x.flatten(1), \"b\": x.flatten(1) * 2}");
  const Tensor x = (grey + 1) / 2, three = x.expand({-1, 3, -1, -1});
  CHECK(most(encoder(tokens + "pool = \"first\"")->features(grey) - x.flatten(1)) < 1e-7);
  CHECK(most(encoder(tokens + "pool = \"mean\"")->features(grey) - x.flatten(1)) < 1e-6);
  CHECK(most(encoder(maps + "pool = \"mean\"")->features(grey) - three.mean({2, 3})) < 1e-6);
  CHECK(most(encoder(both + "output = \"b\"")->features(grey) - 2 * three.flatten(1)) < 1e-6);
  CHECK(contains(request_error([&] { encoder(maps + "pool = \"first\"")->features(grey); }),
                 "expected tokens [B, T, F]"));
}

TEST_CASE("a loss takes the same table, and its gradient passes through rounding and resizing") {
  TestHost host("type = \"ve\"", {{3, 10, 10}});
  const Value toml = parse_toml(
      "distance = \"features\"\ndistance_features = { file = " + quoted(fixture("conv.pt")) + ", size = 16 }\n",
      "test.toml");
  Params p(toml, "loss", &host);
  const Distance distance(p);
  p.finish();
  CHECK(p.path_keys().contains("distance_features.file"));
  const Tensor x = pictures("samples").narrow(0, 0, 4).clone().set_requires_grad(true);
  const Tensor d = distance(x, pictures("reference").narrow(0, 0, 4));
  d.sum().backward();
  CHECK(d.sizes() == at::IntArrayRef({4}));
  CHECK(d.min().item<double>() > 0);
  CHECK(x.grad().isfinite().all().item<bool>());
  CHECK((x.grad() != 0).to(at::kDouble).mean().item<double>() > 0.9);
  CHECK(at::equal(distance(x, x), at::zeros({4})));
  const std::string error = request_error([&] {
    TestHost points("type = \"ve\"", {{2}});
    Params q(toml, "loss", &points);
    const Distance wrong(q);
  });
  CHECK(contains(error, "test.toml:2: loss.distance_features: cannot serve: "));
}
