/// What the plugins in Python share: the interpreter, a user's file, and the module `retort` that such a file can use.
///
/// The interpreter is the one that LibTorch's Python package belongs to: RETORT_PYTHON, the active virtual environment,
/// or the one that Retort was built with. It is started at the first use and never ended.
#pragma once

#include <retort/error.h>
#include <retort/params.h>

#include <string>

#ifdef RETORT_WITH_PYTHON
#include <pybind11/pybind11.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/headeronly/version.h>

#include <dlfcn.h>

#include <cstdlib>

#include <retort/ode.h>

namespace retort::python {

namespace py = pybind11;

/// The message of a Python exception as one line: "my.py:12: ValueError: …".
inline std::string spell(py::error_already_set& error, const std::string& file) {
  std::string type = py::str(error.type().attr("__name__"));
  std::string what = py::str(error.value());
  what = what.substr(0, what.find('\n'));
  std::string place = file;
  if (type == "SyntaxError" || type == "IndentationError" || type == "TabError") {
    place += ":" + std::string(py::str(error.value().attr("lineno")));
    what = py::str(error.value().attr("msg"));
  }
  for (py::object frame = error.trace(); frame && !frame.is_none(); frame = frame.attr("tb_next")) {
    if (std::string(py::str(frame.attr("tb_frame").attr("f_code").attr("co_filename"))) == file) {
      place = file + ":" + std::string(py::str(frame.attr("tb_lineno")));
    }
  }
  return place + ": " + type + (what.empty() ? "" : ": " + what);
}

/// A view of the process for Python.
struct ProcessView {
  const Process* process;
};
/// A view of the ODE for Python, valid during the call that it is given to.
struct OdeView {
  const Ode* ode;
};

inline void start() {
  if (Py_IsInitialized() != 0) {
    return;
  }
  // Extension modules look for the interpreter's symbols among the global ones, and plugins are loaded locally.
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&Py_IsInitialized), &info) != 0) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
  }
  std::string executable = RETORT_PYTHON_EXECUTABLE;
  if (const char* environment = std::getenv("VIRTUAL_ENV")) {
    executable = std::string(environment) + "/bin/python";
  }
  if (const char* chosen = std::getenv("RETORT_PYTHON")) {
    executable = chosen;
  }
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;  // Ctrl-C is the host's
  config.parse_argv = 0;
  // NumPy is not needed, and its absence is no news.
  PyWideStringList_Append(&config.warnoptions, L"ignore:Failed to initialize NumPy");
  PyConfig_SetBytesString(&config, &config.program_name, executable.c_str());
  PyConfig_SetBytesString(&config, &config.executable, executable.c_str());
  const PyStatus status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status) != 0) {
    throw Error("Python (" + executable + ") cannot be started: " + (status.err_msg != nullptr ? status.err_msg : ""));
  }
  const std::string hint = "; set RETORT_PYTHON to the interpreter that has torch " TORCH_VERSION " installed";
  std::string failure;
  try {
    const std::string version = py::str(py::module_::import("torch").attr("__version__"));
    if (!version.starts_with(std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) + ".")) {
      failure = "Python's torch is " + version + ", but this program has " TORCH_VERSION + hint;
    }
  } catch (py::error_already_set& e) {
    failure = "Python's torch cannot be used: " + spell(e, executable) + hint;
  }
  PyEval_SaveThread();  // from here on the lock is taken where Python is called
  if (!failure.empty()) {
    throw RequestError(failure);
  }
}

/// The views are known to Python by this library's own copies of their classes (module_local), since every plugin that
/// speaks Python has them.
inline py::module_ make_module() {
  auto module = py::reinterpret_steal<py::module_>(PyModule_New("retort"));
  module.def(
      "rows", [](const Tensor& c, const Tensor& x) { return retort::rows(c, x); }, py::arg("c"), py::arg("x"),
      "A coefficient per row, [B], shaped so that it multiplies whole samples x: [B, ...].");
  py::class_<ProcessView>(module, "Process", py::module_local())
      .def_property_readonly("name", [](const ProcessView& v) { return v.process->name(); })
      .def_property_readonly("t_max", [](const ProcessView& v) { return v.process->t_max(); })
      .def("alpha", [](const ProcessView& v, const Tensor& t) { return v.process->alpha(t); })
      .def("sigma", [](const ProcessView& v, const Tensor& t) { return v.process->sigma(t); })
      .def("noise_level", [](const ProcessView& v, const Tensor& t) { return v.process->noise_level(t); })
      .def("time_of_noise_level",
           [](const ProcessView& v, const Tensor& level) { return v.process->time_of_noise_level(level); })
      .def("add_noise", [](const ProcessView& v, const Tensor& x0, const Tensor& n, const Tensor& t) {
        return v.process->add_noise(x0, n, t);
      });
  py::class_<OdeView>(module, "Ode", py::module_local())
      .def_property_readonly("process", [](const OdeView& v) { return ProcessView{&v.ode->process()}; })
      .def("data", [](const OdeView& v, const Tensor& x, const Tensor& t) { return v.ode->data(x, t); })
      .def("noise", [](const OdeView& v, const Tensor& x, const Tensor& t) { return v.ode->noise(x, t); })
      .def("velocity", [](const OdeView& v, const Tensor& x, const Tensor& t) { return v.ode->velocity(x, t); })
      .def("predict", [](const OdeView& v, const Tensor& x, const Tensor& t) {
        const Ode::Prediction p = v.ode->predict(x, t);
        return py::make_tuple(p.data, p.noise);
      });
  return module;
}

/// The module, made once for each library. `extend` adds what the kind of plugin needs.
template <class F>
py::module_& module(F extend) {
  static py::module_* const made = [&] {
    auto* module = new py::module_(make_module());  // never destroyed, as the interpreter is never ended
    extend(*module);
    return module;
  }();
  return *made;
}

/// An object of Python's that outlives a call: it is let go while the lock is held.
class Kept {
 public:
  Kept() = default;
  explicit Kept(py::object object) : object_(std::move(object)) {}
  Kept(Kept&& other) noexcept : object_(std::move(other.object_)) {}
  Kept& operator=(Kept&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Kept() {
    if (Py_IsInitialized() != 0 && object_) {
      const py::gil_scoped_acquire lock;
      object_ = {};
    }
  }
  const py::object& of() const { return object_; }

 private:
  py::object object_;
};

/// A user's .py file, loaded: its function and its constants.
class File {
 public:
  /// `function` is what the file must define; `extend` adds to the module `retort` before the file is read.
  template <class F>
  File(Params& p, const char* function, F extend)
      : path_(p.path("file", "", (std::string("a .py file that defines ") + function).c_str())) {
    if (p.is_describing()) {
      return;
    }
    if (path_.empty()) {
      throw p.error("file", std::string("missing; expected a .py file that defines ") + function);
    }
    start();
    const py::gil_scoped_acquire lock;
    try {
      // Kept only once all is well: what is left of an exception must go while the lock is held.
      const py::object loaded = load(p, extend);
      if (!py::hasattr(loaded, function) || PyCallable_Check(py::object(loaded.attr(function)).ptr()) == 0) {
        throw p.error("file", path_ + " defines no function '" + function + "'");
      }
      module_ = loaded;
      function_ = loaded.attr(function);
    } catch (py::error_already_set& e) {
      throw p.error("file", spell(e, path_));
    }
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (Py_IsInitialized() != 0 && module_) {
      const py::gil_scoped_acquire lock;
      function_ = {};
      module_ = {};
    }
  }

  /// A constant of the file, such as `order = 2`.
  template <class T>
  T constant(Params& p, const char* name, T in_describing) const {
    if (p.is_describing()) {
      return in_describing;
    }
    const py::gil_scoped_acquire lock;
    if (!py::hasattr(module_, name)) {
      throw p.error("file", path_ + " does not say '" + name + " = …'");
    }
    try {
      return py::cast<T>(py::object(module_.attr(name)));
    } catch (const py::cast_error&) {
      throw p.error("file", path_ + ": '" + name + "' has another type than expected");
    }
  }

  /// Calls the function; `result` turns what it returns into what is wanted.
  template <class R, class... Args>
  auto call(R result, Args&&... arguments) const {
    const py::gil_scoped_acquire lock;
    try {
      return result(function_(std::forward<Args>(arguments)...));
    } catch (py::error_already_set& e) {
      throw Error(spell(e, path_));
    } catch (const py::cast_error&) {
      throw Error(path_ + ": its function returned something else than a tensor");
    }
  }

  /// What the function makes, where it is a class.
  Kept make() const {
    return call([](py::object made) { return Kept(std::move(made)); });
  }

  /// Runs what speaks Python, with the lock held.
  template <class F>
  void locked(F f) const {
    const py::gil_scoped_acquire lock;
    try {
      f();
    } catch (py::error_already_set& e) {
      throw Error(spell(e, path_));
    }
  }

 private:
  template <class F>
  py::object load(Params& p, F extend) const {
    py::dict modules = py::module_::import("sys").attr("modules");
    modules["retort"] = module(extend);
    const py::object util = py::module_::import("importlib.util");
    const py::object spec = util.attr("spec_from_file_location")("retort_user_file", path_);
    if (spec.is_none()) {
      throw p.error("file", "'" + path_ + "' is no Python file; expected a name that ends in .py");
    }
    const py::object made = util.attr("module_from_spec")(spec);
    spec.attr("loader").attr("exec_module")(made);
    return made;
  }

  std::string path_;
  py::object module_, function_;
};

}  // namespace retort::python

#else

namespace retort::python {
[[noreturn]] inline void missing() {
  throw RequestError(
      "this Retort was built without Python; install Python's headers (Debian: python3-dev) and build it again");
}
}  // namespace retort::python

#endif
