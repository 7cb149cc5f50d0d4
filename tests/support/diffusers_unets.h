/// Diffusers' U-Nets as tests/parity/make_diffusers_unets.py made them: weights and inputs by the same recipe, numbers
/// to hold outputs and gradients against.
#pragma once

#include <torch/nn/module.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "retort/network.h"
#include "support/support.h"

namespace retort::test {

inline const Json& unet_parity() {
  static const Json all = Json::parse(read_text(source_dir() + "/tests/parity/diffusers_unets.json"));
  return all;
}

/// `numbers` of the script. [shape] float64
inline Tensor hashed(at::IntArrayRef shape, uint64_t stream) {
  const Tensor out = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < out.numel(); ++i) {
    constexpr uint64_t mask = 0xFFFFFFFF;
    uint64_t u = (static_cast<uint64_t>(i) * 2654435761U + stream * 40503 + 1) & mask;
    u ^= u >> 15U;
    u = (u * 2246822519U) & mask;
    u ^= u >> 13U;
    out.data_ptr<double>()[i] = static_cast<double>(u) / 4294967296.0 - 0.5;
  }
  return out;
}

inline constexpr uint64_t x_stream = 10001, direction_stream = 10006;
inline const std::map<std::string, std::pair<uint64_t, double>> input_streams = {{"prompt_embeds", {10002, 4}},
                                                                                 {"pooled_prompt_embeds", {10003, 4}},
                                                                                 {"time_ids", {10004, 500}},
                                                                                 {"class_labels", {10005, 4}}};

/// Parameters and buffers by name.
inline std::map<std::string, Tensor> weights_of(Network& network) {
  std::map<std::string, Tensor> out;
  for (const auto& item : network.module()->named_parameters()) {
    out[item.key()] = item.value();
  }
  for (const auto& item : network.module()->named_buffers()) {
    out[item.key()] = item.value();
  }
  return out;
}

inline Tensor hashed_weight(const std::string& name, const Tensor& like, uint64_t stream) {
  const bool norm = like.dim() == 1 && name.ends_with(".weight");
  return hashed(like.sizes(), stream) * 0.5 + (norm ? 1 : 0);
}

struct UNetCase {
  explicit UNetCase(const Json& json_) : json(json_), shape(json["x"].get<std::vector<int64_t>>()) {
    ModelSpec spec{{shape[1], shape[2], shape[3]}};
    if (json.contains("labels")) {
      spec.inputs = label_inputs(json["keys"]["num_class_embeds"].get<int64_t>());
    }
    for (const auto& [name, sizes] : json["inputs"].items()) {
      std::vector<int64_t> row = sizes.get<std::vector<int64_t>>();
      row.erase(row.begin());
      spec.inputs.push_back({.name = name, .shape = row});
      if (name == "prompt_embeds" && json.contains("mask")) {
        spec.inputs.push_back({.name = "attention_mask", .shape = {row[0]}, .dtype = at::kBool});
      }
    }
    if (json.contains("guidance")) {
      spec.inputs.push_back(guidance_input());
    }
    host = std::make_unique<TestHost>("type = \"ve\"", spec);
  }

  std::string name() const { return json["name"].get<std::string>(); }

  /// With the recipe's weights, where `filled`.
  std::shared_ptr<Network> network(at::ScalarType dtype, bool filled = true) const {
    const Value table = from_json(json["keys"], "config.json");
    Params p(table, "network", host.get());
    const auto made =
        std::static_pointer_cast<Network>(registry().make("network", json["network"].get<std::string>(), p));
    p.finish();
    if (filled) {
      made->module()->to(dtype);
      fill(*made);
    }
    made->module()->eval();
    return made;
  }

  static void fill(Network& network) {
    const at::NoGradGuard no_grad;
    uint64_t stream = 0;
    for (auto& [key, weight] : weights_of(network)) {
      weight.copy_(hashed_weight(key, weight, stream++));
    }
  }

  Tensor x(at::ScalarType dtype) const { return (hashed(shape, x_stream) * 4).to(dtype); }
  Tensor times() const { return at::tensor(json["times"].get<std::vector<double>>(), at::kFloat); }

  Conditioning condition(at::ScalarType dtype) const {
    Conditioning out;
    for (const auto& [key, sizes] : json["inputs"].items()) {
      const auto [stream, scale] = input_streams.at(key);
      const bool exact = key == "time_ids" || key == "class_labels";
      out.set(key, (hashed(sizes.get<std::vector<int64_t>>(), stream) * scale).to(exact ? at::kDouble : dtype));
    }
    if (json.contains("labels")) {
      out.set(inputs::labels, at::tensor(json["labels"].get<std::vector<int64_t>>(), at::kLong));
    }
    if (json.contains("mask")) {
      const auto rows = json["mask"].get<std::vector<std::vector<int64_t>>>();
      std::vector<Tensor> mask;
      for (const auto& row : rows) {
        mask.push_back(at::tensor(row, at::kLong) > 0);
      }
      out.set("attention_mask", at::stack(mask));
    }
    if (json.contains("guidance")) {
      out.set(inputs::guidance, at::tensor(json["guidance"].get<std::vector<double>>(), at::kDouble).log1p());
    }
    return out;
  }

  Tensor output(Network& network, at::ScalarType dtype) const {
    return network.forward(x(dtype), times(), condition(dtype));
  }
  Tensor wanted(const char* dtype) const {
    return at::tensor(json[dtype].get<std::vector<double>>(), at::kDouble).view(shape);
  }

  const Json& json;
  std::vector<int64_t> shape;
  std::unique_ptr<TestHost> host;
};

/// Every case of one network: its weights' number, its outputs, its gradients.
inline void check_unet_cases(const std::string& network, size_t least) {
  size_t count = 0;
  for (const Json& json : unet_parity()["cases"]) {
    if (json["network"] != network) {
      continue;
    }
    const UNetCase c(json);
    CAPTURE(c.name());
    ++count;
    const auto exact = c.network(at::kDouble);
    auto weights = weights_of(*exact);
    int64_t numbers = 0;
    for (const auto& [key, weight] : weights) {
      numbers += weight.numel();
    }
    CHECK(weights.size() == json["tensors"].get<size_t>());
    CHECK(numbers == json["numbers"].get<int64_t>());
    const Tensor out = c.output(*exact, at::kDouble), wanted = c.wanted("float64");
    REQUIRE(out.sizes() == wanted.sizes());
    const double scale = 1 + most(wanted), far = most(out.detach() - wanted) / scale;
    // Waves of a time's logarithm are float32 in diffusers, and another number on another processor.
    const bool waves = json["keys"].value("time_embedding_type", "") == "fourier";
    CHECK(far < (waves ? 1e-6 : 1e-10));
    const at::NoGradGuard no_grad;
    const auto single = c.network(at::kFloat);
    const double single_far = most(c.output(*single, at::kFloat).to(at::kDouble) - c.wanted("float32")) / scale;
    CHECK(single_far < 1e-5);
    double gradients_far = 0;
    if (json.contains("gradients")) {
      {
        const at::AutoGradMode grad(true);
        (out * hashed(out.sizes(), direction_stream)).sum().backward();
      }
      for (const auto& [key, figures] : json["gradients"].items()) {
        CAPTURE(key);
        REQUIRE(weights.contains(key));
        const Tensor gradient = weights[key].grad();
        REQUIRE(gradient.defined());
        const double norm = gradient.norm().item<double>();
        const double along = (gradient * hashed(gradient.sizes(), direction_stream)).sum().item<double>();
        const double size = figures[0].get<double>() + 1e-6;
        gradients_far = std::max({gradients_far, std::abs(norm - figures[0].get<double>()) / size,
                                  std::abs(along - figures[1].get<double>()) / size});
      }
      CHECK(gradients_far < (waves ? 1e-5 : 1e-8));
    }
    MESSAGE(c.name() << ": " << weights.size() << " tensors, " << numbers << " numbers; largest difference " << far
                     << " in float64, " << single_far << " in float32, of gradients " << gradients_far);
  }
  CHECK(count >= least);
}

}  // namespace retort::test
