/// A loop over pictures, which take unequal times.
#pragma once

#include <ATen/Parallel.h>

#include <atomic>
#include <cstdint>

namespace retort {

/// Calls f(0 … n - 1) on all threads, in order of index. Stops where f says false, once all smaller indices are done.
template <class F>
void in_parallel(int64_t n, const F& f) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t, int64_t) {
    while (!stop) {  // an index that was taken is always done
      const int64_t i = next++;
      if (i >= n) {
        return;
      }
      if (!f(i)) {
        stop = true;
      }
    }
  });
}

}  // namespace retort
