/// A wish to stop: long work asks now and then, saves what it has, and stops with an Error that says so.
#pragma once

namespace retort {

/// May be called in a signal handler. Returns whether it was wished before.
bool request_stop() noexcept;
bool stop_requested() noexcept;
/// The work has ended.
void forget_stop() noexcept;

}  // namespace retort
