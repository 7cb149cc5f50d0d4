/// What plugins in Python and the package `retort` share: classes, conversions, and errors that cross the languages.
#pragma once

#include <pybind11/pybind11.h>
#include <torch/csrc/utils/pybind.h>

#include <retort/conditioning.h>
#include <retort/error.h>
#include <retort/model.h>
#include <retort/value.h>

#include <string>

#include "view.h"

namespace retort::python {

namespace py = pybind11;

/// The classes that Python sees (Process, Ode, Step, …), in a module that is made once for the process. The lock is
/// held.
RETORT_API py::module_& classes();

/// The message of a Python exception as one line with its place: "my.py:12: ValueError: …". The place is the last line
/// of `file` on the way, or the last line of all where it is empty.
RETORT_API std::string spell(py::error_already_set& error, const std::string& file = "");

/// Keeps a Python exception while C++ code is on its way out, and returns the Error to throw for it.
RETORT_API Error carried(py::error_already_set& error, const std::string& file = "");
/// Raises the exception again that this thread carries, if there is any.
RETORT_API void raise_carried();
/// Forgets it.
RETORT_API void forget_carried() noexcept;

/// A value of a configuration, from None, bool, int, float, str, list, tuple, dict, or what turns into a number; and
/// back. Every part of it has the origin. Throws RequestError where `name` holds something else.
RETORT_API Value to_value(const py::handle& object, const Origin& origin, const std::string& name);
RETORT_API py::object to_python(const Value& value);

/// {"labels": tensor, …}
RETORT_API Conditioning to_conditioning(const py::handle& dict);
RETORT_API py::dict to_python(const Conditioning& condition);

/// "noise", "v", "data", "edm" or "flow" for what other libraries call epsilon, v_prediction, sample, …; other words
/// stay as they are.
RETORT_API std::string prediction_name(const std::string& word);

/// An attribute of an object, or what stands in for it.
template <class T>
T attribute(const py::handle& object, const char* name, T otherwise) {
  if (!py::hasattr(object, name)) {
    return otherwise;
  }
  const py::object found = object.attr(name);
  try {
    return py::cast<T>(found);
  } catch (const py::cast_error&) {
    throw RequestError(std::string("'") + name + "' has another type than expected: " +
                       std::string(py::str(py::type::of(found).attr("__name__"))));
  }
}

/// An object of Python's that outlives a call: it is let go while the lock is held.
class RETORT_API Kept {
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
  explicit operator bool() const { return static_cast<bool>(object_); }

 private:
  py::object object_;
};

}  // namespace retort::python
