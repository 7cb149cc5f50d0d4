/// Ctrl-C: long work asks now and then, saves what it has, and stops with an Error that says so.
#pragma once

namespace retort {

/// From now on SIGINT and SIGTERM only make a note; a second one ends the program at once.
void stop_on_signals();
bool stop_requested();

}  // namespace retort
