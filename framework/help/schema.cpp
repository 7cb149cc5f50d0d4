#include "help/schema.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>
#include <sstream>

#include "config/experiment.h"
#include "config/old_keys.h"
#include "config/toml.h"
#include "retort/backend.h"
#include "retort/network.h"

namespace retort {

namespace {

constexpr const char* not_built_here = "It was not built where this was written, so its keys are not known.";

Json reference(const std::string& name) { return {{"$ref", "#/$defs/" + name}}; }

// "over 0 to under 1", "> 0", ">= 1", "0 to 1", as Params spells ranges.
void add_range(const std::string& range, Json& out) {
  const auto bound = [](const std::string& text) {
    const double value = std::strtod(text.c_str(), nullptr);
    const auto whole = static_cast<int64_t>(value);
    return static_cast<double>(whole) == value ? Json(whole) : Json(value);
  };
  const auto after = [&](const std::string& mark) { return bound(range.substr(mark.size())); };
  if (range.starts_with(">= ")) {
    out["minimum"] = after(">= ");
  } else if (range.starts_with("> ")) {
    out["exclusiveMinimum"] = after("> ");
  } else if (range.starts_with("<= ")) {
    out["maximum"] = after("<= ");
  } else if (range.starts_with("< ")) {
    out["exclusiveMaximum"] = after("< ");
  } else if (const size_t to = range.find(" to "); to != std::string::npos) {
    const std::string low = range.substr(0, to), high = range.substr(to + 4);
    const bool low_open = low.starts_with("over "), high_open = high.starts_with("under ");
    out[low_open ? "exclusiveMinimum" : "minimum"] = bound(low_open ? low.substr(5) : low);
    out[high_open ? "exclusiveMaximum" : "maximum"] = bound(high_open ? high.substr(6) : high);
  }
}

Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json filled_list_of(Json items) {
  Json out = list_of(std::move(items));
  out["minItems"] = 1;
  return out;
}

Json any_of(std::vector<Json> all) { return all.size() == 1 ? all[0] : Json{{"anyOf", all}}; }

// A file, or a network with what it is given, which only the sentence says.
bool takes_table_too(const ParamInfo& p) { return p.type == "path" && p.doc.find("or a table") != std::string::npos; }

// The kind whose plugins a list names, as evaluate.metrics does; empty where it names none.
std::string listed_kind(const ParamInfo& p) {
  for (const std::string kind : plugin_kinds) {
    if (p.type == "list of strings" && is_listed(kind) && p.name == kind + "s") {
      return kind;
    }
  }
  return "";
}

// What values a key takes, without its name and sentence.
Json values_of(const ParamInfo& p) {
  const Json text = {{"type", "string"}};
  if (const std::string kind = nested_kind(p.type); !kind.empty()) {
    return p.type.starts_with("list") ? list_of(reference(kind)) : any_of({reference(kind + ".name"), reference(kind)});
  }
  if (!p.choices.empty()) {
    return {{"enum", p.choices}};
  }
  if (p.type == "boolean" || p.type == "integer" || p.type == "number") {
    Json out = {{"type", p.type}};
    add_range(p.range, out);
    return out;
  }
  if (takes_table_too(p)) {
    return any_of({text, Json{{"type", "object"}}});
  }
  if (const std::string kind = listed_kind(p); !kind.empty()) {
    return list_of(reference(kind + ".name"));
  }
  if (p.type == "string" || p.type == "path") {
    return text;
  }
  if (p.type == "path or list of paths") {
    return any_of({text, list_of(text)});
  }
  if (p.type == "list of strings") {
    return list_of(text);
  }
  if (p.type == "list of lists of numbers") {
    const Json number = {{"type", "number"}};
    return list_of(any_of({number, list_of(number)}));
  }
  if (p.type == "list of numbers" || p.type == "list of integers") {
    Json item = {{"type", p.type == "list of numbers" ? "number" : "integer"}};
    add_range(p.range, item);
    return list_of(item);
  }
  if (p.type == "integer or list of integers") {
    Json one = {{"type", "integer"}};
    add_range(p.range, one);
    return any_of({one, filled_list_of(Json{{"type", "integer"}, {"minimum", 0}})});
  }
  return Json::object();
}

Json key_schema(const ParamInfo& p) {
  Json out = {{"description", p.doc}};
  // Beside a "$ref" draft 7 sees nothing else.
  Json values = values_of(p);
  if (values.contains("$ref")) {
    values = {{"allOf", Json::array({values})}};
  }
  out.update(values);
  const Json example = to_json(parse_toml("v = " + p.default_value, "").table()[0].second);
  if (p.required) {
    out["examples"] = Json::array({example});
  } else {
    out["default"] = example;
  }
  return out;
}

Json closed_object() { return {{"type", "object"}, {"properties", Json::object()}, {"additionalProperties", false}}; }

Json table_schema(const PluginDescription& table) {
  Json out = {{"description", first_sentence(table.about)}};
  out.update(closed_object());
  for (const ParamInfo& p : table.params) {
    out["properties"][p.name] = key_schema(p);
  }
  for (const auto& [old, present] : old_keys()) {
    const std::string begin = table.file.name + ".";
    if (std::string(old).starts_with(begin)) {
      out["properties"][std::string(old).substr(begin.size())] = {
          {"description", "the old name of " + std::string(present)},
          {"deprecated", true},
          {"allOf",
           Json::array({reference(table.file.name + "/properties/" + std::string(present).substr(begin.size()))})}};
    }
  }
  return out;
}

// All tables of one kind of plugin.
class KindSchema {
 public:
  KindSchema(const Catalog& catalog, std::string kind) : kind_(std::move(kind)), plugins_(catalog.plugins(kind_)) {
    for (const PluginDescription& plugin : plugins_) {
      names_.push_back(plugin.file.name);
    }
    for (const ParamInfo& p : catalog.host_keys(kind_)) {
      (p.name == "type" ? type_ : host_[p.name]) = key_schema(p);
    }
    if (kind_ == Backend::kind) {  // others may be built elsewhere
      std::istringstream list(RETORT_AUTOMATIC_BACKENDS);
      for (std::string name; list >> name;) {
        if (catalog.plugin(kind_, name) == nullptr) {
          open_.push_back(name);
          type_["enum"].push_back(name);
        }
      }
    }
    Json sentences = Json::array();
    for (const std::string name : type_["enum"]) {
      const PluginDescription* plugin = catalog.plugin(kind_, name);
      sentences.push_back(plugin != nullptr ? Json(first_sentence(plugin->about)) : Json());
    }
    type_["x-taplo"] = {{"docs", {{"enumValues", sentences}}}};
  }

  // Its definitions: KIND, KIND.name, KIND.any, and KIND.PLUGIN of each.
  void define(Json& definitions, bool weighed) {
    weighed_ = weighed;
    definitions[kind_ + ".name"] = {{"enum", type_["enum"]}};
    for (const PluginDescription& plugin : plugins_) {
      definitions[kind_ + "." + plugin.file.name] = variant(plugin);
    }
    for (const std::string& name : open_) {
      definitions[kind_ + "." + name] = {{"description", not_built_here}, {"type", "object"}};
    }
    definitions[kind_ + ".any"] = any();
    definitions[kind_] = whole();
  }

  // Where the schema of a key's values is, for keys that some plugin has.
  std::vector<std::string> keys() const { return keys_; }

 private:
  // Tables that may stand within one of the kind: of one plugin's own keys, and of a role.
  std::vector<std::string> inner_tables() const {
    std::vector<std::string> out = names_;
    out.insert(out.end(), open_.begin(), open_.end());
    if (kind_ == Backend::kind) {
      out.insert(out.end(), {"teacher", "student"});
    }
    return out;
  }

  Json allow_inner(Json schema) const {
    std::string pattern;
    for (const std::string& name : inner_tables()) {
      if (!schema["properties"].contains(name)) {
        pattern += (pattern.empty() ? "^(" : "|") + name;
      }
    }
    if (!pattern.empty()) {
      schema["patternProperties"] = {{pattern + ")$", {{"type", "object"}}}};
    }
    if (weighed_ && !schema["properties"].contains("weight")) {
      schema["properties"]["weight"] = {
          {"description", "within a list: what this one counts"}, {"type", "number"}, {"minimum", 0}, {"default", 1}};
    }
    return schema;
  }

  Json variant(const PluginDescription& plugin) const {
    Json out = {{"description", first_sentence(plugin.about)}};
    out.update(closed_object());
    out["properties"]["type"] = {{"const", plugin.file.name}};
    out["properties"].update(host_);
    for (const ParamInfo& p : plugin.params) {
      Json& key = out["properties"][p.name] = key_schema(p);
      if (kind_ == Network::kind && key.contains("items")) {  // some take one number for all, which no declaration says
        const Json list = values_of(p);
        for (const auto& [word, value] : list.items()) {
          key.erase(word);
        }
        key.update(any_of({list, Json{{"type", "number"}}}));
      }
    }
    return allow_inner(std::move(out));
  }

  // The keys of all plugins, each with the values that one of them takes.
  Json any() {
    Json out = closed_object();
    out["properties"].update(host_);
    std::vector<std::pair<std::string, std::vector<Json>>> references;
    std::set<std::string> seen;
    for (const PluginDescription& plugin : plugins_) {
      for (const ParamInfo& p : plugin.params) {
        auto found =
            std::find_if(references.begin(), references.end(), [&](const auto& r) { return r.first == p.name; });
        if (found == references.end()) {
          found = references.insert(references.end(), {p.name, {}});
        }
        if (seen.insert(p.name + " " + values_of(p).dump()).second) {
          found->second.push_back(reference(kind_ + "." + plugin.file.name + "/properties/" + p.name));
        }
      }
    }
    for (auto& [name, all] : references) {
      out["properties"][name] = any_of(std::move(all));
    }
    keys_.clear();
    for (const auto& [name, schema] : out["properties"].items()) {
      keys_.push_back(name);
    }
    return allow_inner(std::move(out));
  }

  Json whole() const {
    Json out = {{"type", "object"}, {"properties", {{"type", type_}}}};
    for (const std::string& name : names_) {
      const bool is_key = std::find(keys_.begin(), keys_.end(), name) != keys_.end();
      if (!is_key) {
        out["properties"][name] = reference(kind_ + "." + name);
      }
    }
    if (kind_ == Backend::kind) {
      out["properties"]["teacher"] = reference(kind_);
      out["properties"]["student"] = reference(kind_);
    }
    std::vector<Json> variants;
    for (const std::string& name : names_) {
      variants.push_back(
          {{"required", Json::array({"type"})}, {"allOf", Json::array({reference(kind_ + "." + name)})}});
    }
    for (const std::string& name : open_) {
      variants.push_back({{"required", Json::array({"type"})}, {"properties", {{"type", {{"const", name}}}}}});
    }
    variants.push_back(
        {{"not", {{"required", Json::array({"type"})}}}, {"allOf", Json::array({reference(kind_ + ".any")})}});
    if (kind_ == Backend::kind) {
      Json automatic = any_with_type(choose_for_me);
      variants.push_back(automatic);
    }
    out["oneOf"] = variants;
    return out;
  }

  Json any_with_type(const std::string& type) const {
    Json out = closed_object();
    out["required"] = Json::array({"type"});
    for (const std::string& key : keys_) {
      out["properties"][key] = reference(kind_ + ".any/properties/" + key);
    }
    out["properties"]["type"] = {{"const", type}};
    return allow_inner(std::move(out));
  }

  std::string kind_;
  const std::vector<PluginDescription>& plugins_;
  std::vector<std::string> names_, keys_, open_;  // open: known by name alone
  Json type_ = Json::object(), host_ = Json::object();
  bool weighed_ = false;
};

// "^(run|train|…)", of all tables that a key can begin with.
std::string tables_pattern() {
  std::string names;
  for (const TableInfo& table : tables()) {
    if (table.kind != nullptr || table.declare != nullptr) {
      names += (names.empty() ? "^(" : "|") + std::string(table.name);
    }
  }
  return names + ")";
}
std::string inner_keys() { return tables_pattern() + "\\.[^.]+\\."; }
std::string whole_tables() { return tables_pattern() + "$"; }

// Whether some plugin takes a list of plugins of a kind, each with its weight.
bool is_weighed(const Catalog& catalog, const std::string& kind) {
  for (const std::string of : plugin_kinds) {
    for (const PluginDescription& plugin : catalog.plugins(of)) {
      for (const ParamInfo& p : plugin.params) {
        if (p.type.starts_with("list") && nested_kind(p.type) == kind) {
          return true;
        }
      }
    }
  }
  return false;
}

// { min = 1e-5, max = 1e-3, log = true }, which a search draws from.
Json range_schema() {
  return {
      {"type", "object"},
      {"properties", {{"min", {{"type", "number"}}}, {"max", {{"type", "number"}}}, {"log", {{"type", "boolean"}}}}},
      {"required", {"min", "max"}},
      {"additionalProperties", false}};
}

// Keys of [sweep], [sweep.zip] and the like: dotted, or tables within tables. Open, so that tables with words of their
// own can hold them; `names` closes those.
Json dotted_keys(const std::vector<std::pair<std::string, Json>>& values, bool lists) {
  Json out = {{"type", "object"}, {"properties", Json::object()}};
  for (const auto& [key, value] : values) {
    out["properties"][key] = lists ? any_of({filled_list_of(value), reference("sweep.range")}) : value;
  }
  // Keys of parts within parts: not said one by one.
  out["patternProperties"] = {
      {inner_keys(),
       lists ? any_of({Json{{"type", "array"}, {"minItems", 1}}, reference("sweep.range")}) : Json::object()},
      {whole_tables(), {{"type", "object"}}}};
  return out;
}

Json sweep_schema(const std::vector<std::pair<std::string, Json>>& values, Json& definitions) {
  definitions["sweep.range"] = range_schema();
  definitions["sweep.lists"] = dotted_keys(values, true);
  definitions["sweep.values"] = dotted_keys(values, false);
  std::vector<std::string> names;
  for (const auto& [key, value] : values) {
    names.push_back(key);
  }
  definitions["sweep.names"] =
      any_of({Json{{"enum", names}}, Json{{"pattern", inner_keys()}}, Json{{"pattern", whole_tables()}}});
  const auto closed = [](const std::string& of, const std::vector<std::string>& words) {
    Json out = {{"type", "object"}, {"allOf", Json::array({reference(of)})}};
    const Json names_of_keys = reference("sweep.names");
    out["propertyNames"] = words.empty() ? names_of_keys : any_of({names_of_keys, Json{{"enum", words}}});
    return out;
  };
  const auto words_of = [](const std::vector<ParamInfo>& keys) {
    std::vector<std::string> out;
    for (const ParamInfo& p : keys) {
      out.push_back(p.name);
    }
    return out;
  };
  Json out = {
      {"description", "[sweep]: what varies from cell to cell; lists by dotted key, in quotes, make their product."}};
  out.update(closed("sweep.lists", words_of(sweep_keys())));
  for (const ParamInfo& p : sweep_keys()) {
    Json own = key_schema(p);
    if (p.type == "table or list of tables") {
      const Json item = closed(p.name == "zip" ? "sweep.lists" : "sweep.values", {});
      own.update(any_of({item, list_of(item)}));
    } else if (p.type == "table") {
      own.update(closed("sweep.lists", words_of(tune_keys())));
      for (const ParamInfo& inner : tune_keys()) {
        own["properties"][inner.name] = key_schema(inner);
      }
      own["required"] = Json::array({"by"});
    } else if (p.type == "table or string") {
      Json words = key_schema(search_keys().front());
      Json table = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
      for (const ParamInfo& inner : search_keys()) {
        table["properties"][inner.name] = key_schema(inner);
      }
      own.update(any_of({std::move(words), std::move(table)}));
    }
    out["properties"][p.name] = own;
  }
  return out;
}

}  // namespace

Json schema_of(const Catalog& catalog) {
  Json definitions = Json::object(), root = Json::object();
  std::vector<std::pair<std::string, Json>> swept;  // key to its values
  root[extends_key().name] = key_schema(extends_key());
  for (const std::string kind : plugin_kinds) {
    if (catalog.plugins(kind).empty()) {
      definitions[kind] = {{"type", "object"}};
      definitions[kind + ".name"] = {{"type", "string"}};
      if (find_table(kind) != nullptr) {
        root[kind] = reference(kind);
      }
      continue;
    }
    KindSchema schema(catalog, kind);
    const bool weighed = is_weighed(catalog, kind);
    schema.define(definitions, weighed);
    const TableInfo* table = find_table(kind);
    if (table == nullptr) {
      continue;
    }
    if (is_listed(kind)) {
      root[kind] = closed_object();
      for (const PluginDescription& plugin : catalog.plugins(kind)) {
        root[kind]["properties"][plugin.file.name] = reference(kind + "." + plugin.file.name);
        for (const ParamInfo& p : plugin.params) {
          swept.emplace_back(kind + "." + plugin.file.name + "." + p.name,
                             reference(kind + "." + plugin.file.name + "/properties/" + p.name));
        }
      }
      continue;
    }
    root[kind] = weighed ? any_of({reference(kind), filled_list_of(reference(kind))}) : reference(kind);
    swept.emplace_back(kind + ".type", any_of({reference(kind + ".name"), reference(kind)}));
    for (const std::string& key : schema.keys()) {
      swept.emplace_back(std::string(kind) + "." + key, reference(kind + ".any/properties/" + key));
    }
  }
  for (const TableInfo& table : tables()) {
    if (const PluginDescription* part = catalog.table(table.name)) {
      definitions[table.name] = table_schema(*part);
      root[table.name] = reference(table.name);
      for (const ParamInfo& p : part->params) {
        swept.emplace_back(std::string(table.name) + "." + p.name,
                           reference(std::string(table.name) + "/properties/" + p.name));
      }
      for (const auto& [old, present] : old_keys()) {
        const std::string key = old, begin = std::string(table.name) + ".";
        if (key.starts_with(begin)) {
          swept.emplace_back(key,
                             reference(begin.substr(0, begin.size() - 1) + "/properties/" + key.substr(begin.size())));
        }
      }
    }
  }
  root["sweep"] = sweep_schema(swept, definitions);
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "A configuration of Retort"},
          {"description", "Written by `retort schema` from the declarations in the code."},
          {"type", "object"},
          {"properties", root},
          {"additionalProperties", false},
          {"$defs", definitions}};
}

std::string spell_schema(const Json& schema) {
  constexpr size_t widest = 140;
  const std::function<std::string(const Json&, size_t)> spelled = [&](const Json& json, size_t indent) {
    std::string line = json.dump();
    if (line.size() + indent <= widest || !json.is_structured() || json.empty()) {
      return line;
    }
    const std::string begin(indent + 1, ' ');
    std::string out = json.is_object() ? "{" : "[";
    for (const auto& [key, value] : json.items()) {
      out += out.size() > 1 ? ",\n" : "\n";
      out += begin + (json.is_object() ? Json(key).dump() + ": " : "") + spelled(value, indent + 1);
    }
    return out + "\n" + std::string(indent, ' ') + (json.is_object() ? "}" : "]");
  };
  return spelled(schema, 0) + "\n";
}

}  // namespace retort
