/// Objects of Python as parts of Retort: what plugins `python` load from a file, and what the package is given.
///
/// Each class says which attributes and methods it asks for. `file` is the user's file, for the places in errors.
#pragma once

#include <retort/dataset.h>
#include <retort/loss.h>
#include <retort/metric.h>
#include <retort/module_teacher.h>
#include <retort/schedule.h>
#include <retort/solver.h>

#include <map>
#include <string>

#include "python.h"

namespace retort::python {

/// An object, and how it is called: with the lock, and with its exceptions as an Error of one line.
class RETORT_API Object {
 public:
  Object() = default;
  Object(py::object object, std::string file) : object_(std::move(object)), file_(std::move(file)) {}

  const py::object& of() const { return object_.of(); }
  bool has(const char* name) const;
  /// Throws RequestError where there is no such method.
  void require(const char* method, const char* signature) const;

  /// Runs what speaks Python. Throws Error.
  template <class F>
  auto with(F f) const {
    const py::gil_scoped_acquire lock;
    try {
      return f(object_.of());
    } catch (py::error_already_set& e) {
      throw carried(e, file_);
    } catch (const py::cast_error&) {
      throw Error((file_.empty() ? "" : file_ + ": ") + "returned something of another type than expected");
    }
  }
  /// What comes back is to be a tensor.
  Tensor tensor(const std::function<py::object(const py::object&)>& call) const;

 private:
  Kept object_;
  std::string file_;
};

/// step(step, x) -> x; `order` and `evaluations`, 1 where they are not said; `interior`, `stochastic`. Or step(ode, x,
/// t, s), where the object is a module.
class RETORT_API ObjectSolver : public Solver {
 public:
  explicit ObjectSolver(Object object);
  int order() const override { return order_; }
  int evaluations() const override { return evaluations_; }
  Tensor step(const Step& step, const Tensor& x) const override;
  bool interior() const override { return interior_; }
  bool stochastic() const override { return stochastic_; }

 private:
  Object object_;
  bool of_ode_;
  int order_, evaluations_;
  bool interior_, stochastic_;
};

/// times(process, progress) -> [N + 1], falling; `changes`; draw(intervals, count) -> indices [count] where it is
/// there.
class RETORT_API ObjectSchedule : public Schedule {
 public:
  explicit ObjectSchedule(Object object);
  Tensor times(const Process& process, double progress = 0) const override;
  bool changes() const override { return changes_; }
  Tensor draw(int64_t intervals, int64_t count, at::Generator generator) const override;

 private:
  Object object_;
  bool changes_, draws_;
};

/// The object itself is called with a step. It returns numbers [B], (numbers, times), or a dict with `per_row`, and
/// `t`, `roles` and `diagnostics` as LossValue has them. `makes`: "consistency" where it is not said; `needs`: a dict,
/// by default of teacher, solver and schedule; `roles`: a list of dicts with `name`, `start`, `update`, `decay`,
/// `every`, `learning_rate`; `stages`. Or loss(step), where the object is a module.
class RETORT_API ObjectLoss : public Loss {
 public:
  explicit ObjectLoss(Object object);
  LossValue operator()(const TrainingStep& step) const override;
  Makes makes() const override { return makes_; }
  Needs needs() const override { return needs_; }
  std::vector<Role> roles() const override { return roles_; }
  int64_t stages() const override { return stages_; }

 private:
  Object object_;
  Makes makes_ = Makes::consistency;
  Needs needs_;
  std::vector<Role> roles_;
  int64_t stages_ = 1;
};

/// `shape`; size(split) with "train" or "test"; batch(split, index) -> x, or (x, labels), or (x, dict of inputs).
/// `classes` and `class_names` where there are labels; `inputs`, a dict of name to the shape of a row, for others;
/// pictures(x) -> [n, C, H, W] in [0, 1] where there are any.
class RETORT_API ObjectDataset : public Dataset {
 public:
  explicit ObjectDataset(Object object);
  std::vector<int64_t> shape() const override { return shape_; }
  int64_t classes() const override { return classes_; }
  std::vector<Input> inputs() const override { return inputs_; }
  std::vector<std::string> class_names() const override { return names_; }
  int64_t size(Split split) const override;
  Batch batch(Split split, const Tensor& index) const override;
  Tensor pictures(const Tensor& x) const override;

 private:
  Object object_;
  std::vector<int64_t> shape_;
  int64_t classes_;
  std::vector<Input> inputs_;
  std::vector<std::string> names_;
};

/// measure(evaluation) -> a number, a dict of numbers, or None where it does not apply. `name` of a single number, or
/// that of the class; `symmetric`; `ideal`, a dict.
class RETORT_API ObjectMetric : public Metric {
 public:
  explicit ObjectMetric(Object object);
  Measurement measure(const Evaluation& evaluation) const override;
  std::vector<std::pair<std::string, double>> ideal() const override { return ideal_; }
  bool symmetric() const override { return symmetric_; }

 private:
  Object object_;
  std::string name_;
  std::vector<std::pair<std::string, double>> ideal_;
  bool symmetric_;
};

/// The object is called with x and time as the keys say, and conditions by name; it is a function, or a module.
class RETORT_API ObjectTeacher : public ModuleTeacher {
 public:
  ObjectTeacher(Params& p, Object object, const std::string& name);

 private:
  Tensor ask(const Tensor& x, const Tensor& time, const Conditioning& given) const override;
  Object object_;
};

/// A torch.nn.Module whose forward takes x, time, and conditions by name. Its weights are C++'s and Python's at once.
class RETORT_API ObjectNetwork : public Network {
 public:
  /// `inputs`: what it reads beside x and time; by default labels.
  ObjectNetwork(Object object, std::vector<std::string> inputs);
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override;
  std::vector<std::string> inputs() const override { return inputs_; }
  Tensor features(const Tensor& x) override;
  std::shared_ptr<torch::nn::Module> module() override { return weights_; }
  const Object& object() const { return object_; }

 private:
  Object object_;
  std::vector<std::string> inputs_;
  std::shared_ptr<torch::nn::Module> weights_;
};

/// The words of a list that an object says; `otherwise` where it says none.
RETORT_API std::vector<std::string> listed(const Object& object, const char* name, std::vector<std::string> otherwise);

/// {"shape": [...], "classes": n, "inputs": {name: shape of a row}, "outputs": n}: what a network is built for.
RETORT_API py::dict to_python(const ModelSpec& spec);

}  // namespace retort::python
