#include "file.h"

#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <cstdlib>

namespace retort::python {

void start() {
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

namespace {

py::object load(Params& p, const std::string& path) {
  py::dict modules = py::module_::import("sys").attr("modules");
  if (!modules.contains("retort")) {  // the package has the same classes
    modules["retort"] = classes();
  }
  const py::object util = py::module_::import("importlib.util");
  const py::object spec = util.attr("spec_from_file_location")("retort_user_file", path);
  if (spec.is_none()) {
    throw p.error("file", "'" + path + "' is no Python file; expected a name that ends in .py");
  }
  py::object made = util.attr("module_from_spec")(spec);
  spec.attr("loader").attr("exec_module")(made);
  return made;
}

bool defines(const py::object& module, const char* name) {
  return name != nullptr && py::hasattr(module, name) && PyCallable_Check(py::object(module.attr(name)).ptr()) != 0;
}

}  // namespace

Object from_file(Params& p, const char* name, const char* function, const ModelSpec* spec) {
  const std::string either =
      std::string("class ") + name + (function != nullptr ? std::string(" or function ") + function : "");
  const std::string path = p.path("file", "", "a .py file that defines " + either);
  if (p.is_describing()) {
    return {};
  }
  if (path.empty()) {
    throw p.error("file", "missing; expected a .py file that defines " + either);
  }
  start();
  const py::gil_scoped_acquire lock;
  try {
    const py::object module = load(p, path);
    if (defines(module, name)) {
      const py::object type = module.attr(name);
      return {spec != nullptr ? type(to_python(*spec)) : type(), path};
    }
    if (defines(module, function)) {
      return {module, path};
    }
    throw p.error("file", path + " defines no " +
                              (function != nullptr ? std::string("function '") + function + "', and no " : "") +
                              "class '" + name + "'");
  } catch (py::error_already_set& e) {
    throw p.error("file", spell(e, path));
  }
}

}  // namespace retort::python
