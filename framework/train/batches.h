/// The batches of a training: one shuffled epoch after another, the next one prepared while one is trained on.
#pragma once

#include <future>

#include "config/experiment.h"

namespace retort {

class Batches {
 public:
  /// This process's rows of each batch: `rows`, from `first`.
  Batches(const Experiment& experiment, int64_t first, int64_t rows);

  /// The batch of that index, which depends on the seed and the index alone; asked for in rising order.
  Batch next(int64_t index);

 private:
  Batch load(int64_t index);

  const Experiment& experiment_;
  int64_t first_, rows_;
  int64_t epoch_ = -1;
  Tensor order_;
  std::future<Batch> ahead_;  // the batch after the current one
  int64_t ahead_index_ = -1;
};

}  // namespace retort
