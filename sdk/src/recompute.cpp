#include "retort/recompute.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "retort/error.h"
#include "retort/low_rank_layer.h"

namespace retort {

namespace {

std::atomic<int> living = 0;
std::atomic<int64_t> parts = 0;

// The state of a default generator.
Tensor state_of(at::Generator& generator) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}
void set_state(at::Generator& generator, const Tensor& state) {
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// What a part finds around it beside its inputs: random numbers, and whether products are made in a shorter type.
struct Surroundings {
  explicit Surroundings(c10::Device device_)
      : device(device_),
        generator(at::globalContext().defaultGenerator(device)),
        random(state_of(generator)),
        autocast(at::autocast::is_autocast_enabled(device.type())),
        autocast_type(at::autocast::get_autocast_dtype(device.type())) {}

  void bring_back() {
    set_state(generator, random);
    at::autocast::set_autocast_enabled(device.type(), autocast);
    at::autocast::set_autocast_dtype(device.type(), autocast_type);
    at::autocast::clear_cache();
  }

  c10::Device device;
  at::Generator generator;
  Tensor random;
  bool autocast;
  at::ScalarType autocast_type;
};

// Those of before, while it lives.
class Restored {
 public:
  explicit Restored(Surroundings before) : now_(before.device) { before.bring_back(); }
  ~Restored() { now_.bring_back(); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  Surroundings now_;
};

// What the backward pass needs beside tensors: a custom class of LibTorch, as which a saved value outlives the forward.
struct Again : torch::CustomClassHolder {
  Again(Recompute::Part part_, std::vector<Tensor> trained_, c10::Device device)
      : part(std::move(part_)), trained(std::move(trained_)), surroundings(device) {}

  Recompute::Part part;
  std::vector<Tensor> trained;
  Surroundings surroundings;
};

struct PartFunction : torch::autograd::Function<PartFunction> {
  using Context = torch::autograd::AutogradContext;
  using Tensors = torch::autograd::variable_list;

  // all: the inputs that there are, and behind them what is trained, which asks for a gradient here too.
  static Tensor forward(Context* context, const c10::intrusive_ptr<Again>& again, at::TensorList all) {
    const auto count = all.size() - again->trained.size();
    const Tensors inputs(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    context->save_for_backward(inputs);
    context->saved_data["again"] = c10::IValue::make_capsule(again);
    const Tensor out = again->part(inputs);
    const auto is_out = [&](const Tensor& t) { return t.is_alias_of(out); };
    return std::any_of(inputs.begin(), inputs.end(), is_out) ? out.clone() : out;
  }

  static Tensors backward(Context* context, Tensors gradients) {
    const auto again = c10::static_intrusive_pointer_cast<Again>(context->saved_data["again"].toCapsule());
    const Tensors before = context->get_saved_variables();
    const size_t first = 1;  // place of the first input: the part itself has no gradient
    Tensors out(first + before.size() + again->trained.size());
    if (!gradients[0].defined()) {
      return out;
    }
    if (at::GradMode::is_enabled()) {
      throw Error("gradient checkpointing has no second derivative; expected train.gradient_checkpointing = false");
    }
    const at::AutoGradMode with_gradients(true);
    Tensors inputs, wanted;
    std::vector<size_t> places;
    for (size_t i = 0; i < before.size(); ++i) {
      inputs.push_back(before[i].detach());
      if (before[i].requires_grad()) {
        inputs.back().set_requires_grad(true);
        wanted.push_back(inputs.back());
        places.push_back(first + i);
      }
    }
    for (size_t i = 0; i < again->trained.size(); ++i) {
      wanted.push_back(again->trained[i]);
      places.push_back(first + before.size() + i);
    }
    Tensor result;
    {
      const Restored same(again->surroundings);
      result = again->part(inputs);
    }
    const Tensors found = torch::autograd::grad({result}, wanted, {gradients[0]}, /*retain_graph=*/false,
                                                /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < found.size(); ++i) {
      out[places[i]] = found[i];
    }
    return out;
  }
};

}  // namespace

Recompute::Recompute(bool on) : on_(on) { living += on_ ? 1 : 0; }
Recompute::~Recompute() { living -= on_ ? 1 : 0; }

bool Recompute::is_on() { return living > 0 && at::GradMode::is_enabled(); }
int64_t Recompute::count() { return parts; }

Tensor Recompute::run(const torch::nn::Module& owner, Part part, const std::vector<Tensor>& inputs) {
  const std::vector<Tensor> trained = trained_within(owner);
  const auto asks = [](const Tensor& t) { return t.defined() && t.requires_grad(); };
  if (trained.empty() && std::none_of(inputs.begin(), inputs.end(), asks)) {
    return part(inputs);
  }
  ++parts;
  // LibTorch's functions take no undefined tensors: these stay outside.
  std::vector<size_t> given;
  std::vector<Tensor> all;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) {
      given.push_back(i);
      all.push_back(inputs[i]);
    }
  }
  const Part of_given = [part = std::move(part), given, count = inputs.size()](const std::vector<Tensor>& defined) {
    std::vector<Tensor> in(count);
    for (size_t i = 0; i < given.size(); ++i) {
      in[given[i]] = defined[i];
    }
    return part(in);
  };
  const auto again = c10::make_intrusive<Again>(of_given, trained, all.at(0).device());
  all.insert(all.end(), trained.begin(), trained.end());
  return PartFunction::apply(again, at::TensorList(all));
}

}  // namespace retort
