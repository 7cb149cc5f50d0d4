/// What the files of retort._native share.
#pragma once

#include "objects.h"

namespace retort::python {

/// Runs C++ without the lock. What Python raised on the way is raised again as it was.
template <class F>
auto released(F f) {
  forget_carried();
  try {
    const py::gil_scoped_release release;
    return f();
  } catch (const Error&) {
    raise_carried();
    throw;
  }
}

void add_toolbox(py::module_& module);

}  // namespace retort::python
