/// A metric in Python: a .py file with a class `Metric`, or with a function measure(evaluation).
///
/// It returns a number, a dict of numbers by name, or None where it does not apply. `evaluation` has samples(),
/// reference(), sample_features(), reference_features(), features(x), start() = (noise, conditions), data(n),
/// endpoints(), sample_states(), student_steps (0 in the teacher's own row), model and ode. The class may say `name`
/// (of a single number), `ideal` (a dict: the values of a perfect model) and `symmetric`, to which `retort check` holds
/// it.
///
///     [evaluate]
///     metrics = ["python"]
///
///     [metric.python]
///     file = "my_metric.py"
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonMetric final : public Metric {
 public:
  explicit PythonMetric(Params& p) {
    python::Object object = python::from_file(p, "Metric", "measure");
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] { return std::make_shared<python::ObjectMetric>(std::move(object)); });
    }
  }
  Measurement measure(const Evaluation& evaluation) const override { return made_->measure(evaluation); }
  std::vector<std::pair<std::string, double>> ideal() const override {
    return made_ ? made_->ideal() : std::vector<std::pair<std::string, double>>{};
  }
  bool symmetric() const override { return made_ && made_->symmetric(); }

 private:
  std::shared_ptr<python::ObjectMetric> made_;
};

RETORT_PLUGIN(PythonMetric, metric, python)
