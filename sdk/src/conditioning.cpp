#include "retort/conditioning.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/error.h"

namespace retort {

Conditioning::Conditioning(std::initializer_list<std::pair<std::string_view, Tensor>> given) {
  for (const auto& [name, rows] : given) {
    set(name, rows);
  }
}

Tensor Conditioning::operator[](std::string_view name) const {
  const auto found = given_.find(name);
  return found == given_.end() ? Tensor() : found->second;
}

bool Conditioning::has(std::string_view name) const { return given_.find(name) != given_.end(); }

void Conditioning::set(std::string_view name, Tensor rows) {
  if (rows.defined()) {
    given_.insert_or_assign(std::string(name), std::move(rows));
  } else if (const auto found = given_.find(name); found != given_.end()) {
    given_.erase(found);
  }
}

Conditioning Conditioning::with(std::string_view name, Tensor rows) const {
  Conditioning out = *this;
  out.set(name, std::move(rows));
  return out;
}

Conditioning Conditioning::select(const Tensor& index) const {
  Conditioning out;
  for (const auto& [name, rows] : given_) {
    out.given_.emplace(name, rows.index_select(0, index.to(rows.device())));
  }
  return out;
}

Conditioning Conditioning::first(int64_t count) const {
  Conditioning out;
  for (const auto& [name, rows] : given_) {
    out.given_.emplace(name, rows.narrow(0, 0, count));
  }
  return out;
}

Conditioning Conditioning::to(c10::Device device) const {
  Conditioning out;
  for (const auto& [name, rows] : given_) {
    out.given_.emplace(name, rows.to(device));
  }
  return out;
}

Conditioning Conditioning::cat(const Conditioning& one, const Conditioning& other) {
  Conditioning out;
  for (const auto& [name, rows] : one) {
    if (!other.has(name)) {
      throw Error("two conditions are joined, and only one has '" + name + "'");
    }
    out.given_.emplace(name, at::cat({rows, other[name]}));
  }
  return out;
}

const Input* ModelSpec::find(std::string_view name) const {
  const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const Input& i) { return i.name == name; });
  return found == inputs.end() ? nullptr : &*found;
}

int64_t ModelSpec::classes() const {
  const Input* labels = find(inputs::labels);
  return labels != nullptr ? labels->classes : 0;
}

std::vector<Input> label_inputs(int64_t classes) {
  if (classes == 0) {
    return {};
  }
  return {{.name = std::string(inputs::labels), .dtype = at::kLong, .classes = classes}};
}

Input guidance_input() { return {.name = std::string(inputs::guidance), .dtype = at::kDouble}; }

Conditioning without_condition(const Conditioning& condition, const std::vector<Input>& inputs, const Tensor& drop) {
  Conditioning out = condition;
  for (const Input& input : inputs) {
    const Tensor given = condition[input.name];
    if (!given.defined() || input.name == inputs::guidance || input.name == inputs::end_time) {
      continue;
    }
    const double null = input.classes > 0 ? static_cast<double>(input.classes) : input.null;
    if (!drop.defined()) {
      out.set(input.name, at::full_like(given, null));
      continue;
    }
    std::vector<int64_t> shape(static_cast<size_t>(given.dim()), 1);
    shape[0] = given.size(0);
    out.set(input.name, given.masked_fill(drop.to(given.device()).view(shape), null));
  }
  return out;
}

}  // namespace retort
