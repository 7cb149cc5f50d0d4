/// A tracker in Python: a .py file with a class `Tracker`, for Weights & Biases, MLflow, Aim, or one's own.
///
/// One object is made for a configuration. It is asked for begin(run, from_step), where run is a dict of `name`,
/// `folder` and `config`; then log(step, numbers), a dict such as {"loss": 0.1, "diagnostics/x": 2.0} of what is
/// finite; pictures(step, name, pictures), a tensor [n, C, H, W] in [0, 1]; histogram(step, name, values); and at last
/// end(measured), a list of (step, numbers). All but log may be left out. A training that goes on calls begin with the
/// step that it goes on from: what was logged of later ones comes again. sdk/python/trackers has such files.
///
///     [track]
///     trackers = ["python"]
///
///     [tracker.python]
///     file = "my_tracker.py"
#include <retort/plugin.h>
#include <retort/tracker.h>

#include <cmath>

#include "../shared/tracked_file.h"
#include "file.h"

using namespace retort;
namespace py = pybind11;

namespace {

py::dict finite(const Scalars& scalars) {
  py::dict out;
  for (const Scalar& s : scalars) {
    std::visit(
        [&](auto value) {
          if (std::isfinite(static_cast<double>(value))) {
            out[py::str(tag_of(s))] = value;
          }
        },
        s.value);
  }
  return out;
}

}  // namespace

class PythonTracker final : public Tracker {
 public:
  explicit PythonTracker(Params& p) : object_(python::from_file(p, "Tracker")) {
    if (!p.is_describing()) {
      python::made_of_file(p, [&] {
        object_.require("log", "log(self, step, numbers)");
        return 0;
      });
    }
  }

  void begin(const TrackedRun& run, int64_t from_step) override {
    ask("begin", [&] {
      py::dict about;
      about["name"] = run.name;
      about["folder"] = run.folder.string();
      about["config"] = python::to_python(run.config);
      return py::make_tuple(about, from_step);
    });
  }
  void log(int64_t step, const Scalars& scalars) override {
    ask("log", [&] { return py::make_tuple(step, finite(scalars)); });
  }
  void pictures(int64_t step, const std::string& name, const Tensor& pictures) override {
    ask("pictures", [&] { return py::make_tuple(step, name, pictures); });
  }
  void histogram(int64_t step, const std::string& name, const Tensor& values) override {
    ask("histogram", [&] { return py::make_tuple(step, name, values); });
  }
  void end(const std::vector<Measured>& measured) override {
    ask("end", [&] {
      py::list all;
      for (const Measured& m : measured) {
        all.append(py::make_tuple(m.step, finite(m.scalars)));
      }
      return py::make_tuple(all);
    });
  }

 private:
  template <class F>
  void ask(const char* method, F arguments) const {
    object_.with([&](const py::object& object) {
      if (py::hasattr(object, method)) {
        object.attr(method)(*arguments());
      }
      return 0;
    });
  }

  python::Object object_;
};

RETORT_PLUGIN(PythonTracker, tracker, python)
