#include "help/explain.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>

#include "config/affects.h"
#include "config/keys.h"
#include "config/old_keys.h"
#include "config/toml.h"
#include "help/fill.h"
#include "retort/backend.h"
#include "retort/loss.h"

namespace retort {

namespace {

// One declaration of a key: in a table of the host's, or in a plugin's.
struct Declared {
  std::string table;              // "train", "solver", "metric.fd"
  const PluginDescription* part;  // nullptr: the host reads it in every table of the kind
  const ParamInfo* key;
};

// What a key may stand for.
struct Meant {
  std::vector<Declared> keys;
  std::vector<std::pair<std::string, const PluginDescription*>> parts;  // table, and what is in it
  std::string kind;                                                     // all plugins of a kind
  std::vector<std::string> near;                                        // what could have been meant, where nothing is
};

const ParamInfo* find_key(const std::vector<ParamInfo>& keys, const std::string& name) {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const ParamInfo& p) { return p.name == name; });
  return found != keys.end() ? &*found : nullptr;
}

const PluginDescription& sweep_part() {
  static const PluginDescription part = [] {
    PluginDescription out{{"table", "sweep", {}},
                          "[sweep]: what varies from cell to cell. Any other key of a configuration stands here with a "
                          "list of values, in "
                          "quotes: \"train.steps\" = [100, 400].\n",
                          sweep_keys()};
    for (const auto& [table, keys] : {std::pair("tune.", tune_keys()), std::pair("search.", search_keys())}) {
      for (ParamInfo key : keys) {
        key.name = table + key.name;
        out.params.push_back(std::move(key));
      }
    }
    return out;
  }();
  return part;
}

void look_in_kind(const Catalog& catalog, const std::string& kind, std::vector<std::string> rest, Meant& out);

bool is_place_in_list(const std::string& word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// The keys of one part, or of a plugin that one of its keys holds.
void look_in_part(const Catalog& catalog, const std::string& table, const PluginDescription* part,
                  const std::vector<ParamInfo>& keys, const std::vector<std::string>& rest, Meant& out) {
  const ParamInfo* key = find_key(keys, rest[0]);
  if (key == nullptr) {
    for (const ParamInfo& p : keys) {
      out.near.push_back(p.name);
    }
    return;
  }
  std::vector<std::string> inner(rest.begin() + 1, rest.end());
  if (!inner.empty() && is_place_in_list(inner[0])) {
    inner.erase(inner.begin());  // which of a list
  }
  if (inner.empty() || nested_kind(key->type).empty() || inner[0] == "weight") {
    out.keys.push_back({table, part, key});
  } else {
    look_in_kind(catalog, nested_kind(key->type), inner, out);
  }
}

void look_in_kind(const Catalog& catalog, const std::string& kind, std::vector<std::string> rest, Meant& out) {
  if (kind == Backend::kind && !rest.empty() && (rest[0] == "teacher" || rest[0] == "student")) {
    rest.erase(rest.begin());  // [backend.teacher] holds what [backend] does
  }
  if (kind == Loss::kind && !rest.empty() && is_place_in_list(rest[0])) {
    rest.insert(rest.begin(), "terms");  // loss = [{ … }, …] is short for the terms of a sum
  }
  if (rest.empty()) {
    out.kind = kind;
    return;
  }
  if (const PluginDescription* plugin = catalog.plugin(kind, rest[0])) {
    const std::string table = table_of(kind, plugin->file.name);
    if (rest.size() == 1) {
      out.parts.emplace_back(table, plugin);
    } else {
      look_in_part(catalog, table, plugin, plugin->params, {rest.begin() + 1, rest.end()}, out);
    }
  }
  if (!is_listed(kind)) {
    look_in_part(catalog, kind, nullptr, catalog.host_keys(kind), rest, out);
  }
  for (const PluginDescription& plugin : catalog.plugins(kind)) {
    look_in_part(catalog, table_of(kind, plugin.file.name), &plugin, plugin.params, rest, out);
    out.near.push_back(plugin.file.name);
  }
}

// A name alone: of a plugin, or a key of any table.
void look_everywhere(const Catalog& catalog, const std::string& name, Meant& out) {
  for (const PluginFile& file : catalog.registry().files()) {
    if (file.name == name) {
      out.parts.emplace_back(table_of(file.kind, name), catalog.plugin(file.kind, name));
    }
    out.near.push_back(file.name);
  }
  for (const TableInfo& table : tables()) {
    out.near.emplace_back(table.name);
    if (const PluginDescription* part = catalog.table(table.name)) {
      look_in_part(catalog, table.name, part, part->params, {name}, out);
    }
  }
  if (out.parts.empty()) {
    for (const std::string kind : plugin_kinds) {
      for (const PluginDescription& plugin : catalog.plugins(kind)) {
        look_in_part(catalog, table_of(kind, plugin.file.name), &plugin, plugin.params, {name}, out);
      }
    }
  }
}

// A key's name of today.
std::vector<std::string> present_words(const std::vector<std::string>& key) {
  const std::string whole = join_key(key);
  for (const auto& [old, present] : old_keys()) {
    if (whole == old) {
      return split_key(present);
    }
  }
  return key;
}

Meant meant_by(const Catalog& catalog, const std::string& text) {
  const std::vector<std::string> key = present_words(split_key(text));
  const std::vector<std::string> rest(key.begin() + 1, key.end());
  Meant out;
  const TableInfo* table = find_table(key[0]);
  if (table == nullptr && key[0] == extends_key().name) {
    out.keys.push_back({"", nullptr, &extends_key()});
  } else if (table == nullptr && key.size() == 1) {
    look_everywhere(catalog, key[0], out);
  } else if (table == nullptr) {
    for (const TableInfo& t : tables()) {
      out.near.emplace_back(t.name);
    }
    throw RequestError("no table is called '" + shown(key[0]) + "'" + did_you_mean(key[0], out.near));
  } else if (key[0] == sweep_part().file.name) {
    const std::string inner = rest.empty() ? "" : join_key(rest);
    const ParamInfo* own = find_key(sweep_part().params, inner);
    if (rest.empty()) {
      out.parts.emplace_back(key[0], &sweep_part());
    } else if (own != nullptr) {
      out.keys.push_back({key[0], &sweep_part(), own});
    } else if (const std::string swept = rest.size() == 1 ? rest[0] : inner; split_key(swept).size() > 1) {
      return meant_by(catalog, swept);
    } else {
      for (const ParamInfo& p : sweep_part().params) {
        out.near.push_back(p.name);
      }
    }
  } else if (table->kind != nullptr) {
    look_in_kind(catalog, table->kind, rest, out);
  } else if (rest.empty()) {
    out.parts.emplace_back(key[0], catalog.table(key[0]));
  } else {
    const PluginDescription* part = catalog.table(key[0]);
    look_in_part(catalog, key[0], part, part->params, rest, out);
  }
  if (out.keys.empty() && out.parts.empty() && out.kind.empty()) {
    const std::string in = key.size() > 1 ? key[0] : "";
    throw RequestError("nothing is called '" + shown(text) + "'" + did_you_mean(key.back(), out.near) + " (retort " +
                       (in.empty() ? "list shows all plugins" : "explain " + in + " shows all keys") + ")");
  }
  return out;
}

std::string kind_of_value(const ParamInfo& p) {
  std::string out = p.type + (p.range.empty() ? "" : ", " + p.range);
  return out + (p.required ? ", required" : ", default " + p.default_value);
}

std::string choices_of(const ParamInfo& p) {
  std::string out;
  for (const std::string& c : p.choices) {
    out += (out.empty() ? "one of \"" : " \"") + c + "\"";
  }
  return out;
}

bool is_toml(const std::string& line) {
  try {
    parse_toml(line, "");
    return true;
  } catch (const RequestError&) {
    return false;
  }
}

// The line that sets a key in the TOML of a plugin's page, less its comment; empty where there is none.
std::string line_of_page(const std::string& page, const std::string& key) {
  const size_t toml = page.find("\n    [");
  std::istringstream lines(toml == std::string::npos ? "" : page.substr(toml));
  for (std::string line; std::getline(lines, line);) {
    const size_t from = line.find_first_not_of(' ');
    if (from != 4 || line.compare(from, key.size() + 3, key + " = ") != 0) {
      continue;
    }
    const size_t comment = find_outside_quotes(line, '#');
    line = line.substr(from, comment == std::string::npos ? comment : comment - from);
    line = line.substr(0, line.find_last_not_of(' ') + 1);
    return is_toml(line) ? line : "";  // it may go on in the next one
  }
  return "";
}

std::string what_a_change_does(const std::string& key) {
  switch (affects(key)) {
    case Affects::training:
      return "a change of it trains again";
    case Affects::evaluation:
      return "a change of it measures again, and trains nothing";
    case Affects::presentation:
      return "a change of it writes the report again";
    default:
      return "a change of it does nothing to results that are there";
  }
}

bool has_word(const std::string& text, const std::string& word) {
  const auto part_of_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !part_of_word(text[at - 1])) && (end == text.size() || !part_of_word(text[end]))) {
      return true;
    }
  }
  return false;
}

// Keys of the same part that begin with the same word, or that one of the two speaks of.
std::vector<std::string> related(const Declared& d) {
  std::vector<std::string> out;
  if (d.part == nullptr) {
    return out;
  }
  const std::string& name = d.key->name;
  const std::string word = name.substr(0, name.find('_')) + "_";
  for (const ParamInfo& p : d.part->params) {
    const bool same_word = (p.name + "_").starts_with(word) || (name + "_").starts_with(p.name + "_");
    if (p.name != name && (same_word || has_word(p.doc, name) || has_word(d.key->doc, p.name))) {
      out.push_back((d.table.empty() ? "" : d.table + ".") + p.name);
    }
  }
  return out;
}

std::string join_words(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& w : words) {
    out += (out.empty() ? "" : ", ") + w;
  }
  return out;
}

// How it is written: in the file, and on the command line.
std::string how_to_write(const Declared& d) {
  std::string line = d.part != nullptr ? line_of_page(d.part->about, d.key->name) : "";
  line = line.empty() ? spell(*d.key) : line;
  if (d.table.empty()) {
    return "\n  In a configuration:   " + line + "\n";
  }
  std::string value = line.substr(line.find(" = ") + 3);
  std::string out = "\n  In a configuration:   [" + d.table + "]\n                        " + line + "\n";
  if (d.table != sweep_part().file.name) {
    const bool plain = value.find_first_of(" []{}\"'$`\\*") == std::string::npos;
    if (!plain && value.size() > 2 && value.front() == '"' && value.find_first_of(" []{}'$`\\*") == std::string::npos) {
      value = value.substr(1, value.size() - 2);  // a bare word is a string
    } else if (!plain) {
      value = value.find('\'') == std::string::npos ? "'" + value + "'" : "…";
    }
    out += "  On the command line:  " + d.table + "." + d.key->name + "=" + value + "\n";
  }
  return out;
}

// Declarations that say the same, with the plugins that have it so.
struct Alike {
  const Declared* first;
  std::vector<std::string> plugins;
};

std::vector<Alike> alike(const std::vector<Declared>& keys) {
  std::vector<Alike> out;
  for (const Declared& d : keys) {
    const auto same = std::find_if(out.begin(), out.end(), [&](const Alike& a) {
      const ParamInfo& p = *a.first->key;
      return a.first->table.substr(0, a.first->table.find('.')) == d.table.substr(0, d.table.find('.')) &&
             p.name == d.key->name && p.type == d.key->type && p.range == d.key->range && p.doc == d.key->doc &&
             p.default_value == d.key->default_value && p.choices == d.key->choices;
    });
    const std::string name = d.part != nullptr && d.part->file.kind != "table" ? d.part->file.name : "";
    Alike& group = same != out.end() ? *same : out.emplace_back(Alike{&d, {}});
    std::vector<std::string>& names = group.plugins;
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  }
  return out;
}

std::string explain_keys(const std::vector<Declared>& keys) {
  std::string out;
  for (const Alike& group : alike(keys)) {
    const Declared& d = *group.first;
    const ParamInfo& p = *d.key;
    const bool of_plugins = !group.plugins.empty();
    const std::string table = of_plugins && group.plugins.size() > 1 ? d.table.substr(0, d.table.find('.')) : d.table;
    out += (out.empty() ? "" : "\n") + (table.empty() ? "" : table + ".") + p.name + "   " + kind_of_value(p) + "\n";
    out += filled_lines(p.doc, 2) + filled_lines(choices_of(p), 2);
    if (of_plugins) {
      out += filled_lines("of " + d.part->file.kind + " " + join_words(group.plugins), 2);
    }
    out += how_to_write(d);
    if (!d.table.empty()) {
      out += "  Afterwards:           " + what_a_change_does(d.table + "." + p.name) + "\n";
    }
    if (const std::vector<std::string> others = related(d); !others.empty()) {
      const std::string lines = filled_lines(join_words(others), 24);
      out += "  Related:              " + lines.substr(24);
    }
  }
  return out;
}

// A line for each key.
std::string table_of_keys(const std::vector<ParamInfo>& keys) {
  size_t widest = 0;
  for (const ParamInfo& p : keys) {
    widest = std::max(widest, p.name.size());
  }
  std::string out;
  for (const ParamInfo& p : keys) {
    out += "  " + p.name + std::string(widest - p.name.size(), ' ') + "   " + kind_of_value(p) + "\n";
    out += filled_lines(p.doc, widest + 5);
  }
  return out;
}

std::string explain_part(const std::string& table, const PluginDescription& part) {
  const bool host = part.file.kind == "table";
  std::string out =
      (host ? "" : "[" + table + "], type \"" + part.file.name + "\": ") + first_sentence(part.about) + "\n\n";
  out += part.params.empty() ? "  It takes no keys.\n" : table_of_keys(part.params);
  out += "\n" +
         (host ? "One key: retort explain " + table + "." + (part.params.empty() ? "KEY" : part.params[0].name)
               : "All of it: retort inspect " + part.file.name + " --kind " + part.file.kind) +
         "\n";
  return out;
}

// All keys of a kind, each with the plugins that have it.
std::string explain_kind(const Catalog& catalog, const std::string& kind) {
  std::string out = is_listed(kind) ? "[" + kind + ".NAME]: the keys of a " + kind + " that a list names. There are "
                                    : "[" + kind + "]: a plugin, by its `type`, and the keys of that one. There are ";
  out += std::to_string(catalog.plugins(kind).size()) + ":\n\n";
  for (const PluginDescription& plugin : catalog.plugins(kind)) {
    char name[80];
    std::snprintf(name, sizeof name, "  %-24s ", plugin.file.name.c_str());
    out += name + first_sentence(plugin.about) + "\n";
  }
  std::vector<std::pair<std::string, std::vector<std::string>>> keys;
  const auto note = [&](const ParamInfo& p, const std::string& who) {
    auto found = std::find_if(keys.begin(), keys.end(), [&](const auto& k) { return k.first == p.name; });
    if (found == keys.end()) {
      found = keys.insert(keys.end(), {p.name, {}});
    }
    found->second.push_back(who);
  };
  if (!is_listed(kind)) {
    for (const ParamInfo& p : catalog.host_keys(kind)) {
      note(p, "all");
    }
  }
  for (const PluginDescription& plugin : catalog.plugins(kind)) {
    for (const ParamInfo& p : plugin.params) {
      note(p, plugin.file.name);
    }
  }
  out += "\nKeys, and who has them:\n";
  constexpr size_t width = 28;
  for (const auto& [key, who] : keys) {
    const std::string lines = filled_lines(join_words(who), width);
    const std::string begin = "  " + key;
    out += begin.size() < width ? begin + lines.substr(begin.size()) : begin + "\n" + lines;
  }
  return out + "\nOne key: retort explain " + kind + (keys.empty() ? "" : "." + keys.back().first) + "\n";
}

}  // namespace

std::string explain(const Catalog& catalog, const std::string& key) {
  const Meant meant = meant_by(catalog, key);
  std::string out = meant.kind.empty() ? "" : explain_kind(catalog, meant.kind);
  for (const auto& [table, part] : meant.parts) {
    out += (out.empty() ? "" : "\n") + explain_part(table, *part);
  }
  const std::string keys = explain_keys(meant.keys);
  return out + (out.empty() || keys.empty() ? "" : "\n") + keys;
}

Json explain_as_json(const Catalog& catalog, const std::string& key) {
  const Meant meant = meant_by(catalog, key);
  Json out = Json::array();
  const auto add = [&](const std::string& table, const PluginDescription* part, const ParamInfo& p) {
    Json item = {{"key", (table.empty() ? "" : table + ".") + p.name}};
    if (part != nullptr && part->file.kind != "table") {
      item["kind"] = part->file.kind;
      item["plugin"] = part->file.name;
    }
    item["type"] = p.type;
    item["required"] = p.required;
    item[p.required ? "example" : "default"] = p.default_value;
    if (!p.range.empty()) {
      item["range"] = p.range;
    }
    if (!p.choices.empty()) {
      item["choices"] = p.choices;
    }
    item["doc"] = p.doc;
    out.push_back(item);
  };
  for (const Declared& d : meant.keys) {
    add(d.table, d.part, *d.key);
  }
  for (const auto& [table, part] : meant.parts) {
    for (const ParamInfo& p : part->params) {
      add(table, part, p);
    }
  }
  if (!meant.kind.empty()) {
    for (const PluginDescription& plugin : catalog.plugins(meant.kind)) {
      for (const ParamInfo& p : plugin.params) {
        add(table_of(meant.kind, plugin.file.name), &plugin, p);
      }
    }
  }
  return out;
}

namespace {

bool is_plain_key(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-'; }) &&
         text.front() != '.' && text.back() != '.' && text.find("..") == std::string::npos;
}

// The text between two marks, from a place on; empty where they are not there.
std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) {
    return "";
  }
  const size_t begin = at + from.size(), end = text.find(to, begin);
  return end == std::string::npos ? "" : text.substr(begin, end - begin);
}

}  // namespace

std::string key_of_error(const std::string& message) {
  const std::string suggested = between(message, "did you mean '", "'");
  if (const std::string unknown = between(message, "unknown key '", "'"); is_plain_key(unknown)) {
    const size_t dot = unknown.rfind('.');
    const std::string table = unknown.substr(0, dot == std::string::npos ? 0 : dot);
    if (find_table(table.substr(0, table.find('.'))) == nullptr) {
      return "";
    }
    return is_plain_key(suggested) ? table + "." + suggested : table;
  }
  if (const std::string unknown = between(message, "unknown table [", "]"); is_plain_key(unknown)) {
    const size_t dot = unknown.rfind('.');
    const std::string table = dot == std::string::npos ? "" : unknown.substr(0, dot);
    const std::string whole = table.empty() ? suggested : suggested.empty() ? table : table + "." + suggested;
    return find_table(whole.substr(0, whole.find('.'))) != nullptr ? whole : "";
  }
  if (const std::string missing = between(message, "[", "] is missing"); find_table(missing) != nullptr) {
    return missing;
  }
  // "PLACE: KEY: what is wrong": the first part that is a key of a table that exists.
  for (size_t from = 0, to; (to = message.find(": ", from)) != std::string::npos; from = to + 2) {
    const std::string part = message.substr(from, to - from);
    if (is_plain_key(part) && find_table(part.substr(0, part.find('.'))) != nullptr) {
      return part;
    }
  }
  return "";
}

}  // namespace retort
