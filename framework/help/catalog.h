/// Everything that a configuration may hold, as the declarations say it: the one source of `retort explain`, of the
/// JSON Schema and of what shells complete.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/tables.h"
#include "plugin/registry.h"

namespace retort {

/// The first sentence of a page, on one line.
std::string first_sentence(const std::string& page);

/// A host's table described as plugins are.
PluginDescription describe_table(const TableInfo& table);

/// How the page of a plugin begins that cannot be described.
inline constexpr const char* cannot_be_described = "It cannot be described: ";

class Catalog {
 public:
  /// Plugins are loaded when their kind is first asked for.
  explicit Catalog(const Registry& registry) : registry_(registry) {}

  const Registry& registry() const { return registry_; }
  /// The plugins of a kind, each once. One that cannot be described has no keys, and says why in its page.
  const std::vector<PluginDescription>& plugins(const std::string& kind) const;
  /// The plugin of that kind and name, or nullptr.
  const PluginDescription* plugin(const std::string& kind, const std::string& name) const;
  /// The keys that the host reads in every table of a kind, beside the plugin's own; `type` is one.
  const std::vector<ParamInfo>& host_keys(const std::string& kind) const;
  /// A table of the host's own, by its name, or nullptr.
  const PluginDescription* table(const std::string& name) const;

 private:
  const Registry& registry_;
  mutable std::map<std::string, std::vector<PluginDescription>> plugins_;
  mutable std::map<std::string, std::vector<ParamInfo>> host_keys_;
  mutable std::map<std::string, PluginDescription> tables_;
};

/// Whether plugins of a kind are named by a list, each with a table of its own: [metric.NAME].
bool is_listed(const std::string& kind);
/// The table of a plugin's keys: "solver", or "metric.NAME".
std::string table_of(const std::string& kind, const std::string& plugin);

/// The kind of "solver plugin" and of "list of loss plugins", as ParamInfo::type spells them; empty for other types.
std::string nested_kind(const std::string& type);

/// A key as TOML writes it, with its default, or an example where it has none.
std::string spell(const ParamInfo& p);

/// What `[sweep]` and whole configurations hold beside tables of parts, described as other keys are.
const std::vector<ParamInfo>& sweep_keys();
const std::vector<ParamInfo>& tune_keys();
const std::vector<ParamInfo>& search_keys();
const ParamInfo& extends_key();

}  // namespace retort
