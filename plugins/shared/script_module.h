/// A TorchScript module: its file, how it is called, and what of its answer counts.
#pragma once

#include <retort/host.h>
#include <retort/named_weights.h>
#include <retort/network.h>

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace retort {

/// A module that cannot be called so, or answers with something else: an error about one key of its table.
struct ScriptFault : Error {
  ScriptFault(std::string key_, const std::string& what) : Error(what), key(std::move(key_)) {}
  std::string key;
};

/// The keys that say how a module is called.
struct ScriptKeys {
  static constexpr const char *x = "x", *time = "time";

  explicit ScriptKeys(Params& p)
      : file(p.path("file", "", "the TorchScript file")),
        inputs(p.get("inputs", std::vector<std::string>{},
                     "arguments of forward, in order: \"x\", \"time\", and conditions by name, such as \"labels\", "
                     "\"prompt_embeds\" or \"guidance\"; empty: x, time, and labels where there are classes")),
        output(p.get("output", "",
                     "what counts of a tuple or dictionary: a name or a number; empty: the first, or \"sample\"")),
        learned_variance(p.get("learned_variance", false,
                               "whether the module gives twice the channels, of which the first half is the "
                               "prediction")),
        output_scale(p.get("output_scale", 1.0, "factor of the output; -1: flows that count from noise to data")),
        time_scale(p.get("time_scale", 1.0, "factor of the time that the module is given")),
        time_type(p.choice("time_type", "auto", {"auto", "float32", "float64", "int64", "weights"},
                           "type of the times; auto: float32, or float64 where the weights are; int64: rounded; "
                           "weights: theirs")),
        null_label(p.get("null_label", -1, "the module's label for \"no class\"; -1: one past the last class",
                         at_least(-1))) {}
  /// Of an encoder, which takes x alone.
  ScriptKeys(std::string file_, std::string output_) : file(std::move(file_)), output(std::move(output_)) {}

  std::string file;
  std::vector<std::string> inputs;
  std::string output;
  bool learned_variance = false;
  double output_scale = 1, time_scale = 1;
  std::string time_type = "auto";
  int64_t null_label = -1;
};

/// A script's weights under their own names.
inline std::shared_ptr<NamedWeights> weights_of(const torch::jit::Module& script) {
  auto out = std::make_shared<NamedWeights>();
  for (const auto& parameter : script.named_parameters()) {
    out->add_parameter(parameter.name, parameter.value, /*requires_grad=*/parameter.value.is_floating_point());
  }
  for (const auto& buffer : script.named_buffers()) {
    out->add_buffer(buffer.name, buffer.value);
  }
  return out;
}

namespace script_parts {

inline std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    out += (out.empty() ? "" : ", ") + word;
  }
  return out;
}

inline std::string spell(at::IntArrayRef shape) {
  std::vector<std::string> out;
  for (const int64_t n : shape) {
    out.push_back(std::to_string(n));
  }
  return "[" + join(out) + "]";
}

// What an exception of the interpreter says, without its listing of the script: one line.
inline std::string line_of(const std::exception& e) {
  std::istringstream in(e.what());
  std::string first, named;
  for (std::string line; std::getline(in, line);) {
    const size_t at = line.find("Error: ");
    const bool is_name = at != std::string::npos && line.find_first_not_of(" ") == 0 &&
                         std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(at),
                                     [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
    if (is_name && named.empty()) {
      named = line.substr(at + 7);
    }
    first = first.empty() ? line : first;
  }
  return named.empty() ? first : named;
}

}  // namespace script_parts

class ScriptModule {
 public:
  /// What it is to be: a network of the task, which may be a classifier's; or a teacher, which answers in x's shape,
  /// and may know nothing of the labels that there are; or an encoder, which takes x alone.
  enum class Use { network, teacher, encoder };

  /// Reads the file. `conditions` are what it can be given besides x and time.
  ScriptModule(const ScriptKeys& keys, const Params& p, std::vector<Input> conditions, Use use)
      : keys_(keys), conditions_(std::move(conditions)), use_(use) {
    load(p);
    choose_arguments(p);
    weights_ = weights_of(script_);
  }

  /// Names of its arguments, in order.
  const std::vector<std::string>& arguments() const { return arguments_; }
  bool takes(std::string_view name) const {
    return std::find(arguments_.begin(), arguments_.end(), name) != arguments_.end();
  }
  std::shared_ptr<NamedWeights> weights() const { return weights_; }

  /// The type of its weights; that of `otherwise` where it has none.
  at::ScalarType dtype(at::ScalarType otherwise) const {
    for (const std::vector<Tensor>& tensors : {weights_->parameters(), weights_->buffers()}) {
      for (const Tensor& t : tensors) {
        if (t.is_floating_point()) {
          return t.scalar_type();
        }
      }
    }
    return otherwise;
  }

  /// x: [B, C, …], in the type that the module takes; time: [B]. Returns [B, C, …] in the module's own type. What is
  /// not given of the conditions is their null value. Throws ScriptFault for what is not as the keys say.
  Tensor operator()(const Tensor& x, const Tensor& time, const Conditioning& condition) {
    const torch::jit::GraphOptimizerEnabledGuard as_written(false);
    script_.train(weights_->is_training());
    std::vector<c10::IValue> given;
    for (const std::string& name : arguments_) {
      given.emplace_back(name == ScriptKeys::x      ? x
                         : name == ScriptKeys::time ? typed(time, x)
                                                    : rows_of(name, x, condition));
    }
    return prediction(chosen(script_.forward(std::move(given))), x);
  }

 private:
  static constexpr const char* default_name = "sample";

  void load(const Params& p) {
    const std::string& file = keys_.file;
    if (!std::filesystem::is_regular_file(file)) {
      throw p.error("file", (file.empty() ? "missing" : file + ": no such file") + "; expected a TorchScript file");
    }
    const c10::Device device = p.host().backend().device();
    try {
      script_ = torch::jit::load(file, device);
    } catch (const std::exception& e) {
      const std::string what = e.what(), line = what.substr(0, what.find('\n'));
      throw p.error("file", file + " cannot be read as TorchScript: " + line.substr(0, line.find(". ")) +
                                "; expected what torch.jit.save writes");
    }
    for (const torch::jit::Module& module : script_.modules()) {
      for (const torch::jit::Method& method : module.get_methods()) {
        move_constants(method.graph()->block(), device);
      }
    }
  }

  // A trace keeps the device on which it made new tensors.
  static void move_constants(torch::jit::Block* block, c10::Device device) {
    for (torch::jit::Node* node : block->nodes()) {
      const bool constant =
          node->kind() == c10::prim::Constant && node->output()->type()->kind() == c10::TypeKind::DeviceObjType;
      if (constant || node->kind() == c10::aten::device) {  // a value, or torch.device("…")
        const torch::jit::WithInsertPoint here(node);
        node->output()->replaceAllUsesWith(node->owningGraph()->insertConstant(device));
      }
      for (torch::jit::Block* within : node->blocks()) {
        move_constants(within, device);
      }
    }
  }

  void choose_arguments(const Params& p) {
    const auto method = script_.find_method("forward");
    if (!method) {
      throw p.error("file", keys_.file + ": has no method forward");
    }
    const auto& all = method->function().getSchema().arguments();
    std::vector<std::string> names;
    size_t required = 0;
    for (size_t i = 1; i < all.size(); ++i) {  // the first one is the module itself
      names.push_back(all[i].name());
      required += all[i].default_value() ? 0 : 1;
    }
    arguments_ = keys_.inputs;
    if (use_ == Use::encoder) {
      arguments_ = {ScriptKeys::x};
    } else if (arguments_.empty()) {
      arguments_ = {ScriptKeys::x, ScriptKeys::time};
      const bool labelled = std::any_of(conditions_.begin(), conditions_.end(),
                                        [](const Input& input) { return input.name == inputs::labels; });
      if (labelled && (use_ == Use::network || names.size() > 2)) {
        arguments_.emplace_back(inputs::labels);
      }
    }
    if (use_ != Use::encoder) {
      check_names(p);
    }
    if (arguments_.size() < required || arguments_.size() > names.size()) {
      throw p.error(p.given("inputs") ? "inputs" : "file",
                    keys_.file + ": forward takes " + std::to_string(names.size()) + " argument(s) (" +
                        script_parts::join(names) + "); expected (" + script_parts::join(arguments_) +
                        (use_ == Use::encoder ? ")" : "), or others in `inputs`"));
    }
  }

  void check_names(const Params& p) const {
    for (const char* needed : {ScriptKeys::x, ScriptKeys::time}) {
      if (!takes(needed)) {
        throw p.error("inputs", "lacks \"" + std::string(needed) + "\"; expected all arguments of forward, in order");
      }
    }
    std::vector<std::string> known = {ScriptKeys::x, ScriptKeys::time};
    for (const Input& input : conditions_) {
      known.push_back(input.name);
    }
    for (const std::string& name : arguments_) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        throw p.error("inputs", "names '" + name + "', which is not given here" + did_you_mean(name, known) +
                                    "; given are " + script_parts::join(known));
      }
      if (std::count(arguments_.begin(), arguments_.end(), name) > 1) {
        throw p.error("inputs", "names '" + name + "' twice");
      }
    }
  }

  Tensor typed(const Tensor& time, const Tensor& x) const {
    if (!time.defined()) {
      return time;  // of classifiers
    }
    const Tensor there = (keys_.time_scale == 1 ? time : time * keys_.time_scale).to(x.device());
    if (keys_.time_type == "int64") {
      return there.round().to(at::kLong);
    }
    return keys_.time_type == "auto" ? there
                                     : there.to(keys_.time_type == "float32"   ? at::kFloat
                                                : keys_.time_type == "float64" ? at::kDouble
                                                                               : x.scalar_type());
  }

  // The rows of a condition as the module takes them: real numbers in the type of x, labels with the module's own null.
  Tensor rows_of(const std::string& name, const Tensor& x, const Conditioning& condition) const {
    const Input& input =
        *std::find_if(conditions_.begin(), conditions_.end(), [&](const Input& other) { return other.name == name; });
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), x.size(0));
    const bool labels = input.classes > 0;
    Tensor rows = condition[name];
    if (!rows.defined()) {
      const double null = labels ? static_cast<double>(input.classes) : input.null;
      rows = at::full(shape, null, x.options().dtype(input.dtype));
    }
    rows = rows.to(x.device());
    if (labels) {
      return keys_.null_label < 0 ? rows : rows.masked_fill(rows == input.classes, keys_.null_label);
    }
    return rows.is_floating_point() ? rows.to(x.scalar_type()) : rows;
  }

  // What counts of the answer.
  Tensor chosen(const c10::IValue& answer) const {
    if (answer.isTensor() && keys_.output.empty()) {
      return answer.toTensor();
    }
    std::vector<std::pair<std::string, c10::IValue>> parts;
    if (answer.isTuple()) {
      const auto type = answer.type()->cast<c10::TupleType>();
      const auto& elements = answer.toTupleRef().elements();
      for (size_t i = 0; i < elements.size(); ++i) {
        const bool named = type && type->schema();
        parts.emplace_back(named ? type->schema()->arguments()[i].name() : std::to_string(i), elements[i]);
      }
    } else if (answer.isList()) {
      for (const c10::IValue& element : answer.toListRef()) {
        parts.emplace_back(std::to_string(parts.size()), element);
      }
    } else if (answer.isGenericDict()) {
      for (const auto& entry : answer.toGenericDict()) {
        parts.emplace_back(entry.key().isString() ? entry.key().toStringRef() : "?", entry.value());
      }
    }
    return part(parts, answer);
  }

  Tensor part(const std::vector<std::pair<std::string, c10::IValue>>& parts, const c10::IValue& answer) const {
    std::vector<std::string> names;
    const c10::IValue* found = nullptr;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto& [name, value] = parts[i];
      names.push_back(name);
      const bool wanted = keys_.output.empty() ? name == default_name || (parts.size() == 1)
                                               : name == keys_.output || std::to_string(i) == keys_.output;
      found = wanted ? &value : found;
    }
    if (found == nullptr && keys_.output.empty() && !parts.empty() && !answer.isGenericDict()) {
      found = &parts[0].second;
    }
    if (found != nullptr && found->isTensor()) {
      return found->toTensor();
    }
    throw ScriptFault("output", keys_.file + ": gives " + answer.type()->annotation_str() +
                                    (names.empty() ? "" : " with " + script_parts::join(names)) + ", and not a tensor" +
                                    (keys_.output.empty() ? "" : " called '" + keys_.output + "'") +
                                    "; expected a tensor, or `output` to choose one of a tuple or dictionary");
  }

  void check_shape(const Tensor& answer, const Tensor& x) const {
    std::vector<int64_t> once = x.sizes().vec(), twice = once;
    twice[1] *= 2;
    const std::vector<int64_t>& wanted = keys_.learned_variance ? twice : once;
    if (answer.sizes() != at::IntArrayRef(wanted)) {
      const bool variance = answer.sizes() == at::IntArrayRef(twice);
      throw ScriptFault(variance ? "learned_variance" : "file",
                        keys_.file + ": gives " + script_parts::spell(answer.sizes()) + " for x of " +
                            script_parts::spell(x.sizes()) + "; expected " + script_parts::spell(wanted) +
                            (variance ? ", or learned_variance = true, which takes the first half" : ""));
    }
  }

  Tensor prediction(Tensor out, const Tensor& x) const {
    if (keys_.learned_variance || use_ == Use::teacher) {
      check_shape(out, x);
    }
    if (keys_.learned_variance) {
      out = out.narrow(1, 0, x.size(1));
    }
    return keys_.output_scale == 1 ? out : out * keys_.output_scale;
  }

  ScriptKeys keys_;
  std::vector<Input> conditions_;
  Use use_;
  std::vector<std::string> arguments_;
  torch::jit::Module script_;
  std::shared_ptr<NamedWeights> weights_;
};

}  // namespace retort
