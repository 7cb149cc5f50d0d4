#include "config/keys.h"

#include <algorithm>

#include "config/toml.h"
#include "retort/error.h"

namespace retort {

namespace {

// A part as TOML spells it, in quotes where it has to be: Value's own speller, { part = true } less what is around it.
std::string spell_part(const std::string& part) {
  const std::string text = Value{Table{{part, Value{true, {}}}}, {}}.text();
  return text.substr(2, text.size() - 11);
}

bool is_bare(const std::string& part) { return spell_part(part) == part; }

// Quoted or odd keys are TOML's own matter: read as a line of a document.
std::vector<std::string> split_by_toml(const std::string& key) {
  std::vector<std::string> out;
  const Value document = parse_toml(key + " = 0", "");
  const Value* at = &document;
  while (at->is_table() && at->table().size() == 1) {
    out.push_back(at->table()[0].first);
    at = &at->table()[0].second;
  }
  return at->is_table() ? std::vector<std::string>{} : out;
}

}  // namespace

std::string shown(const std::string& text) {
  std::string out = text.substr(0, 200);
  for (char& c : out) {
    c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out;
}

size_t find_outside_quotes(const std::string& text, char wanted) {
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '"' && c == '\\') {
      ++i;
    } else if (quote != 0) {
      quote = c == quote ? 0 : quote;
    } else if (c == wanted) {
      return i;
    } else if (c == '"' || c == '\'') {
      quote = c;
    }
  }
  return std::string::npos;
}

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> out;
  for (size_t from = 0; from <= key.size();) {
    const size_t to = std::min(key.find('.', from), key.size());
    out.push_back(key.substr(from, to - from));
    from = to + 1;
  }
  if (std::all_of(out.begin(), out.end(), is_bare)) {
    return out;
  }
  // A line's end or a bracket would make it something else than one line's key; a comment would hide the rest.
  bool plain = true;
  for (const char c : {'=', '#', '[', '\n', '\r'}) {
    plain = plain && find_outside_quotes(key, c) == std::string::npos;
  }
  try {
    out = plain ? split_by_toml(key) : std::vector<std::string>{};
  } catch (const RequestError&) {
    out.clear();
  }
  if (out.empty()) {
    throw RequestError("'" + shown(key) + "' is no key; expected a dotted path such as train.steps");
  }
  return out;
}

std::string join_key(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    out += (out.empty() ? "" : ".") + spell_part(part);
  }
  return out;
}

std::string same_spelling(const std::string& key) { return join_key(split_key(key)); }

bool within(const std::string& key, const std::string& table) {
  return key == table || (key.size() > table.size() && key.starts_with(table) && key[table.size()] == '.');
}

}  // namespace retort
