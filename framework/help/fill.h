/// Texts that are filled: lines to the width of a page, and the marks of templates.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace retort {

/// Lines of at most 100 columns behind an indent, each with its end; "" of nothing.
std::string filled_lines(const std::string& text, size_t indent);

/// Each mark replaced by its text, one mark after the other.
std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& marks);

/// "@solver:heun@" becomes `name` where `kind` is solver, and heun for every other kind, or where there is no name.
std::string choose_plugin(std::string text, const std::string& kind, const std::string& name);

}  // namespace retort
