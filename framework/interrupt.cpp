#include "interrupt.h"

#include <atomic>

namespace retort {

namespace {
std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);
}  // namespace

bool request_stop() noexcept { return stop.exchange(true); }
bool stop_requested() noexcept { return stop; }
void forget_stop() noexcept { stop = false; }

}  // namespace retort
