/// What `retort explain KEY` says, and which key an error is about.
#pragma once

#include <string>

#include "help/catalog.h"
#include "io/json.h"

namespace retort {

/// The answer, some lines. A key is that of a table ("train.ema"), of plugins ("solver.order",
/// "solver.heun.coordinate"), a table ("loss"), a plugin ("solver.euler", or its name alone), or a key alone
/// ("learning_rate"). Throws RequestError with the nearest name for what is none of these.
std::string explain(const Catalog& catalog, const std::string& key);

/// The same for programs: a list of all keys that are meant.
Json explain_as_json(const Catalog& catalog, const std::string& key);

/// The key, or else the table, that an error's message is about, as `explain` takes it; empty where it is about none.
std::string key_of_error(const std::string& message);

}  // namespace retort
