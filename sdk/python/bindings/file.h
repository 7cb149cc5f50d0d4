/// A plugin's file in Python, and the interpreter that reads it.
///
/// In a program of its own the interpreter is the one that LibTorch's Python package belongs to: RETORT_PYTHON, the
/// active virtual environment, or the one that Retort was built with. It is started at the first use and never ended.
/// In a Python process it is that process's.
#pragma once

#include <retort/params.h>

#include "objects.h"

namespace retort::python {

/// Starts the interpreter, where it does not run yet. Throws RequestError where its torch is another one.
RETORT_API void start();

/// The key `file`, and what the file defines: an object of its class `name`, or, where it has a function `function`
/// instead, the file's module itself. Empty in describing mode. `spec`, where there is one, is what the class is made
/// with.
RETORT_API Object from_file(Params& p, const char* name, const char* function = nullptr,
                            const ModelSpec* spec = nullptr);

/// Builds a part of it; what is wrong with the object is an error about the key `file`.
template <class F>
auto made_of_file(Params& p, F build) {
  try {
    return build();
  } catch (const RequestError& e) {
    throw p.error("file", e.what());
  }
}

}  // namespace retort::python
