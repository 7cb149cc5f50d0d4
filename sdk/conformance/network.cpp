#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "retort/autoencoder.h"
#include "world.h"

namespace retort::conformance {

namespace {

constexpr int64_t batch = 5;
constexpr int64_t most_latents = 16;  // of an autoencoder, for each number of a sample

std::string spell(const ModelSpec& spec) {
  std::string with;
  for (const Input& input : spec.inputs) {
    with += (with.empty() ? " with " : ", ") +
            (input.classes > 0 ? std::to_string(input.classes) + " classes" : input.name);
  }
  return spell_shape(spec.shape) + with;
}

// All zeros would hide errors, and some layers begin as zeros.
void randomise(Network& network) {
  const at::NoGradGuard no_grad;
  uint64_t index = 0;
  for (Tensor& p : network.module()->parameters()) {
    p.add_(at::randn(p.sizes(), seeded(6, "weights", index++), p.options()), 0.05);
  }
}

struct Inputs {
  Tensor x, c_noise;
  Conditioning condition;
  explicit Inputs(const ModelSpec& spec) {
    std::vector<int64_t> shape = spec.shape;
    shape.insert(shape.begin(), batch);
    x = at::randn(shape, seeded(6, "inputs"), at::TensorOptions().dtype(at::kFloat));
    c_noise = at::linspace(-1, 1, batch, at::kFloat);
    for (const Input& input : spec.inputs) {
      condition.set(input.name, example(input, 0));
    }
  }

  // Numbers for that input; another `draw`, others in every row.
  static Tensor example(const Input& input, int64_t draw) {
    if (input.classes > 0) {
      return (at::arange(batch, at::kLong) + draw).remainder(input.classes);
    }
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), batch);
    if (input.dtype ==
        at::kBool) {  // the first half of each row, or one more: of a single one, attention learns nothing
      const Tensor place = at::arange(shape.back(), at::kLong).expand(shape);
      return place < shape.back() / 2 + draw;
    }
    if (input.dtype == at::kLong) {  // numbers of words, of which a network may know few
      constexpr int64_t words = 7;
      return at::arange(1, batch * shape.back() + 1, at::kLong).view(shape).add(draw).remainder(words);
    }
    return at::randn(shape, seeded(8 + static_cast<uint64_t>(draw), input.name.c_str()),
                     at::TensorOptions().dtype(at::kFloat));
  }

  Tensor through(Network& network) const { return network.forward(x, c_noise, condition); }
};

// The weights that take in an input alone begin without effect, so that a student can begin at a teacher without it.
void check_new_input(Network& network, const ModelSpec& spec, const Input& input, Findings& out) {
  const std::string own = network.weights_of(input.name);
  if (own.empty()) {
    return;
  }
  const at::NoGradGuard no_grad;
  for (const auto& item : network.module()->named_parameters()) {
    if (!item.key().starts_with(own)) {
      Tensor p = item.value();
      p.add_(at::randn(p.sizes(), seeded(7, item.key().c_str()), p.options()), 0.05);
    }
  }
  network.module()->eval();
  Inputs in(spec);
  const Tensor y = in.through(network);
  in.condition.set(input.name, Inputs::example(input, 1));
  const double change = largest(in.through(network) - y);
  out.add(input.name + " begins without effect on " + spell(spec), change == 0,
          "changes the output by " + conformance::spell(change), "0");
}

// A network that ignores its time, or a condition, trains without a word and learns the wrong thing.
void check_effects(Network& network, const ModelSpec& spec, bool denoiser, Findings& out) {
  const at::NoGradGuard no_grad;
  const Inputs in(spec);
  const Tensor y = in.through(network);
  const auto has_effect = [&](const std::string& name, const Inputs& other) {
    const double change = largest(other.through(network) - y);
    out.add(name + " has an effect on " + spell(spec), change > 0,
            "changes the output by " + conformance::spell(change), "more than 0");
  };
  if (denoiser) {
    Inputs other = in;
    other.c_noise = in.c_noise.flip(0);
    has_effect("c_noise", other);
  }
  const std::vector<std::string> reads = network.inputs();
  for (const Input& input : spec.inputs) {
    if (std::find(reads.begin(), reads.end(), input.name) != reads.end()) {
      Inputs other = in;
      other.condition.set(input.name, Inputs::example(input, 1));
      has_effect(input.name, other);
    }
  }
}

void check_task(Network& network, const ModelSpec& spec, Findings& out) {
  const std::string on = " on " + spell(spec);
  const Inputs in(spec);
  randomise(network);
  network.module()->eval();
  {
    const at::NoGradGuard no_grad;
    const Tensor y = in.through(network);
    const bool codes = dynamic_cast<AutoencoderNetwork*>(&network) != nullptr;
    const bool denoiser = y.sizes() == in.x.sizes();
    const bool classifier = spec.classes() > 0 && y.dim() == 2 && y.size(0) == batch && y.size(1) == spec.classes();
    const bool embedding = spec.has("input_ids") && y.dim() == 2 && y.size(0) == batch && y.size(1) % 2 == 0;
    out.add("shape" + on, (denoiser || classifier || embedding) && all_finite(y),
            spell_shape(y.sizes()) + (all_finite(y) ? "" : ", not finite"),
            spell_shape(in.x.sizes()) + (spec.classes() > 0 ? " or [5, " + std::to_string(spec.classes()) + "]" : "") +
                (spec.has("input_ids") ? " or two embeddings" : "") + ", finite");
    std::vector<Tensor> alone;
    for (int64_t i = 0; i < batch; ++i) {
      const Tensor one = at::tensor({i}, at::kLong);
      alone.push_back(network.forward(in.x.narrow(0, i, 1), in.c_noise.narrow(0, i, 1), in.condition.select(one)));
    }
    out.at_most("rows are independent" + on, largest(y - at::cat(alone)) / (1 + largest(y)), 1e-4,
                "batch and single rows differ by");
    Given given;
    given("x", in.x);
    given("c_noise", in.c_noise);
    const bool same = same_bits(y, in.through(network));
    given.check(out);
    out.add("deterministic" + on, same, same ? "equal bits" : "differs", "equal bits from equal inputs");
    check_effects(network, spec, denoiser && !codes, out);
  }
  network.module()->train();
  Inputs drawn = in;
  if (dynamic_cast<AutoencoderNetwork*>(&network) != nullptr) {  // or no log-variance would learn
    drawn.condition.set(inputs::posterior_noise, in.through(network).detach().repeat({1, most_latents, 1, 1}));
  }
  const Tensor y = drawn.through(network);
  (y * at::randn(y.sizes(), seeded(6, "direction"), y.options())).sum().backward();
  int64_t count = 0, idle = 0, numbers = 0;
  std::string which;
  for (const auto& item : network.module()->named_parameters()) {
    ++count;
    numbers += item.value().numel();
    const Tensor gradient = item.value().grad();
    if (!gradient.defined() || !all_finite(gradient) || largest(gradient) == 0) {
      ++idle;
      which = which.empty() ? item.key() : which;
    }
  }
  out.add("gradients to every parameter" + on, count > 0 && idle == 0,
          std::to_string(count - idle) + " of " + std::to_string(count) + " tensors (" + std::to_string(numbers) +
              " numbers)" + (idle > 0 ? ", none for " + which : ""),
          "all");
}

}  // namespace

void check_network(const Subject& subject, Findings& out) {
  std::string fits;
  std::string refusal;
  const auto with = [](ModelSpec spec, std::vector<Input> more) {
    spec.inputs.insert(spec.inputs.end(), more.begin(), more.end());
    return spec;
  };
  const Input end_time{.name = std::string(inputs::end_time), .dtype = at::kDouble};
  const std::vector<Input> text = {{.name = "prompt_embeds", .shape = {6, 16}},
                                   {.name = "attention_mask", .shape = {6}, .dtype = at::kBool},
                                   {.name = "pooled_prompt_embeds", .shape = {8}},
                                   {.name = "time_ids", .shape = {6}}};
  const Input words{.name = "input_ids", .shape = {6}, .dtype = at::kLong};
  const ModelSpec points{{2}}, small{{1, 28, 28}}, pictures{{3, 32, 32}};
  for (const ModelSpec& spec :
       {points, with(points, label_inputs(3)), small, with(small, label_inputs(10)), pictures,
        with(pictures, label_inputs(10)), with(with(points, label_inputs(3)), {guidance_input()}),
        with(with(small, label_inputs(10)), {guidance_input()}), with(points, {end_time}), with(small, {end_time}),
        with(pictures, text), with(pictures, {words})}) {
    out.run("built for " + spell(spec), [&] {
      World world(make_process("ve"), spec, subject.host);
      std::shared_ptr<Network> network;
      try {
        network = world.build<Network>(subject);
      } catch (const RequestError& e) {
        refusal = e.what();
        return;
      }
      const std::vector<std::string> reads = network->inputs();
      for (const Input& input : spec.inputs) {
        if (input.classes == 0 && std::find(reads.begin(), reads.end(), input.name) == reads.end()) {
          return;  // it need not
        }
      }
      for (const Input& input : spec.inputs) {
        check_new_input(*network, spec, input, out);
      }
      fits += (fits.empty() ? "" : ", ") + spell(spec);
      check_task(*network, spec, out);
    });
  }
  out.add("fits a task", !fits.empty(), fits.empty() ? "none: " + refusal : fits, "one at least");
}

}  // namespace retort::conformance
