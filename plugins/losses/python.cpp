/// A loss in Python: a .py file with a class `Loss`, or with a function loss(step) for consistency models.
///
/// The function, and the class's __call__(self, step), return a number per row, [B], or (numbers, times), or a dict
/// with `per_row`, `t`, `roles` (a value for each network of its own that is due) and `diagnostics`. The class may say
/// `makes` ("consistency", "flow_map", "denoiser", …), `needs` (a dict: teacher, solver, schedule, end_time, predicts),
/// `roles` (a list of dicts: name, start, update, decay, every, learning_rate) and `stages`. `step` has x [B, …],
/// labels, condition, grid [N + 1], progress, index, process, ode, and the methods
///   draw()                  indices [B] of intervals of the grid
///   noise(), uniform(), normal()   random numbers of this step
///   student(x, t), target(x, t)    the consistency functions; target carries no gradient
///   denoise(x, t)           the student's prediction of clean data
///   model, target_model, role(name)   with raw, data, consistency, jump, endpoint, tangent
///   solver_step(x, t, s)    one step of the solver along the teacher's ODE
///   solve(x, t)             to the end of the grid
///   pair()                  (noise, data, t): fresh noise, solved to the end
/// `ode` and `retort.rows(c, x)` are as for solver 'python'.
///
///     [loss]
///     type = "python"
///     file = "my_loss.py"
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonLoss final : public Loss {
 public:
  explicit PythonLoss(Params& p) {
    python::Object object = python::from_file(p, "Loss", "loss");
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] { return std::make_shared<python::ObjectLoss>(std::move(object)); });
    }
  }
  Makes makes() const override { return made_ ? made_->makes() : Makes::consistency; }
  Needs needs() const override { return made_ ? made_->needs() : Needs{}; }
  std::vector<Role> roles() const override { return made_ ? made_->roles() : std::vector<Role>{}; }
  int64_t stages() const override { return made_ ? made_->stages() : 1; }
  LossValue operator()(const TrainingStep& step) const override { return (*made_)(step); }

 private:
  std::shared_ptr<python::ObjectLoss> made_;
};

RETORT_PLUGIN(PythonLoss, loss, python)
