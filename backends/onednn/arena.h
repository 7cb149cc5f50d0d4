/// Memory of a lowered network: every intermediate value has its place in one block, shared by values that are not
/// needed at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace retort {

/// Is needed from step `first` to step `last`.
struct Buffer {
  int64_t bytes = 0;
  size_t first = 0, last = 0;
  int64_t offset = 0;
};

/// Gives each buffer its offset, and says how many bytes the block needs: the largest buffers first, each at the lowest
/// place where nothing else lives at the same time.
int64_t place_buffers(std::vector<Buffer>& buffers);

class Arena {
 public:
  explicit Arena(int64_t bytes);
  char* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(char* memory) const;
  };
  std::unique_ptr<char, Free> memory_;
};

}  // namespace retort
