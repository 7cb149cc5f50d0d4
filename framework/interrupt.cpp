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
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    std::signal(signal, handler);
  }
  if (std::signal(SIGHUP, handler) == SIG_IGN) {  // as nohup leaves it
    std::signal(SIGHUP, SIG_IGN);
  }
  // A file that grows beyond `ulimit -f` is then an error of the write that did it, with a line of its own.
  std::signal(SIGXFSZ, SIG_IGN);
}

bool stop_requested() { return stop; }

}  // namespace retort
