#include "config/layers.h"

#include <filesystem>

#include "config/keys.h"
#include "config/old_keys.h"
#include "config/toml.h"
#include "retort/error.h"

namespace retort {

namespace {

// Before `type` is set in a table: keys that were given beside another type are left over from it.
void mind_swap(Value& table, const Value& type) {
  const Value* old = table.find("type");
  if (old == nullptr || *old == type) {
    return;
  }
  for (auto& [key, value] : table.table()) {
    value.left_over = key != "type";
  }
}

void lay_over(Value& below, const Value& above) {
  below.origin = above.origin;
  if (const Value* type = above.find("type")) {
    mind_swap(below, *type);
  }
  for (const auto& [key, value] : above.table()) {
    Value* old = below.find(key);
    if (old != nullptr && old->is_table() && value.is_table()) {
      old->left_over = false;
      lay_over(*old, value);
    } else {
      below[key] = value;
    }
  }
}

Value read_extended(const std::string& path, int depth) {
  Value own = read_toml(path);
  rename_old_keys(own);
  const Value* extends = own.find("extends");
  if (extends == nullptr) {
    return own;
  }
  const std::string* base = std::get_if<std::string>(&extends->data);
  constexpr int deepest = 8;
  if (base == nullptr || depth > deepest) {
    throw RequestError(to_string(extends->origin) + ": extends " +
                       (base == nullptr ? "is " + extends->type_name() + "; expected the path of a configuration"
                                        : "goes round in a circle"));
  }
  Value out = read_extended((std::filesystem::path(path).parent_path() / *base).string(), depth + 1);
  out.erase("sweep");
  own.erase("extends");
  lay_over(out, own);
  return out;
}

}  // namespace

Value read_config(const std::string& path) {
  Value out = read_extended(path, 0);
  out.origin = {path, 1};
  return out;
}

Override read_override(const std::string& assignment) {
  const size_t equals = find_outside_quotes(assignment, '=');
  if (equals == std::string::npos || equals == 0) {
    throw RequestError("'" + shown(assignment) + "' is no override; expected key=value, such as train.steps=100");
  }
  Override out{present_key(same_spelling(assignment.substr(0, equals)), {}), {}};
  const std::string text = assignment.substr(equals + 1);
  // A comment belongs to a line of a file; here it would swallow a part of the value.
  if (find_outside_quotes(text, '#') == std::string::npos) {
    try {
      const Value parsed = parse_toml("value = " + text, "");
      if (parsed.table().size() == 1) {  // more would be more lines than one
        out.value = parsed.table()[0].second;
        return out;
      }
    } catch (const RequestError&) {  // no TOML, so a word
    }
  }
  if (!is_utf8(text)) {
    throw RequestError("'" + shown(text) + "' is no valid UTF-8");
  }
  out.value = Value{text, {}};
  return out;
}

bool is_utf8(const std::string& text) {
  try {
    parse_toml("value = " + Value{text, {}}.text(), "");  // TOML's reader refuses what is not
    return true;
  } catch (const RequestError&) {
    return false;
  }
}

void lay(Value& root, const std::string& key, Value value) {
  if (value.is_table()) {
    rename_old_keys(value, key);
  }
  const std::vector<std::string> parts = split_key(key);
  if (parts.size() > 1 && parts.back() == "type") {
    const std::string table = join_key({parts.begin(), parts.end() - 1});
    if (Value* found = at_path(root, table); found != nullptr && found->is_table()) {
      mind_swap(*found, value);
    }
  }
  set_path(root, key, std::move(value));
}

void apply_override(Value& root, const std::string& assignment) {
  Override given = read_override(assignment);
  lay(root, given.key, std::move(given.value));
}

}  // namespace retort
