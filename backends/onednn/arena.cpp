#include "arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>

namespace retort {

namespace {
constexpr int64_t alignment = 64;         // a cache line
constexpr size_t page = size_t{1} << 21;  // a large page: fewer misses of address translation
}  // namespace

int64_t place_buffers(std::vector<Buffer>& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  int64_t total = 0;
  std::vector<size_t> placed;  // by offset
  for (const size_t i : order) {
    Buffer& b = buffers[i];
    const int64_t bytes = (b.bytes + alignment - 1) / alignment * alignment;
    int64_t at = 0;
    for (const size_t j : placed) {
      const Buffer& other = buffers[j];
      if (other.last < b.first || b.last < other.first) {
        continue;
      }
      if (at + bytes <= other.offset) {
        break;
      }
      at = std::max(at, other.offset + (other.bytes + alignment - 1) / alignment * alignment);
    }
    b.offset = at;
    total = std::max(total, at + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t x, size_t y) { return buffers[x].offset < buffers[y].offset; }),
                  i);
  }
  return total;
}

void Arena::Free::operator()(char* memory) const { std::free(memory); }

Arena::Arena(int64_t bytes) {
  const size_t size = (static_cast<size_t>(bytes) + page - 1) / page * page + page;
  memory_.reset(static_cast<char*>(std::aligned_alloc(page, size)));
  if (!memory_) {
    throw std::bad_alloc();
  }
  madvise(memory_.get(), size, MADV_HUGEPAGE);
}

}  // namespace retort
