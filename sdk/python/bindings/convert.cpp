// Values, conditions and errors between the languages.
#include <map>

#include "python.h"

namespace retort::python {

std::string spell(py::error_already_set& error, const std::string& file) {
  const std::string type = py::str(error.type().attr("__name__"));
  std::string what = py::str(error.value());
  what = what.substr(0, what.find('\n'));
  std::string place = file;
  if (type == "SyntaxError" || type == "IndentationError" || type == "TabError") {
    place += ":" + std::string(py::str(error.value().attr("lineno")));
    what = py::str(error.value().attr("msg"));
  }
  for (py::object frame = error.trace(); frame && !frame.is_none(); frame = frame.attr("tb_next")) {
    const std::string own = py::str(frame.attr("tb_frame").attr("f_code").attr("co_filename"));
    if (file.empty() || own == file) {
      place = own + ":" + std::string(py::str(frame.attr("tb_lineno")));
    }
  }
  return (place.empty() ? "" : place + ": ") + type + (what.empty() ? "" : ": " + what);
}

namespace {
// Never destroyed: a thread may end after the interpreter.
thread_local py::object* carried_exception = nullptr;
}  // namespace

Error carried(py::error_already_set& error, const std::string& file) {
  Error out(spell(error, file));
  forget_carried();
  py::object value = error.value();
  if (error.trace()) {
    PyException_SetTraceback(value.ptr(), error.trace().ptr());
  }
  carried_exception = new py::object(std::move(value));
  return out;
}

void raise_carried() {
  if (carried_exception == nullptr) {
    return;
  }
  const py::object value = *carried_exception;
  forget_carried();
  PyErr_SetObject(py::type::handle_of(value).ptr(), value.ptr());
  throw py::error_already_set();
}

void forget_carried() noexcept {
  delete carried_exception;
  carried_exception = nullptr;
}

Value to_value(const py::handle& object, const Origin& origin, const std::string& name) {
  Value out;
  out.origin = origin;
  if (object.is_none()) {
    return out;
  }
  if (py::isinstance<py::bool_>(object)) {
    out.data = object.cast<bool>();
  } else if (py::isinstance<py::int_>(object)) {
    out.data = object.cast<int64_t>();
  } else if (py::isinstance<py::float_>(object)) {
    out.data = object.cast<double>();
  } else if (py::isinstance<py::str>(object)) {
    out.data = object.cast<std::string>();
  } else if (py::isinstance<py::dict>(object)) {
    for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(object)) {
      const std::string own = py::str(key);
      if (!value.is_none()) {
        out[own] = to_value(value, origin, name.empty() ? own : name + "." + own);
      }
    }
  } else if (py::hasattr(object, "__fspath__")) {
    out.data = std::string(py::str(object.attr("__fspath__")()));
  } else if (py::hasattr(object, "tolist")) {  // a tensor, or NumPy's numbers and arrays
    return to_value(object.attr("tolist")(), origin, name);
  } else if (py::isinstance<py::sequence>(object)) {
    Array items;
    for (const auto& item : py::reinterpret_borrow<py::sequence>(object)) {
      items.push_back(to_value(item, origin, name));
    }
    out.data = std::move(items);
  } else {
    throw RequestError(to_string(origin) + ": " + name + ": is a " +
                       std::string(py::str(py::type::handle_of(object).attr("__name__"))) +
                       "; expected a number, a string, a list or a dict");
  }
  return out;
}

py::object to_python(const Value& value) {
  return std::visit(
      [](const auto& data) -> py::object {
        using T = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<T, Array>) {
          py::list out;
          for (const Value& item : data) {
            out.append(to_python(item));
          }
          return out;
        } else if constexpr (std::is_same_v<T, Table>) {
          py::dict out;
          for (const auto& [key, item] : data) {
            out[py::str(key)] = to_python(item);
          }
          return out;
        } else {
          return py::cast(data);
        }
      },
      value.data);
}

Conditioning to_conditioning(const py::handle& dict) {
  Conditioning out;
  if (!dict || dict.is_none()) {
    return out;
  }
  for (const auto& [key, value] : py::reinterpret_borrow<py::dict>(dict)) {
    out.set(std::string(py::str(key)), value.cast<Tensor>());
  }
  return out;
}

py::dict to_python(const Conditioning& condition) {
  py::dict out;
  for (const auto& [name, rows] : condition) {
    out[py::str(name)] = rows;
  }
  return out;
}

std::string prediction_name(const std::string& word) {
  static const std::map<std::string, std::string> other_words = {
      {"epsilon", "noise"},        {"eps", "noise"},   {"v_prediction", "v"}, {"velocity", "flow"},
      {"flow_prediction", "flow"}, {"sample", "data"}, {"denoised", "data"},  {"x0", "data"}};
  const auto found = other_words.find(word);
  return found == other_words.end() ? word : found->second;
}

}  // namespace retort::python
