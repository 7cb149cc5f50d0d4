/// Ctrl-C, and what schedulers send.
#pragma once

namespace retort {

/// From now on SIGINT, SIGTERM, SIGHUP and SIGUSR1 are a wish to stop (interrupt.h); a second one ends the program at
/// once. A SIGHUP that the program was started to ignore, by nohup, stays ignored.
void stop_on_signals();

}  // namespace retort
