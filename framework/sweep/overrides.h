/// What the command line says of a configuration with a [sweep].
#pragma once

#include <string>
#include <vector>

#include "retort/value.h"

namespace retort {

/// Applies `key=value` texts. Types are set first, so that their order does not matter: a key given beside a type is
/// meant for it. Keys of [sweep] may be spelled in any way and replace what is swept there; any other key that is given
/// is no longer swept. Throws RequestError.
void apply_overrides(Value& config, const std::vector<std::string>& assignments);

/// Takes a key out of [sweep], wherever it stands there. An exclusion that speaks of it holds for that value alone: it
/// goes where `value` is another one.
void no_longer_swept(Value& config, const std::string& key, const Value& value);

}  // namespace retort
