/// The networks that a loss keeps beside the student: built, trained, averaged, saved.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/experiment.h"
#include "train/optimizer.h"
#include "train/weights.h"

namespace retort {

class RoleSet {
 public:
  /// `student`: its weights as they begin.
  RoleSet(Experiment& experiment, const Weights& student);
  RoleSet(const RoleSet&) = delete;
  RoleSet& operator=(const RoleSet&) = delete;

  /// Whether any role is trained: then each value must train its own network alone.
  bool any_trained() const;
  /// As the step of that index sees them.
  std::vector<RoleModel> at_step(int64_t index) const;
  /// The model of the role "target", or null.
  const Model* target() const;

  /// Whether a role is trained at that step.
  bool due(const std::string& name, int64_t index) const;
  /// The steps after which all are due together again.
  int64_t rhythm() const;

  /// Gives a trained role the gradients of a number.
  void backward(const std::string& name, const Tensor& loss) const;
  /// Of the roles that are due, and hold gradients: clipped, after division by `scale`. Returns whether all are finite.
  bool clip(int64_t index, double most, double scale) const;
  /// The optimizers' steps of the roles that are due. `spent` is as in `Optimizer::rate`.
  void step(int64_t index, double spent = 0);
  /// Clears the gradients without a step.
  void skip();
  /// Moves the averages towards the student's weights (as `Weights::tensors`).
  void follow(const std::vector<Tensor>& student) const;
  /// The student's weights, for roles that keep those of a stage's begin.
  void begin_stage(const std::vector<Tensor>& student) const;

  /// Parameters of the trained roles that are due, whose gradients are added up over processes.
  std::vector<Tensor> parameters(int64_t index) const;
  /// The first weights that are not finite, or "".
  std::string not_finite() const;
  std::vector<std::vector<Tensor>> copy_buffers() const;
  void assign_buffers(const std::vector<std::vector<Tensor>>& buffers) const;
  void store(std::map<std::string, Tensor>& out) const;
  void restore(const std::map<std::string, Tensor>& from) const;

 private:
  struct Member {
    Role role;
    std::shared_ptr<Network> network;
    Weights weights;
    std::unique_ptr<TrainSettings> settings;  // the optimizer's
    std::unique_ptr<Optimizer> optimizer;     // of trained roles
    std::unique_ptr<Model> model;
    bool due(int64_t index) const { return index % role.every == 0; }
    bool trained() const { return role.update == Role::Update::trained; }
  };
  Member make(Experiment& experiment, const Role& role, const Weights& student) const;

  std::vector<Member> members_;
  int64_t student_every_ = 0;  // 0: the loss says nothing of it
};

}  // namespace retort
