/// Ctrl-C, and what schedulers send: long work asks now and then, saves what it has, and stops with an Error that says
/// so.
#pragma once

namespace retort {

/// From now on SIGINT, SIGTERM, SIGHUP and SIGUSR1 only make a note; a second one ends the program at once. A
/// SIGHUP that the program was started to ignore, by nohup, stays ignored.
void stop_on_signals();
bool stop_requested();

}  // namespace retort
