#include "cli/signals.h"

#include <csignal>

#include "interrupt.h"

namespace retort {

void stop_on_signals() {
  const auto handler = [](int signal) {
    if (request_stop()) {
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

}  // namespace retort
