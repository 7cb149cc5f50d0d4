// What is tried on two samples before any work.
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "plugin/guarded.h"
#include "run/cell_run.h"

namespace retort {

namespace {

// Whether a network is one for the loss: it is asked as the loss will ask it.
void try_network(const Experiment& e, CompiledNetwork& network) {
  const ModelSpec spec = e.spec();
  const Makes makes = e.loss->makes();
  const bool clean = !makes_samples(makes);  // it is given samples, and nothing beside but what is embedded with them
  std::vector<int64_t> shape = spec.shape;
  shape.insert(shape.begin(), 2);
  const Tensor x = at::zeros(shape, at::TensorOptions().dtype(e.backend().dtype()).device(e.backend().device()));
  const Tensor c_noise = clean ? Tensor() : at::zeros({2}, x.options());
  Conditioning condition;
  for (const Input& input : spec.inputs) {
    std::vector<int64_t> rows = input.shape;
    rows.insert(rows.begin(), 2);
    if (!clean || makes == Makes::embedding) {
      condition.set(input.name, at::zeros(rows, x.options().dtype(input.classes > 0 ? at::kLong : input.dtype)));
    }
  }
  const Value* type = e.resolved().find("network") != nullptr ? e.resolved().find("network")->find("type") : nullptr;
  const std::string what = "network.type: " + (type != nullptr ? type->text() : "the teacher's network") +
                           " is no network for loss '" + e.loss_name() + "'";
  const at::NoGradGuard no_grad;
  Tensor out;
  try {
    out = network(x, c_noise, condition);
  } catch (const Error& error) {
    throw RequestError(what + ": " + error.what());
  }
  const std::vector<int64_t> logits = {2, spec.classes()};
  shape[1] *= spec.outputs;
  const at::IntArrayRef wanted = makes == Makes::classifier ? logits : shape;
  if (makes != Makes::embedding && out.sizes() != wanted) {
    throw RequestError(what + ": of two samples it makes " + spell(out.sizes()) + "; expected " + spell(wanted));
  }
}

}  // namespace

std::string CellRun::trial_key() const { return experiment_->fingerprint(Decides::trial); }

void CellRun::try_evaluation() {
  Experiment& e = *experiment_;
  try {
    if (e.dataset) {
      for (const Split split : {Split::train, Split::test}) {
        e.dataset->batch(split, at::arange(std::min<int64_t>(e.dataset->size(split), 2), at::kLong));
      }
    }
    if (!trains()) {
      SharedTensors own;
      ModelEvaluator(e, e.teacher.get(), own, "", middle_guidance(e), /*trial=*/true).measure({});
      return;
    }
    const auto network = e.new_network();
    network->module()->eval();
    e.backend().place(*network);
    SharedTensors own;
    const std::shared_ptr<CompiledNetwork> evaluator = e.backend().compile(network);
    try_network(e, *evaluator);
    const Model model = e.model(evaluator);
    EvaluationResult result;
    if (samples_by_itself(e.loss->makes())) {
      ModelEvaluator measuring(e, e.teacher.get(), own, "", middle_guidance(e), /*trial=*/true);
      if (e.teacher && e.solver) {
        measuring.measure({});
      }
      for (const int64_t steps : e.evaluate->student_steps) {  // metrics differ in which samplers they measure
        result = measuring.measure({&model, steps});
      }
    } else if (e.loss->makes() == Makes::denoiser) {
      const ModelTeacher as_teacher(model, e.spec());
      result = ModelEvaluator(e, &as_teacher, own, "", 1, /*trial=*/true).measure({});
    } else {
      ModelEvaluator(e, nullptr, own, "", 1, /*trial=*/true).measure({&model, 0});
    }
    if (result.samples.defined()) {
      e.shown(result.samples);
    }
  } catch (const RequestError&) {
    throw;
  } catch (const PluginError& error) {
    if (error.kind != Metric::kind) {
      throw;  // the plugin is broken, not the request
    }
    throw RequestError(to_string(cell_.config.origin) + ": what is to be trained cannot be evaluated: " + error.what());
  } catch (const Error& error) {
    throw RequestError(to_string(cell_.config.origin) +
                       ": what is to be trained cannot be evaluated (tried on two samples): " + error.what());
  }
}

}  // namespace retort
