#include "config/toml.h"

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace retort {

namespace {

Value convert(const toml::node& node, const std::string& file) {
  Value out;
  out.origin = {file, file.empty() ? 0 : static_cast<int>(node.source().begin.line)};
  if (const auto* table = node.as_table()) {
    // toml++ sorts keys by name; the file's own order reads better in copies and messages.
    std::vector<std::pair<const toml::key*, const toml::node*>> entries;
    for (const auto& [key, value] : *table) {
      entries.emplace_back(&key, &value);
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
    for (const auto& [key, value] : entries) {
      out.table().emplace_back(std::string(key->str()), convert(*value, file));
    }
  } else if (const auto* array = node.as_array()) {
    Array items;
    for (const toml::node& item : *array) {
      items.push_back(convert(item, file));
    }
    out.data = std::move(items);
  } else if (const auto* s = node.as_string()) {
    out.data = s->get();
  } else if (const auto* i = node.as_integer()) {
    out.data = i->get();
  } else if (const auto* d = node.as_floating_point()) {
    out.data = d->get();
  } else if (const auto* b = node.as_boolean()) {
    out.data = b->get();
  } else {
    throw RequestError(to_string(out.origin) + ": dates and times have no meaning here");
  }
  return out;
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> out;
  std::stringstream stream(path);
  for (std::string part; std::getline(stream, part, '.');) {
    out.push_back(part);
  }
  return out;
}

void write_table(const Value& table, const std::string& path, std::string& out) {
  for (const auto& [key, value] : table.table()) {
    if (!value.is_table()) {
      // Keys are spelled by Value's own speller: { key = value } less its braces.
      const std::string line = Value{Table{{key, value}}, {}}.text();
      out += line.substr(2, line.size() - 4) + "\n";
    }
  }
  for (const auto& [key, value] : table.table()) {
    if (value.is_table()) {
      const std::string inner = path.empty() ? key : path + "." + key;
      out += (out.empty() ? "[" : "\n[") + inner + "]\n";
      write_table(value, inner, out);
    }
  }
}

}  // namespace

Value parse_toml(const std::string& text, const std::string& file) {
  try {
    return convert(toml::parse(text, file), file);
  } catch (const toml::parse_error& e) {
    const auto& at = e.source().begin;
    std::string what(e.description());
    what = what.substr(0, what.find('\n'));
    throw RequestError(file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) +
                       ": is no valid TOML: " + what);
  }
}

Value read_toml(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    std::vector<std::string> beside;
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    for (std::filesystem::directory_iterator i(folder.empty() ? "." : folder, error), end; !error && i != end;
         i.increment(error)) {
      if (i->path().extension() == ".toml") {
        beside.push_back((folder / i->path().filename()).string());
      }
    }
    throw RequestError(path + ": no such file" + did_you_mean(path, beside));
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!std::filesystem::is_regular_file(path) || !(text << file.rdbuf())) {
    throw RequestError(path + ": cannot be read; expected a TOML file");
  }
  return parse_toml(text.str(), path);
}

namespace {

void lay_over(Value& below, const Value& above) {
  below.origin = above.origin;
  for (const auto& [key, value] : above.table()) {
    Value* old = below.find(key);
    const Value* type = value.is_table() ? value.find("type") : nullptr;
    const Value* old_type = old != nullptr && old->is_table() ? old->find("type") : nullptr;
    const bool another = type != nullptr && old_type != nullptr && !(*type == *old_type);
    if (old != nullptr && old->is_table() && value.is_table() && !another) {
      lay_over(*old, value);
    } else {
      below[key] = value;
    }
  }
}

Value read_extended(const std::string& path, int depth) {
  Value own = read_toml(path);
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

const Value* at_path(const Value& root, const std::string& path) {
  const Value* at = &root;
  for (const std::string& part : split_path(path)) {
    at = at->find(part);
    if (at == nullptr) {
      return nullptr;
    }
  }
  return at;
}

void set_path(Value& root, const std::string& path, Value value) {
  Value* at = &root;
  for (const std::string& part : split_path(path)) {
    if (!at->is_table()) {
      throw RequestError("'" + path + "' goes through " + at->type_name() + ", which has no keys");
    }
    at = &(*at)[part];
  }
  *at = std::move(value);
}

void apply_override(Value& root, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw RequestError("'" + assignment + "' is no override; expected key=value, such as train.steps=100");
  }
  const std::string key = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  if (key.front() == '.' || key.back() == '.' || key.find("..") != std::string::npos) {
    throw RequestError("'" + key + "' is no key; expected a dotted path such as train.steps");
  }
  Value value;
  try {
    const Value parsed = parse_toml("value = " + text, "");
    value = *parsed.find("value");
  } catch (const RequestError&) {
    if (text.find_first_of("[]{}\"'=\n") != std::string::npos) {
      throw RequestError("'" + assignment + "': the value is no valid TOML");
    }
    value = Value{text, {}};
  }
  set_path(root, key, std::move(value));
}

std::string write_toml(const Value& root) {
  std::string out;
  write_table(root, "", out);
  return out;
}

}  // namespace retort
