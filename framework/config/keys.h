/// Keys as TOML spells them: bare, dotted and quoted parts in any mix.
#pragma once

#include <string>
#include <vector>

namespace retort {

/// The parts of a key: `loss.type`, `loss."type"` and `"loss" . 'type'` are {"loss", "type"}. Throws RequestError for
/// what is no key.
std::vector<std::string> split_key(const std::string& key);

/// The one spelling of a key: dotted, with quotes where a part needs them.
std::string join_key(const std::vector<std::string>& parts);
std::string same_spelling(const std::string& key);

/// Whether one key is the other, or lies within the table of that name.
bool within(const std::string& key, const std::string& table);

/// Where a character stands first outside quotes; npos where it does not.
size_t find_outside_quotes(const std::string& text, char wanted);

/// What a message shows of a text that may be anything: one line, of limited length.
std::string shown(const std::string& text);

}  // namespace retort
