#include "train/batches.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "sample/conditions.h"

namespace retort {

Batches::Batches(const Experiment& experiment, int64_t first, int64_t rows)
    : experiment_(experiment), first_(first), rows_(rows) {}

// Batches run through one shuffled epoch after another; the order depends on the seed and the epoch alone.
Batch Batches::load(int64_t index) {
  const int64_t size = experiment_.dataset->size(Split::train);
  const int64_t batch = experiment_.train->batch;
  const int64_t end = index * batch + first_ + rows_;
  std::vector<Tensor> parts;
  for (int64_t at = index * batch + first_; at < end;) {
    const int64_t epoch = at / size;
    if (epoch != epoch_) {
      epoch_ = epoch;
      order_ = at::randperm(size,
                            seeded(static_cast<uint64_t>(experiment_.run->seed), "order", static_cast<uint64_t>(epoch)),
                            at::TensorOptions().dtype(at::kLong));
    }
    const int64_t count = std::min(end - at, (epoch + 1) * size - at);
    parts.push_back(order_.narrow(0, at - epoch * size, count));
    at += count;
  }
  Batch out = for_model(experiment_, experiment_.dataset->batch(Split::train, at::cat(parts)));
  if (experiment_.spec().has(inputs::guidance)) {
    const auto [low, high] = *experiment_.teacher->guidance();
    const Tensor uniform = at::rand(
        {batch}, seeded(static_cast<uint64_t>(experiment_.run->seed), "guidance", static_cast<uint64_t>(index)),
        at::TensorOptions().dtype(at::kDouble));
    out.condition.set(inputs::guidance,
                      (low + (high - low) * uniform.narrow(0, first_, rows_)).to(experiment_.backend().device()));
  }
  return out;
}

// While one batch is trained on, a thread prepares the next.
Batch Batches::next(int64_t index) {
  Batch out = ahead_.valid() && ahead_index_ == index ? ahead_.get() : load(index);
  if (index + 1 < experiment_.train->steps * experiment_.train->gradient_accumulation) {
    ahead_index_ = index + 1;
    ahead_ = std::async(std::launch::async, [this, index] {
      const c10::ParallelGuard alone(true);  // the cores are at work already
      return load(index + 1);
    });
  }
  return out;
}

}  // namespace retort
