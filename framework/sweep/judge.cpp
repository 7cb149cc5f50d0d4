#include "sweep/judge.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/error.h"

namespace retort {

double judged(const Judge& judge, const std::vector<Row>& rows) {
  constexpr double none = std::numeric_limits<double>::infinity();
  std::vector<const Row*> counted;
  for (const Row& row : rows) {
    if (!row.ema_length && (!judge.student_steps || row.student_steps.value_or(0) <= *judge.student_steps)) {
      counted.push_back(&row);
    }
  }
  if (judge.student_steps && !counted.empty()) {
    const auto fewer = [](const Row* a, const Row* b) { return a->student_steps < b->student_steps; };
    counted = {*std::max_element(counted.begin(), counted.end(), fewer)};
  }
  double sum = 0;
  int64_t count = 0;
  std::vector<std::string> names;
  for (const Row* row : counted) {
    add_metrics(*row, names);
    if (const double* value = metric_of(*row, judge.by)) {
      sum += std::isfinite(*value) ? *value : none;
      count += 1;
    }
  }
  if (count == 0) {
    throw RequestError(judge.table + (counted.empty()
                                          ? ".student_steps: no sampler of evaluate.student_steps takes so few steps"
                                          : ".by: '" + judge.by + "' is not measured" + did_you_mean(judge.by, names)));
  }
  return sum / static_cast<double>(count);
}

}  // namespace retort
