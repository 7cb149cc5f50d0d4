#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace retort {

namespace {
std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);
}  // namespace

void stop_on_signals() {
  const auto handler = [](int signal) {
    if (stop.exchange(true)) {
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    }
  };
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
}

bool stop_requested() { return stop; }

}  // namespace retort
