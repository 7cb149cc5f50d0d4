/// The processes that train one model together, as torchrun starts them: PyTorch's own c10d, over Gloo (NCCL on
/// graphics cards where LibTorch has it).
///
///   torchrun --no-python --nproc-per-node 2 retort run CONFIG
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "retort/tensor.h"

namespace retort {

class Group {
 public:
  /// The group of the environment's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; this process alone without them.
  /// Throws RequestError where they make no sense, Error where the others cannot be reached.
  static Group& world();

  int64_t rank() const { return rank_; }
  int64_t size() const { return size_; }
  bool first() const { return rank_ == 0; }

  /// Adds the tensors up over all processes, in place; one exchange for all of them. The numbers are the same in every
  /// process, to the bit. Throws Error where a process is gone.
  void sum(const std::vector<Tensor>& tensors);
  /// The first process's number, in all of them.
  int64_t from_first(int64_t value);
  bool from_first(bool value) { return from_first(static_cast<int64_t>(value)) != 0; }
  /// The first process's bytes, in all of them.
  std::string from_first(const std::string& text);
  /// Throws Error in every process where one has another value than the first. `what` names it.
  void agree(const std::string& what, const std::string& value);
  /// Waits for all.
  void meet() { from_first(int64_t{0}); }

 private:
  Group();
  class Engine;
  int64_t rank_ = 0, size_ = 1;
  std::shared_ptr<Engine> engine_;
};

}  // namespace retort
