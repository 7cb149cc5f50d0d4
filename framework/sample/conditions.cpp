#include "sample/conditions.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "sample/draws.h"

namespace retort {

namespace {

// What the host gives itself, and no data set has.
bool is_the_hosts(const Input& input) { return input.name == inputs::guidance || input.name == inputs::end_time; }

void add_guidance(const Experiment& experiment, Conditioning& condition, int64_t rows, double guidance) {
  if (experiment.spec().has(inputs::guidance)) {
    const auto options = at::TensorOptions().dtype(at::kDouble).device(experiment.backend().device());
    condition.set(inputs::guidance, at::full({rows}, guidance, options));
  }
}

// What a model is given of a data set's conditions.
Conditioning of_model(const Experiment& experiment, const Conditioning& given) {
  Conditioning out;
  for (const Input& input : experiment.spec().inputs) {
    if (!is_the_hosts(input) && given.has(input.name)) {
      out.set(input.name, given[input.name].to(experiment.backend().device()));
    }
  }
  return out;
}

// Those of some rows of the test split. Pictures come with them, which are not encoded, and never all at once.
Conditioning conditions_at(const Experiment& experiment, const Tensor& index) {
  constexpr int64_t rows_at_once = 256;
  std::vector<Conditioning> parts;
  for (const Tensor& rows : index.split(rows_at_once)) {
    parts.push_back(of_model(experiment, experiment.picture_data()->batch(Split::test, rows).condition));
  }
  return joined(parts);
}

}  // namespace

Conditioning joined(const std::vector<Conditioning>& parts) {
  if (parts.size() == 1) {
    return parts[0];
  }
  std::map<std::string, std::vector<Tensor>> rows;
  for (const Conditioning& part : parts) {
    for (const auto& [name, own] : part) {
      rows[name].push_back(own);
    }
  }
  Conditioning out;
  for (const auto& [name, own] : rows) {
    out.set(name, at::cat(own));
  }
  return out;
}

Batch for_model(const Experiment& experiment, const Batch& data) {
  const Backend& backend = experiment.backend();
  return {data.x.to(backend.device(), backend.dtype()), of_model(experiment, data.condition)};
}

Batch for_model(const Experiment& experiment, const Batch& data, double guidance) {
  Batch out = for_model(experiment, data);
  add_guidance(experiment, out.condition, out.x.size(0), guidance);
  return out;
}

Conditioning sample_conditions(const Experiment& experiment, int64_t n, int64_t seed, double guidance) {
  Conditioning out;
  const ModelSpec spec = experiment.spec();
  const auto of_data = [](const Input& input) { return !is_the_hosts(input) && input.name != inputs::labels; };
  if (std::any_of(spec.inputs.begin(), spec.inputs.end(), of_data)) {
    if (!experiment.dataset) {
      throw RequestError("samples are conditioned on what a data set gives; add a [dataset]");
    }
    // Labels too come from those rows: all conditions of a sample belong together.
    const Tensor order = drawn_rows(*experiment.dataset, experiment.dataset->size(Split::test), seed);
    const Tensor index = order.index_select(0, at::arange(n, at::kLong).remainder(order.size(0)));
    out = conditions_at(experiment, index);
  } else if (spec.classes() > 0) {
    out.set(inputs::labels, sample_labels(experiment, n).to(experiment.backend().device()));
  }
  add_guidance(experiment, out, n, guidance);
  return out;
}

}  // namespace retort
