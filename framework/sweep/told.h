/// What optimizers outside ask of a search, and tell it: `retort sweep --ask` and `--tell`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"
#include "retort/value.h"
#include "sweep/axes.h"

namespace retort {

/// What is searched, by name: {"min", "max", "log", "integer"} of a range, {"choices"} of a list. Places that set
/// several keys are choices spelled as TOML; a zip and cells are called so, and by their number from the second on.
Json space_of(const std::vector<Axis>& axes);

/// The place on each axis that such values name, {"train.learning_rate": 1e-3, "loss.type": "one"}. Throws RequestError
/// for a name that is missing or unknown, and a value that is not in the space.
Assignments told_place(const std::vector<Axis>& axes, const std::string& json);

/// The same from values: how a draw would be told. What fits no place is left out.
Json told_values(const std::vector<Axis>& axes, const Value& values);

/// The axes of [sweep] but its seeds. Throws RequestError for whatever is wrong.
std::vector<Axis> searched_axes(const Value& sweep);

/// What was told to the sweep in a folder, in order, each once.
std::vector<Assignments> told_in(const std::filesystem::path& output);
void keep_told(const std::filesystem::path& output, const Assignments& place);

}  // namespace retort
