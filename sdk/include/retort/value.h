/// A configuration value and where it was written. The host fills it from TOML; plugins read it through `Params`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "retort/tensor.h"

namespace retort {

/// Where a value was written: a file and its line, or the command line (`file` empty, `line` 0).
struct Origin {
  std::string file;
  int line = 0;
};

/// "configs/a.toml:12" or "command line".
RETORT_API std::string to_string(const Origin& origin);

struct Value;
using Array = std::vector<Value>;
using Table = std::vector<std::pair<std::string, Value>>;  // in the order of the file

struct RETORT_API Value {
  std::variant<bool, int64_t, double, std::string, Array, Table> data = Table{};
  Origin origin;
  /// Given beside another type of its table, which something put above has swapped since: left out, with a word, where
  /// the new type does not know the key.
  bool left_over = false;

  bool is_table() const { return std::holds_alternative<Table>(data); }
  const Table& table() const { return std::get<Table>(data); }
  Table& table() { return std::get<Table>(data); }

  /// The entry of that name in a table, or nullptr.
  const Value* find(std::string_view name) const;
  Value* find(std::string_view name);
  /// The entry of that name, made if it is missing.
  Value& operator[](std::string_view name);
  void erase(std::string_view name);

  /// "a string", "an integer", "a table", … for error messages.
  std::string type_name() const;
  /// The value as TOML would spell it on one line.
  std::string text() const;

  bool operator==(const Value& other) const { return data == other.data; }
};

}  // namespace retort
