#include "retort/value.h"

#include <charconv>
#include <cmath>

namespace retort {

std::string to_string(const Origin& origin) {
  return origin.file.empty() ? "command line" : origin.file + ":" + std::to_string(origin.line);
}

const Value* Value::find(std::string_view name) const {
  if (!is_table()) {
    return nullptr;
  }
  for (const auto& [key, value] : table()) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

Value* Value::find(std::string_view name) { return const_cast<Value*>(static_cast<const Value*>(this)->find(name)); }

Value& Value::operator[](std::string_view name) {
  if (Value* found = find(name)) {
    return *found;
  }
  table().emplace_back(std::string(name), Value{});
  return table().back().second;
}

void Value::erase(std::string_view name) {
  std::erase_if(table(), [&](const auto& entry) { return entry.first == name; });
}

std::string Value::type_name() const {
  constexpr const char* names[] = {"a boolean", "an integer", "a number", "a string", "a list", "a table"};
  return names[data.index()];
}

namespace {

std::string quoted(const std::string& s) {
  constexpr char hex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += std::string("\\u00") + hex[(c >> 4) & 15] + hex[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string number(double v) {
  if (std::isnan(v)) {
    return "nan";
  }
  if (std::isinf(v)) {
    return v > 0 ? "inf" : "-inf";
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  std::string s(buffer, end);
  return s.find_first_of(".e") == std::string::npos ? s + ".0" : s;
}

bool bare(const std::string& key) {
  return !key.empty() &&
         key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
}

struct Speller {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return number(v); }
  std::string operator()(const std::string& v) const { return quoted(v); }
  std::string operator()(const Array& v) const {
    std::string out = "[";
    for (const Value& item : v) {
      out += (out.size() > 1 ? ", " : "") + item.text();
    }
    return out + "]";
  }
  std::string operator()(const Table& v) const {
    std::string out = "{";
    for (const auto& [key, value] : v) {
      out += (out.size() > 1 ? ", " : " ") + (bare(key) ? key : quoted(key)) + " = " + value.text();
    }
    return out + " }";
  }
};

}  // namespace

std::string Value::text() const { return std::visit(Speller{}, data); }

}  // namespace retort
