// What a model was built for, to and from the table "model" of a checkpoint.
#include "retort/host.h"

namespace retort {

namespace {

// The types of inputs, as safetensors and NumPy call them.
constexpr std::pair<const char*, at::ScalarType> types[] = {{"float32", at::ScalarType::Float},
                                                            {"float64", at::ScalarType::Double},
                                                            {"int64", at::ScalarType::Long},
                                                            {"bool", at::ScalarType::Bool}};

Value to_value(const Input& input) {
  Value out;
  out["name"] = Value{input.name, {}};
  for (const auto& [name, type] : types) {
    if (type == input.dtype) {
      out["type"] = Value{std::string(name), {}};
    }
  }
  Array shape;
  for (const int64_t n : input.shape) {
    shape.push_back(Value{n, {}});
  }
  out["shape"] = Value{shape, {}};
  out["classes"] = Value{input.classes, {}};
  out["null"] = Value{input.null, {}};
  return out;
}

Input to_input(const Value& value) {
  Params p(value, "inputs", nullptr);
  Input out;
  out.name = p.get("name", "", "");
  const std::string type = p.get("type", "float32", "");
  for (const auto& [name, dtype] : types) {
    if (type == name) {
      out.dtype = dtype;
    }
  }
  out.shape = p.get("shape", std::vector<int64_t>{}, "");
  out.classes = p.get("classes", 0, "");
  out.null = p.get("null", 0.0, "");
  return out;
}

bool has_its_own_key(const Input& input) { return input.name == inputs::labels || input.name == inputs::guidance; }

}  // namespace

ModelSpec Checkpoint::spec() const {
  const Value* model = config.find("model");
  if (model == nullptr) {
    return {};
  }
  Params p(*model, "model", nullptr);
  ModelSpec out{p.get("shape", std::vector<int64_t>{}, ""), label_inputs(p.get("classes", 0, "")),
                p.get("outputs", 1, "")};
  if (p.get("guided", false, "")) {
    out.inputs.push_back(guidance_input());
  }
  if (const Value* more = model->find("inputs")) {
    for (const Value& input : std::get<Array>(more->data)) {
      out.inputs.push_back(to_input(input));
    }
  }
  return out;
}

void write_spec(const ModelSpec& spec, Value& model) {
  Array shape, more;
  for (const int64_t n : spec.shape) {
    shape.push_back(Value{n, {}});
  }
  for (const Input& input : spec.inputs) {
    if (!has_its_own_key(input)) {
      more.push_back(to_value(input));
    }
  }
  model["shape"] = Value{shape, {}};
  model["classes"] = Value{spec.classes(), {}};
  model["guided"] = Value{spec.has(inputs::guidance), {}};
  if (!more.empty()) {
    model["inputs"] = Value{more, {}};
  }
  if (spec.outputs > 1) {
    model["outputs"] = Value{spec.outputs, {}};
  }
}

}  // namespace retort
