// What is refused of an experiment before any work.
#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "config/experiment.h"
#include "config/toml.h"
#include "io/checkpoint.h"

namespace retort {

namespace {

// A network that says zero, to see what is made of that.
class Zero final : public CompiledNetwork {
 public:
  Tensor operator()(const Tensor& x, const Tensor&, const Conditioning&) override { return at::zeros_like(x); }
};

}  // namespace

// What a network's output means has to be defined at every time at which the network is asked: a model whose network
// says zero is finite there.
void Experiment::check_defined(const char* table, const Parametrisation& form, const Boundary* boundary) const {
  const Tensor grid = schedule->times(process_, 1.0);
  const Tensor times = grid.narrow(0, 0, grid.size(0) - 1);
  const Tensor x = at::ones({times.size(0), 1}, at::kDouble);
  const Linear noise = form.to_noise(process_, times);
  const Model model(std::make_shared<Zero>(), process_, form, boundary != nullptr ? *boundary : Boundary());
  const Tensor made = boundary != nullptr ? model.consistency(x, times, {}) : model.data(x, times, {});
  const Tensor all = at::stack({made.view({-1}), noise.a, noise.b, form.c_noise(process_, times)});
  const Tensor bad = at::nonzero(all.isfinite().all(0).logical_not()).view({-1});
  if (bad.numel() == 0) {
    return;
  }
  const Tensor at = times.index_select(0, bad.narrow(0, 0, 1));
  const auto spell = [](const Tensor& number) { return Value{number.item<double>(), {}}.text(); };
  const Value* place = root_.find(table);
  throw RequestError(to_string(place != nullptr ? place->origin : root_.origin) + ": " + table + ": the prediction '" +
                     form.name() + "'" + (boundary != nullptr ? " with its boundary" : "") +
                     " is undefined at the grid's time " + spell(at) + ", where alpha = " + spell(process_.alpha(at)) +
                     " and sigma = " + spell(process_.sigma(at)) + " on process '" + process_.name() +
                     "'; expected a grid without that time, or another parametrisation");
}

// Whether the data set has what the teacher is conditioned on.
void Experiment::check_inputs() const {
  if (!dataset) {
    return;
  }
  const ModelSpec has{dataset->shape(), dataset->inputs()};
  const auto refuse = [&](const std::string& why) {
    throw RequestError(to_string(root_.find("teacher")->origin) + ": teacher: " + why);
  };
  for (const Input& input : teacher->inputs()) {
    const Input* own = has.find(input.name);
    const std::string classes = std::to_string(input.classes);
    if (input.name == inputs::guidance || (own != nullptr && *own == input)) {
      continue;
    }
    if (own == nullptr && input.classes > 0) {
      refuse("is class-conditional, with " + classes + " classes, but the data set has no labels");
    }
    if (own == nullptr) {
      refuse("is conditioned on '" + input.name + "', which the data set does not have");
    }
    if (own->classes != input.classes) {
      refuse("has " + classes + " classes, but the data set has " + std::to_string(own->classes));
    }
    if (own->shape != input.shape) {
      refuse("is given '" + input.name + "' of " + spell(input.shape) + ", but the data set has " + spell(own->shape));
    }
  }
}

void Experiment::check_parts() const {
  const auto need = [&](bool there, const std::string& what, const std::string& why) {
    if (!there) {
      throw RequestError(to_string(root_.origin) + ": [" + what + "] is missing; " + why);
    }
  };
  if (!loss) {
    return;
  }
  const std::string name = "loss '" + loss_name() + "'";
  const Needs needs = loss->needs();
  const Makes makes = loss->makes();
  need(dataset != nullptr, "dataset", name + " trains on data");
  need(student->from_teacher || root_.find("network") != nullptr, "network",
       "there is nothing to train; or set student.init = \"teacher\"");
  need(teacher != nullptr || !needs.teacher, "teacher", name + " distils one");
  need(solver != nullptr || !needs.solver, "solver", name + " solves the teacher's ODE");
  need(schedule != nullptr || !needs.schedule, "schedule",
       name + (needs.solver ? " solves the teacher's ODE over a grid" : " draws its times from a grid"));
  if (needs.predicts && parametrisation_.predicts != *needs.predicts) {
    const Value* place = root_.find("student");
    throw RequestError(to_string(place != nullptr ? place->origin : root_.origin) + ": student.parametrisation: is '" +
                       parametrisation_.name() + "'; " + name + " trains what predicts '" +
                       Parametrisation(*needs.predicts, 1).name() + "'");
  }
  if (needs.outputs > 1 && student->low_rank) {
    const Value* place = root_.find("student");
    throw RequestError(to_string(place != nullptr ? place->origin : root_.origin) +
                       ": student.adapter: is 'lora', which keeps a teacher's outputs, and " + name +
                       " trains a network of " + std::to_string(needs.outputs) + "; expected 'none'");
  }
  if (makes == Makes::denoiser && !evaluate->metrics.empty()) {
    need(solver != nullptr, "solver", "the trained model is sampled with it");
  }
  if (samples_by_itself(makes) || (makes == Makes::denoiser && !evaluate->metrics.empty())) {
    need(schedule != nullptr, "schedule", "the trained model is sampled over it");
  }
  if (schedule && makes_samples(makes)) {
    check_defined("student", parametrisation_, makes == Makes::consistency ? &boundary_ : nullptr);
  }
  if (needs.schedule) {
    try {
      for (int64_t stage = 0; stage <= loss->stages(); ++stage) {  // a schedule may change as training goes on
        loss->check_times(schedule->times(process_, static_cast<double>(stage) / static_cast<double>(loss->stages())));
      }
    } catch (const Error& e) {
      throw RequestError(to_string(root_.find("loss")->origin) + ": " + e.what());
    }
  }
  if (samples_by_itself(makes)) {
    check_sampler_steps();
  }
  check_averages();
}

// Averages of other lengths are made of those that the training follows.
void Experiment::check_averages() const {
  if (evaluate->ema_lengths.empty() || !train->ema_lengths.empty()) {
    return;
  }
  const Value* list = at_path(root_, "evaluate.ema_lengths");
  throw RequestError(
      to_string(list != nullptr ? list->origin : root_.origin) +
      ": evaluate.ema_lengths: are made of train.ema_lengths, which is empty; expected two lengths there, "
      "such as [0.05, 0.1], and a training with them");
}

// Chosen times lie between the ends of the grid, and fall; one list for each number of steps.
void Experiment::check_sampler_times(const Tensor& grid) const {
  const Value* key = at_path(root_, "evaluate.student_times");
  const std::string place = to_string(key != nullptr ? key->origin : root_.origin) + ": evaluate.student_times: ";
  std::set<size_t> lengths;
  for (const std::vector<double>& times : evaluate->student_times) {
    if (!lengths.insert(times.size()).second || times.empty()) {
      throw RequestError(place +
                         (times.empty() ? "has an empty list" : "has two lists of " + std::to_string(times.size())) +
                         "; expected one list for each number of sampler steps from 2, of one time less");
    }
    double before = grid[0].item<double>();
    const double end = grid[-1].item<double>();
    for (const double time : times) {
      if (!(time < before && time > end)) {
        throw RequestError(place + Value{time, {}}.text() + " is out of order; expected times that fall between " +
                           Value{grid[0].item<double>(), {}}.text() + " and " + Value{end, {}}.text() +
                           ", the ends of the grid");
      }
      before = time;
    }
  }
}

void Experiment::check_sampler_steps() const {
  const Tensor grid = schedule->times(process_, 1.0);
  const int64_t intervals = grid.size(0) - 1;
  check_sampler_times(grid);
  for (const int64_t steps : evaluate->student_steps) {
    const Value* table = root_.find("evaluate");
    const Value* list = table != nullptr ? table->find("student_steps") : nullptr;
    const std::string place =
        to_string(list != nullptr ? list->origin : root_.origin) + ": evaluate.student_steps: " + std::to_string(steps);
    if (loss->makes() == Makes::generator && steps > 1) {
      throw RequestError(place + " sampler steps of what makes samples in one; expected 1");
    }
    const auto has_times = [&](const std::vector<double>& times) {
      return static_cast<int64_t>(times.size()) + 1 == steps;
    };
    if (steps > intervals && std::none_of(evaluate->student_times.begin(), evaluate->student_times.end(), has_times)) {
      throw RequestError(place + " sampler steps are more than the grid's " + std::to_string(intervals) +
                         " interval(s)");
    }
  }
}

// What a checkpoint is of, in its own words; files of before that was said tell it by the loss that made them. "" where
// that loss is not to be had.
std::string Experiment::objective_of(const Checkpoint& checkpoint) const {
  if (const Value* said = checkpoint.config.find("model")->find("objective")) {
    const std::string* text = std::get_if<std::string>(&said->data);
    return text != nullptr ? *text : "";
  }
  const Value* made_by = at_path(checkpoint.config, "experiment.loss");
  const Value* type = made_by != nullptr ? made_by->find("type") : nullptr;
  const std::string* name = type != nullptr ? std::get_if<std::string>(&type->data) : nullptr;
  if (name == nullptr) {
    return "";
  }
  try {
    Params p(*made_by, "loss", nullptr);
    return name_of(std::static_pointer_cast<Loss>(registry_.make(Loss::kind, *name, p, prefer_))->makes());
  } catch (const Error&) {
    return "";
  }
}

// What a feature network gives for one sample; undefined where no sample is known. Throws Error where it gives nothing.
Tensor Experiment::features_of_one(Network& network) const {
  if (spec_.shape.empty()) {
    return {};
  }
  std::vector<int64_t> shape = picture_shape();
  shape.insert(shape.begin(), 1);
  const at::NoGradGuard no_grad;
  return network.features(at::zeros(shape, at::TensorOptions().dtype(backend().dtype()).device(backend().device())));
}

// The feature network, which must have features at all, and take samples of this shape.
std::shared_ptr<Network> Experiment::build_features(const Params& p) {
  std::shared_ptr<Network> out = network(checkpoint(evaluate->features), evaluate->features);
  try {
    features_of_one(*out);
  } catch (const Error& e) {
    throw p.error("features", evaluate->features + " cannot serve: " + e.what());
  }
  return out;
}

// evaluate.features is a checkpoint, or the table of a network, which is taken out to be built as one.
std::optional<Value> Experiment::take_features_table() {
  Value* settings = root_.find("evaluate");
  const Value* features = settings != nullptr && settings->is_table() ? settings->find("features") : nullptr;
  if (features == nullptr || !features->is_table()) {
    return {};
  }
  Value out = *features;
  if (out.find("type") == nullptr) {
    out["type"] = Value{std::string(RETORT_NETWORK_OF_FEATURES), out.origin};
  }
  settings->erase("features");
  return out;
}

// The same of such a table, which is tried on one sample.
void Experiment::build_encoder(const Value& table) {
  const auto out = std::static_pointer_cast<Network>(build_plugin(Network::kind, "evaluate.features", table));
  const Value* resolved = at_path(resolved_, "evaluate.features");
  const Value* file = resolved->find("file");
  evaluate->features = std::get<std::string>((file != nullptr ? file : resolved->find("type"))->data);
  backend().place(*out);
  out->module()->eval();
  const std::string place = to_string(table.origin) + ": evaluate.features: ";
  Tensor given;
  try {
    given = features_of_one(*out);
  } catch (const Error& e) {
    throw RequestError(place + "cannot serve: " + e.what());
  }
  if (given.defined() && (given.dim() != 2 || given.size(0) != 1)) {
    throw RequestError(place + "gives " + spell(given.sizes()) + " for one sample of " + spell(picture_shape()) +
                       "; expected a row of features, 1 x F");
  }
  feature_network = out;
}

void Experiment::check_model(const Checkpoint& checkpoint, const std::string& path) const {
  const std::string is = objective_of(checkpoint), wanted = loss ? name_of(loss->makes()) : "";
  if (!is.empty() && !wanted.empty() && is != wanted) {
    throw RequestError(path + ": is a " + is + ", but the configuration's loss makes a " + wanted);
  }
  const Value ours = model_table();
  const Value automatic{Preconditioning().name(), {}}, one{int64_t{1}, {}};  // where nothing is said
  for (const char* key : {"shape", "classes", "process", "parametrisation", "sigma_data", "preconditioning", "boundary",
                          "guided", "inputs", "outputs"}) {
    const Value* unsaid = key == std::string_view("preconditioning") ? &automatic
                          : key == std::string_view("outputs")       ? &one
                                                                     : nullptr;
    const auto said = [&](const Value& model) { return model.find(key) != nullptr ? model.find(key) : unsaid; };
    const Value* want = said(ours);
    const Value* have = said(*checkpoint.config.find("model"));
    if (want != nullptr && have != nullptr && want->text() != have->text()) {
      throw RequestError(path + ": was trained with " + key + " = " + have->text() +
                         ", but the configuration amounts to " + want->text() +
                         "; give the configuration and overrides that it was trained with");
    }
  }
}

}  // namespace retort
