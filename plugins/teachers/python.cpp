/// A teacher in Python: a .py file with a class `Teacher`, which is called with (x, time, **conditions).
///
/// The keys say how it is meant, as for teacher 'torchscript'. An object of the class is made once; its __call__
/// returns a tensor like x, a tuple whose first is that, or an object with `sample`, as models of diffusers do. It is
/// given those conditions that it names. The process is that of [process].
///
///     [teacher]
///     type = "python"
///     file = "my_teacher.py"
///     parametrisation = "noise"      # or "v", "data", "edm", "flow"
///     input = "x"                    # the sample as it is; left out: as preconditioning says
///     time = "step"                  # 0 to T - 1; or "sigma", "log_sigma", "fraction", …
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonTeacher final : public Teacher {
 public:
  explicit PythonTeacher(Params& p) {
    python::Object object = python::from_file(p, "Teacher");
    made_ = std::make_shared<python::ObjectTeacher>(p, std::move(object), "the class Teacher");
  }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    return made_->predict(x, t, condition);
  }
  const Process& process() const override { return made_->process(); }
  Parametrisation parametrisation() const override { return made_->parametrisation(); }
  std::vector<int64_t> shape() const override { return made_->shape(); }
  std::vector<Input> inputs() const override { return made_->inputs(); }
  int64_t cost() const override { return made_->cost(); }
  std::optional<std::pair<double, double>> guidance() const override { return made_->guidance(); }

 private:
  std::shared_ptr<python::ObjectTeacher> made_;
};

RETORT_PLUGIN(PythonTeacher, teacher, python)
