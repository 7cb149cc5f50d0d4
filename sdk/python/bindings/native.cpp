// The package's own module, retort._native: sessions, and parts for Python's tensors and modules.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <retort/session.h>
#include <torch/headeronly/version.h>

#include "native.h"

namespace retort::python {

namespace {

// Callbacks of a session, called from the thread that works, with the lock.
SessionOptions options_of(std::vector<std::string> folders, py::object log, py::object progress) {
  SessionOptions out;
  out.plugin_folders = std::move(folders);
  if (!log.is_none()) {
    out.log = [call = std::make_shared<Object>(std::move(log), "")](LogLevel level, const std::string& line) {
      static const char* const names[] = {"info", "warning", "error"};
      call->with([&](const py::object& o) {
        o(names[static_cast<int>(level)], line);
        return 0;
      });
    };
  }
  if (!progress.is_none()) {
    out.progress = [call = std::make_shared<Object>(std::move(progress), "")](const std::string& what, int64_t done,
                                                                              int64_t total) {
      call->with([&](const py::object& o) {
        o(what, done, total);
        return 0;
      });
    };
  }
  return out;
}

void add_session(py::module_& module) {
  py::class_<Session, std::shared_ptr<Session>>(module, "Session")
      .def(py::init([](std::vector<std::string> folders, py::object log, py::object progress) {
             return std::make_shared<Session>(options_of(std::move(folders), std::move(log), std::move(progress)));
           }),
           py::arg("plugin_folders"), py::arg("log"), py::arg("progress"))
      .def("plugins",
           [](const Session& session) {
             std::vector<std::tuple<std::string, std::string, std::string>> out;
             for (const Session::Plugin& plugin : session.plugins()) {
               out.emplace_back(plugin.kind, plugin.name, plugin.file.string());
             }
             return out;
           })
      .def("plan",
           [](Session& session, std::string config, std::vector<std::string> overrides) {
             const auto cells = released(
                 [&] { return session.plan({.config = std::move(config), .overrides = std::move(overrides)}); });
             py::list out;
             for (const Session::Cell& cell : cells) {
               out.append(py::make_tuple(cell.name, to_python(cell.config), cell.folder.string(), cell.finished));
             }
             return out;
           })
      .def("run",
           [](Session& session, std::string config, std::vector<std::string> overrides, bool fresh, bool worker) {
             const RunRequest request{
                 .config = std::move(config), .overrides = std::move(overrides), .fresh = fresh, .worker = worker};
             return released([&] { return session.run(request).string(); });
           })
      .def("results",
           [](const Session& session, const std::string& folder) {
             return to_python(released([&] { return session.results(folder); }));
           })
      .def("table", [](const Session& session,
                       const std::string& folder) { return released([&] { return session.table(folder); }); })
      .def("describe",
           [](const Session& session, const std::string& kind, const std::string& name) {
             return to_python(released([&] { return session.describe(kind, name); }));
           })
      .def("interrupt", &Session::interrupt);
  module.def("spell", [](const py::object& value) { return to_value(value, {}, "value").text(); });
}

// The errors of C++ as Python's.
void add_errors(py::module_& module) {
  static py::exception<Error> error(module, "Error", PyExc_RuntimeError);
  static py::exception<RequestError> request(
      module, "RequestError", py::make_tuple(error, py::reinterpret_borrow<py::object>(PyExc_ValueError)));
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const RequestError& e) {
      py::set_error(request, e.what());
    } catch (const Error& e) {
      py::set_error(error, e.what());
    }
  });
}

}  // namespace

}  // namespace retort::python

PYBIND11_MODULE(_native, module) {
  using namespace retort::python;
  const py::dict shared = classes().attr("__dict__");
  for (const auto& [name, value] : shared) {
    if (const std::string word = py::str(name); !word.starts_with("__")) {
      module.attr(name) = value;
    }
  }
  module.attr("torch_version") = TORCH_VERSION;
  module.attr("version") = RETORT_VERSION;
  add_errors(module);
  add_session(module);
  add_toolbox(module);
}
