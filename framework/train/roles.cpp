#include "train/roles.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "io/checkpoint.h"

namespace retort {

RoleSet::RoleSet(Experiment& experiment, const Weights& student) {
  for (const Role& role : experiment.loss->roles()) {
    if (role.every < 1) {
      throw Error("loss '" + experiment.loss_name() + "': its role '" + role.name + "' is due every " +
                  std::to_string(role.every) + " steps; expected at least 1");
    }
    if (role.name == "student") {
      student_every_ = role.every;
    } else {
      members_.push_back(make(experiment, role, student));
    }
  }
}

RoleSet::Member RoleSet::make(Experiment& experiment, const Role& role, const Weights& student) const {
  Member out;
  out.role = role;
  const bool of_teacher = role.start == Role::Start::teacher && !experiment.teacher_checkpoint().empty();
  if (role.start == Role::Start::own) {
    out.network = role.network;
    experiment.training_backend().place(*out.network);
  } else if (of_teacher) {
    const std::string& path = experiment.teacher_checkpoint();
    std::vector<Input> more;  // as the student is told the guidance weight, so is who is compared with it
    if (const Input* guidance = experiment.spec().find(inputs::guidance)) {
      more.push_back(*guidance);
    }
    out.network = build_network(experiment, read_checkpoint(path), path, more);
    experiment.training_backend().place(*out.network);
  } else {  // an exact teacher has no network to begin at
    out.network = experiment.new_network();
    Weights(*out.network).assign(student.tensors);
  }
  out.weights = Weights(*out.network);
  const auto model = [&](std::shared_ptr<CompiledNetwork> network) {
    return of_teacher ? Model(std::move(network), experiment.process(), experiment.teacher->parametrisation(), {},
                              Makes::denoiser)
                      : experiment.model(std::move(network));
  };
  if (!out.trained()) {
    out.network->module()->eval();
    out.model = std::make_unique<Model>(model(experiment.backend().compile(out.network)));
    return out;
  }
  out.network->module()->train();
  check_trainable(out.weights.parameters(), "the loss's network '" + role.name + "'");
  for (const Tensor& p : out.weights.parameters()) {
    Tensor(p).set_requires_grad(true);
  }
  out.settings = std::make_unique<TrainSettings>(*experiment.train);
  if (role.learning_rate > 0) {
    out.settings->learning_rate = role.learning_rate;
  }
  out.optimizer = std::make_unique<Optimizer>(out.weights, *out.settings);
  out.model = std::make_unique<Model>(model(experiment.training_backend().trainable(out.network)));
  return out;
}

bool RoleSet::any_trained() const {
  return std::any_of(members_.begin(), members_.end(), [](const Member& m) { return m.trained(); });
}

std::vector<RoleModel> RoleSet::at_step(int64_t index) const {
  std::vector<RoleModel> out;
  if (student_every_ > 0) {
    out.push_back({"student", nullptr, index % student_every_ == 0});
  }
  for (const Member& m : members_) {
    out.push_back({m.role.name, m.model.get(), m.trained() && m.due(index)});
  }
  return out;
}

const Model* RoleSet::target() const {
  for (const Member& m : members_) {
    if (m.role.name == "target") {
      return m.model.get();
    }
  }
  return nullptr;
}

bool RoleSet::due(const std::string& name, int64_t index) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const Member& m) { return m.role.name == name && m.trained() && m.due(index); });
}

int64_t RoleSet::rhythm() const {
  int64_t out = std::max<int64_t>(student_every_, 1);
  for (const Member& m : members_) {
    out = std::lcm(out, m.role.every);
  }
  return out;
}

void RoleSet::backward(const std::string& name, const Tensor& loss) const {
  for (const Member& m : members_) {
    if (m.role.name == name && m.trained()) {
      const std::vector<Tensor> own = m.weights.parameters();
      loss.backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
    }
  }
}

bool RoleSet::clip(int64_t index, double most, double scale) const {
  bool finite = true;
  for (const Member& m : members_) {
    if (m.trained() && m.due(index)) {
      finite = std::isfinite(clip_gradients(m.weights.parameters(), most, scale).item<double>()) && finite;
    }
  }
  return finite;
}

void RoleSet::step(int64_t index, double spent) {
  for (Member& m : members_) {
    if (m.trained() && m.due(index)) {
      m.optimizer->step(index, index / m.role.every, spent);
    }
  }
}

void RoleSet::skip() {
  for (Member& m : members_) {
    if (m.trained()) {
      m.optimizer->skip();
    }
  }
}

void RoleSet::follow(const std::vector<Tensor>& student) const {
  for (const Member& m : members_) {
    if (m.role.update == Role::Update::average) {
      move_average(m.weights.tensors, student, m.role.decay);
      m.model->network().refresh();
    }
  }
}

void RoleSet::begin_stage(const std::vector<Tensor>& student) const {
  for (const Member& m : members_) {
    if (m.role.update == Role::Update::stage) {
      m.weights.assign(student);
      m.model->network().refresh();
    }
  }
}

std::vector<Tensor> RoleSet::parameters(int64_t index) const {
  std::vector<Tensor> out;
  for (const Member& m : members_) {
    if (m.trained() && m.due(index)) {
      const std::vector<Tensor> own = m.weights.parameters();
      out.insert(out.end(), own.begin(), own.end());
    }
  }
  return out;
}

std::string RoleSet::not_finite() const {
  for (const Member& m : members_) {
    for (size_t i = 0; i < m.weights.tensors.size(); ++i) {
      const Tensor& w = m.weights.tensors[i];
      if (w.is_floating_point() && !w.isfinite().all().item<bool>()) {
        return m.role.name + ": " + m.weights.names[i];
      }
    }
  }
  return "";
}

std::vector<std::vector<Tensor>> RoleSet::copy_buffers() const {
  std::vector<std::vector<Tensor>> out;
  for (const Member& m : members_) {
    out.push_back(m.weights.copy_buffers());
  }
  return out;
}

void RoleSet::assign_buffers(const std::vector<std::vector<Tensor>>& buffers) const {
  for (size_t i = 0; i < buffers.size(); ++i) {
    members_[i].weights.assign_buffers(buffers[i]);
  }
}

void RoleSet::store(std::map<std::string, Tensor>& out) const {
  for (const Member& m : members_) {
    const std::string prefix = "role/" + m.role.name + "/";
    m.weights.store(prefix + "weights/", m.weights.tensors, out);
    if (m.trained()) {
      m.optimizer->store(out, prefix);
    }
  }
}

void RoleSet::restore(const std::map<std::string, Tensor>& from) const {
  for (const Member& m : members_) {
    const std::string prefix = "role/" + m.role.name + "/";
    m.weights.assign(m.weights.restore(prefix + "weights/", from));
    if (m.trained()) {
      m.optimizer->restore(from, prefix);
    } else {
      m.model->network().refresh();
    }
  }
}

}  // namespace retort
