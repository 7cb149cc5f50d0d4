/// Configurations as a JSON Schema, for editors and for programs that write them.
#pragma once

#include "help/catalog.h"
#include "io/json.h"

namespace retort {

/// JSON Schema of draft 2020-12, of words that draft 7 has too, since that is what editors' plugins for TOML read. A
/// table that selects a plugin is one of several objects, by its `type`; without a `type`, which may be swept or stand
/// in the file that is extended, it may have the keys of any. Required keys are not required, as they may stand
/// elsewhere too.
Json schema_of(const Catalog& catalog);

/// Its text, with what fits into a line on one line.
std::string spell_schema(const Json& schema);

}  // namespace retort
