/// What a Session holds.
#pragma once

#include <atomic>

#include "log.h"
#include "plugin/registry.h"
#include "retort/session.h"

namespace retort {

struct Session::State {
  Registry registry;
  log::Printer printer;
  std::atomic<bool> works = false;    // a `run` has been asked for
  std::atomic<bool> on_turn = false;  // and is the one that the process works on
  std::atomic<bool> stops = false;    // and shall stop
};

}  // namespace retort
