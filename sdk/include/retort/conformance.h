/// What any plugin of a kind must satisfy, measured: the library behind `retort check`.
///
/// A plugin's own test links Retort::conformance and says RETORT_CHECK_PLUGIN(kind, name) (retort/doctest.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "retort/host.h"
#include "retort/params.h"

namespace retort::conformance {

/// A plugin that is to be checked.
struct Subject {
  std::string kind;
  std::string name;
  std::function<std::shared_ptr<void>(Params&)> make;
  /// Its table, without `type`; required keys that are missing take the examples of their declarations.
  Value params;
  /// Whence it takes other plugins and checkpoints; null where it needs none.
  Host* host = nullptr;
};

/// A property, what was measured of it, and what was expected.
struct Property {
  std::string name;
  bool holds = false;
  std::string measured;
  std::string expected;
};

/// Every property of the subject's kind. An exception of the plugin is a property that does not hold, never thrown
/// on. Throws RequestError for an unknown kind, or for parameters that the plugin refuses at once.
RETORT_API std::vector<Property> check(const Subject& subject);

}  // namespace retort::conformance
