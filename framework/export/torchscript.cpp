#include "export/torchscript.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "export/formulas.h"
#include "export/trace.h"
#include "io/checkpoint.h"

namespace retort {

namespace fs = std::filesystem;
namespace jit = torch::jit;

namespace {

// The conditions that a caller gives, in the order of their names; the end of a jump has its own place.
std::vector<std::string> conditions_of(const Outgoing& model, bool with_end) {
  std::vector<std::string> out;
  for (const Input& input : model.spec.inputs) {
    if (with_end || input.name != inputs::end_time) {
      out.push_back(input.name);
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

void check_names(const Outgoing& model) {
  for (const Input& input : model.spec.inputs) {
    const bool good = !input.name.empty() && std::isdigit(static_cast<unsigned char>(input.name[0])) == 0 &&
                      std::all_of(input.name.begin(), input.name.end(),
                                  [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; });
    if (!good) {
      throw RequestError(model.place.file.string() + ": its input '" + input.name +
                         "' cannot be the name of an argument; expected letters, digits and '_'");
    }
  }
}

}  // namespace

ScriptExport script_signature(const Outgoing& model, bool raw) {
  if (model.makes == Makes::policy && !raw) {
    throw RequestError(
        model.place.file.string() +
        ": is a policy, a way over a segment of time, which is no function of x and t alone; --raw writes "
        "its network");
  }
  if (model.two_times() && model.makes != Makes::flow_map && !raw) {
    throw RequestError(model.place.file.string() +
                       ": its network is given two times, but it is no flow map; --raw writes its network");
  }
  ScriptExport out;
  const std::string time = model.process.is_variance_exploding() ? "sigma" : "t";
  if (model.makes == Makes::classifier) {
    out.arguments = {"x"};
    out.gives = "logits";
  } else if (raw) {
    out.arguments = {"x", "c_noise"};
    out.gives = "the network's output, '" + model.parametrisation.name() + "'";
  } else {
    out.arguments = {"x", time};
    out.gives = "D(x, " + time + "), the clean data that is predicted";
    if (model.makes == Makes::consistency) {
      out.gives = "f(x, " + time + "), the end of the way from x";
    } else if (model.makes == Makes::flow_map) {
      out.arguments.emplace_back(inputs::end_time);
      out.gives = "X(x, " + time + ", end_time), the state there";
    }
  }
  if (model.makes != Makes::classifier) {
    const std::vector<std::string> more = conditions_of(model, raw);
    out.arguments.insert(out.arguments.end(), more.begin(), more.end());
  }
  return out;
}

namespace {

TracedInputs inputs_of_network(const Outgoing& model) {
  TracedInputs out;
  const bool classifier = model.makes == Makes::classifier;
  out.names = script_signature(model, true).arguments;
  out.examples = [&model, classifier](int64_t rows) {
    const Trial on = trial(model, rows, 1);
    if (classifier) {
      return std::vector<Tensor>{on.x};
    }
    const NetworkCall call = network_call(model, on);
    std::vector<Tensor> tensors = {call.x, call.c_noise};
    for (const auto& [name, given] : call.condition) {
      tensors.push_back(given);
    }
    return tensors;
  };
  out.call = [&model, names = out.names, classifier](const std::vector<Tensor>& given) {
    Conditioning condition;
    for (size_t i = 2; i < names.size(); ++i) {
      condition.set(names[i], given[i]);
    }
    return model.network->forward(given[0], classifier ? Tensor() : given[1], condition);
  };
  return out;
}

// What the module is to give, and what it gives.
double difference_on(const Outgoing& model, jit::Module& module, bool raw, int64_t rows, uint64_t seed) {
  const Trial on = trial(model, rows, seed);
  Tensor wanted;
  std::vector<c10::IValue> given = {on.x};
  if (model.makes == Makes::classifier) {
    wanted = model.network->forward(on.x, {}, {});
  } else if (raw) {
    const NetworkCall call = network_call(model, on);
    wanted = model.network->forward(call.x, call.c_noise, call.condition);
    given = {call.x, call.c_noise};
    for (const auto& [name, condition] : call.condition) {
      given.emplace_back(condition);
    }
  } else {
    wanted = model.model().endpoint(on.x, on.t, on.condition, on.s);
    given.emplace_back(on.t);
    if (model.makes == Makes::flow_map) {
      given.emplace_back(on.s);
    }
    for (const auto& [name, condition] : on.condition) {
      given.emplace_back(condition);
    }
  }
  Tensor got;
  try {
    const jit::GraphOptimizerEnabledGuard as_written(false);
    got = module.forward(given).toTensor();
  } catch (const std::exception& e) {
    throw RequestError(model.place.file.string() + ": what was made of its network fails for a batch of " +
                       std::to_string(rows) + ": " + first_line_of(e));
  }
  const std::string differs = model.place.file.string() + ": what was made of it differs from it for a batch of " +
                              std::to_string(rows) + ": its network depends on more than its trace shows";
  if (got.sizes() != wanted.sizes()) {
    throw RequestError(differs);
  }
  const Tensor finite = wanted.isfinite();
  const Tensor apart = at::where(finite, (got - wanted).abs(), at::zeros_like(wanted)).to(at::kDouble);
  const double most = apart.max().item<double>();
  const double size =
      at::where(finite, wanted, at::zeros_like(wanted)).to(at::kDouble).square().mean().sqrt().item<double>();
  constexpr double rounding = 1e-5;
  if (!(most <= rounding * std::max(1.0, size))) {
    throw RequestError(differs + " (by " + Value{most, {}}.text() + ")");
  }
  return most;
}

jit::Module module_of(const Outgoing& model, bool raw) {
  const jit::Module network = trace_network(*model.network, inputs_of_network(model), model.place.file.string());
  if (raw || model.makes == Makes::classifier) {
    return network;
  }
  jit::Module out(c10::QualifiedName("__torch__.retort.Student"), std::make_shared<jit::CompilationUnit>());
  out.register_attribute("training", c10::BoolType::get(), false);
  for (const auto& [name, table] : formula_tables(model)) {
    out.register_buffer(name, table);
  }
  out.register_module("network", network);
  out.define(script_source(model));
  return out;
}

}  // namespace

ScriptExport write_torchscript(const Outgoing& model, bool raw, const fs::path& path) {
  check_names(model);
  ScriptExport out = script_signature(model, raw);
  Json about = model.described();
  about["arguments"] = out.arguments;
  about["gives"] = out.gives;
  about["raw"] = raw;
  const at::NoGradGuard no_grad;
  const jit::Module made = module_of(model, raw);
  const fs::path beside = path.string() + ".part" + std::to_string(getpid());
  try {
    made.save(beside.string(), {{"retort.json", spell(about, 1)}});
    jit::Module read = jit::load(beside.string(), c10::Device(at::kCPU));
    uint64_t seed = 2;
    for (const int64_t rows : {1, 4, 5}) {
      out.difference = std::max(out.difference, difference_on(model, read, raw, rows, seed++));
    }
    fs::rename(beside, path);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(beside, ignored);
    throw;
  } catch (const std::exception& e) {
    std::error_code ignored;
    fs::remove(beside, ignored);
    throw Error(path.string() + ": cannot be written: " + first_line_of(e));
  }
  return out;
}

}  // namespace retort
