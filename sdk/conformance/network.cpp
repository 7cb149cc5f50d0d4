#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include "world.h"

namespace retort::conformance {

namespace {

constexpr int64_t batch = 5;

std::string spell(const Task& task) {
  return spell_shape(task.shape) + (task.classes > 0 ? " with " + std::to_string(task.classes) + " classes" : "") +
         (task.guided ? " and guidance" : "");
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
  Tensor x, noise, labels;
  explicit Inputs(const Task& task) {
    std::vector<int64_t> shape = task.shape;
    shape.insert(shape.begin(), batch);
    x = at::randn(shape, seeded(6, "inputs"), at::TensorOptions().dtype(at::kFloat));
    noise = at::linspace(-1, 1, batch, at::kFloat);
    if (task.guided) {
      noise = at::stack({noise, at::linspace(0, 2, batch, at::kFloat)}, 1);
    }
    labels = task.classes > 0 ? at::arange(batch, at::kLong).remainder(task.classes) : Tensor();
  }
};

// The weights that take in the guidance weight begin without effect, and can come to have one.
void check_guidance(Network& network, const Task& task, Findings& out) {
  const at::NoGradGuard no_grad;
  const Inputs in(task);
  const Tensor other = at::stack({in.noise.select(1, 0), in.noise.select(1, 1) + 1}, 1);
  const auto change = [&] {
    return largest(network.forward(in.x, in.noise, in.labels) - network.forward(in.x, other, in.labels));
  };
  for (const auto& item : network.module()->named_parameters()) {
    if (!item.key().starts_with("guidance.")) {
      Tensor p = item.value();
      p.add_(at::randn(p.sizes(), seeded(7, item.key().c_str()), p.options()), 0.05);
    }
  }
  network.module()->eval();
  const double before = change();
  out.add("guidance begins without effect on " + spell(task), before == 0,
          "changes the output by " + conformance::spell(before), "0");
  randomise(network);
  const double after = change();
  out.add("guidance can have an effect on " + spell(task), after > 0,
          "changes the output by " + conformance::spell(after), "more than 0");
}

void check_task(Network& network, const Task& task, Findings& out) {
  const std::string on = " on " + spell(task);
  const Inputs in(task);
  randomise(network);
  network.module()->eval();
  {
    const at::NoGradGuard no_grad;
    const Tensor y = network.forward(in.x, in.noise, in.labels);
    const bool denoiser = y.sizes() == in.x.sizes();
    const bool classifier = task.classes > 0 && y.dim() == 2 && y.size(0) == batch && y.size(1) == task.classes;
    out.add("shape" + on, (denoiser || classifier) && all_finite(y),
            spell_shape(y.sizes()) + (all_finite(y) ? "" : ", not finite"),
            spell_shape(in.x.sizes()) + (task.classes > 0 ? " or [5, " + std::to_string(task.classes) + "]" : "") +
                ", finite");
    std::vector<Tensor> alone;
    for (int64_t i = 0; i < batch; ++i) {
      const Tensor label = in.labels.defined() ? in.labels.narrow(0, i, 1) : Tensor();
      alone.push_back(network.forward(in.x.narrow(0, i, 1), in.noise.narrow(0, i, 1), label));
    }
    out.at_most("rows are independent" + on, largest(y - at::cat(alone)) / (1 + largest(y)), 1e-4,
                "batch and single rows differ by");
    Given given;
    given("x", in.x);
    given("noise", in.noise);
    const bool same = same_bits(y, network.forward(in.x, in.noise, in.labels));
    given.check(out);
    out.add("deterministic" + on, same, same ? "equal bits" : "differs", "equal bits from equal inputs");
  }
  network.module()->train();
  const Tensor y = network.forward(in.x, in.noise, in.labels);
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
  for (const Task& task :
       {Task{{2}, 0}, Task{{2}, 3}, Task{{1, 28, 28}, 0}, Task{{1, 28, 28}, 10}, Task{{3, 32, 32}, 0},
        Task{{3, 32, 32}, 10}, Task{{2}, 3, true}, Task{{1, 28, 28}, 10, true}}) {
    out.run("built for " + spell(task), [&] {
      World world(make_process("ve"), task, subject.host);
      std::shared_ptr<Network> network;
      try {
        network = world.build<Network>(subject);
      } catch (const RequestError& e) {
        refusal = e.what();
        return;
      }
      if (task.guided) {
        if (!network->guided()) {
          return;  // it need not be
        }
        check_guidance(*network, task, out);
      }
      fits += (fits.empty() ? "" : ", ") + spell(task);
      check_task(*network, task, out);
    });
  }
  out.add("fits a task", !fits.empty(), fits.empty() ? "none: " + refusal : fits, "one at least");
}

}  // namespace retort::conformance
