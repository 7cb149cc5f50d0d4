#include "retort/toolbox.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include "config/experiment.h"
#include "config/times.h"
#include "io/checkpoint.h"
#include "sample/sampler.h"
#include "session_state.h"

namespace retort {

struct Toolbox::State {
  const Registry& registry;
  ModelSpec spec;
  Process process = {};
  bool process_given = false;
  std::shared_ptr<Backend> backend = {};
};

Toolbox::Toolbox(const Session& session, Options options)
    : state_(new State{.registry = session.state_->registry, .spec = std::move(options.spec)}) {
  if (!options.process.table().empty()) {
    read("process", options.process, [&](Params& p) { state_->process = Process(p); });
    state_->process_given = true;
  }
  if (options.backend.find("type") == nullptr) {
    options.backend["type"] = Value{std::string(RETORT_PLAIN_BACKEND), options.backend.origin};
  }
  state_->backend = build<Backend>(options.backend);
}

Toolbox::~Toolbox() = default;

void Toolbox::read(const std::string& name, const Value& table, const std::function<void(Params&)>& read) {
  Params p(table, name, this);
  read(p);
  p.finish();
}

std::shared_ptr<void> Toolbox::build(const char* kind, const Value& table) {
  const Value* type = table.find("type");
  if (type == nullptr || !std::holds_alternative<std::string>(type->data)) {
    throw RequestError(to_string(table.origin) + ": " + kind + ".type: missing; expected the name of a " + kind);
  }
  const std::string name = std::get<std::string>(type->data);
  try {
    state_->registry.find(kind, name);
  } catch (const RequestError& e) {
    throw RequestError(to_string(type->origin) + ": " + kind + ".type: " + e.what());
  }
  std::shared_ptr<void> made;
  read(kind, table, [&](Params& p) {
    p.get("type", name.c_str(), "");
    made = make(kind, name, p);
  });
  return made;
}

Tensor Toolbox::times(const Schedule& schedule, double progress) const {
  return checked_times(schedule, state_->process, "schedule: ", progress);
}

std::shared_ptr<void> Toolbox::make(const char* kind, const std::string& name, Params& params) {
  return state_->registry.make(kind, name, params);
}

const Process& Toolbox::process() const { return state_->process; }
bool Toolbox::process_given() const { return state_->process_given; }
ModelSpec Toolbox::spec() const { return state_->spec; }
const Backend& Toolbox::backend() const { return *state_->backend; }

Checkpoint Toolbox::checkpoint(const std::string& path) { return read_checkpoint(path, {}, &state_->registry); }

std::shared_ptr<Network> Toolbox::network(const Checkpoint& checkpoint, const std::string& path) {
  std::shared_ptr<Network> network = build_network(*this, checkpoint, path);
  state_->backend->place(*network);
  return network;
}

Tensor sample(const Model& model, const Tensor& times, const Tensor& x, const Conditioning& condition, int64_t seed,
              std::optional<double> gamma) {
  return sample_student(model, times, {x, condition}, x.size(0), seed, gamma);
}

Tensor times_of_steps(const Tensor& grid, int64_t steps) { return sampler_times(grid, steps); }

}  // namespace retort
