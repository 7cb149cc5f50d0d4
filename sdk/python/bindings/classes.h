/// Views that are written to.
#pragma once

#include <retort/solver.h>

#include "python.h"

namespace retort::python {

struct HistoryView {
  std::function<History&()> of;
};

}  // namespace retort::python
