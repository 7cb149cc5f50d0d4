#include "sample/conditions.h"

#include <ATen/ATen.h>

#include <algorithm>

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

}  // namespace

Batch for_model(const Experiment& experiment, const Batch& data) {
  const Backend& backend = experiment.backend();
  Batch out{data.x.to(backend.device(), backend.dtype()), {}};
  for (const Input& input : experiment.spec().inputs) {
    if (!is_the_hosts(input) && data.condition.has(input.name)) {
      out.condition.set(input.name, data.condition[input.name].to(backend.device()));
    }
  }
  return out;
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
    out = for_model(experiment, experiment.dataset->batch(Split::test, index)).condition;
  } else if (spec.classes() > 0) {
    out.set(inputs::labels, sample_labels(experiment, n).to(experiment.backend().device()));
  }
  add_guidance(experiment, out, n, guidance);
  return out;
}

}  // namespace retort
