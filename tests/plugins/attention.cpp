// Attention and the embedding of times, held against diffusers' numbers: tests/parity/make_attention.py.
#include "shared/attention.h"

#include "io/files.h"
#include "io/json.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Json parity() { return Json::parse(read_text(source_dir() + "/tests/parity/attention.json")); }

void flatten(const Json& json, std::vector<double>& numbers, std::vector<int64_t>& shape, size_t depth) {
  if (!json.is_array()) {
    numbers.push_back(json.get<double>());
    return;
  }
  if (shape.size() == depth) {
    shape.push_back(static_cast<int64_t>(json.size()));
  }
  for (const Json& item : json) {
    flatten(item, numbers, shape, depth + 1);
  }
}

Tensor tensor_of(const Json& json) {
  std::vector<double> numbers;
  std::vector<int64_t> shape;
  flatten(json, numbers, shape, 0);
  return at::tensor(numbers, at::kDouble).view(shape);
}

bool agrees(const Tensor& ours, const Json& theirs) {
  const Tensor wanted = tensor_of(theirs);
  return ours.sizes() == wanted.sizes() && most(ours - wanted) < 1e-12 * (1 + most(wanted));
}

std::string diffusers_name(const std::string& ours) {
  return ours.starts_with("to_out.") ? "to_out.0." + ours.substr(7) : ours;
}

}  // namespace

TEST_CASE("attention and its gradients are diffusers', of a text, of a masked one, and of the picture itself") {
  const Json cases = parity()["attention"];
  REQUIRE(cases.size() == 3);
  for (const Json& c : cases) {
    const auto name = c["name"].get<std::string>();
    CAPTURE(name);
    const Tensor x = tensor_of(c["query"]).requires_grad_();
    const Tensor context = c["context"].is_null() ? x : tensor_of(c["context"]).requires_grad_();
    const Tensor mask = c["mask"].is_null() ? Tensor() : tensor_of(c["mask"]) > 0;
    Attention attention(x.size(2), context.size(2), c["heads"].get<int64_t>());
    attention.to(at::kDouble);
    for (const auto& weight : attention.named_parameters()) {
      const at::NoGradGuard no_grad;
      Tensor(weight.value()).copy_(tensor_of(c["weights"][diffusers_name(weight.key())]));
    }
    const Tensor output = attention.forward(x, context, mask);
    CHECK(agrees(output, c["output"]));
    (output * tensor_of(c["of_output"])).sum().backward();
    size_t compared = 0;
    for (const auto& weight : attention.named_parameters()) {
      CHECK(agrees(weight.value().grad(), c["gradients"][diffusers_name(weight.key())]));
      ++compared;
    }
    CHECK(agrees(x.grad(), c["gradients"]["query"]));
    if (!c["context"].is_null()) {
      CHECK(agrees(context.grad(), c["gradients"]["context"]));
    }
    CHECK(compared + (c["context"].is_null() ? 1 : 2) == c["gradients"].size());
  }
}

TEST_CASE("the embedding of times is diffusers'") {
  const Json cases = parity()["timestep_embedding"];
  REQUIRE(cases.size() == 3);
  for (const Json& c : cases) {
    const auto name = c["name"].get<std::string>();
    CAPTURE(name);
    REQUIRE(c["max_period"] == 10000);
    CHECK(agrees(timestep_embedding(tensor_of(c["times"]), c["num_channels"].get<int64_t>(),
                                    c["flip_sin_to_cos"].get<bool>(), c["downscale_freq_shift"].get<double>()),
                 c["values"]));
  }
}

TEST_CASE("a row of which all places are hidden gets the last bias alone, and finite gradients") {
  Attention attention(8, 6, 2);
  attention.to(at::kDouble);
  const Tensor x = normal({2, 5, 8}).requires_grad_(), context = normal({2, 7, 6}, 1).requires_grad_();
  Tensor mask = at::ones({2, 7}, at::kBool);
  mask[1].zero_();
  const Tensor output = attention.forward(x, context, mask);
  CHECK(most(output[1] - attention.to_out->bias) == 0);
  CHECK(most(output[0] - attention.forward(x, context)[0]) < 1e-14);
  output.square().sum().backward();
  CHECK(x.grad().isfinite().all().item<bool>());
  CHECK(most(context.grad()[1]) == 0);
}
