/// All plugins that can be found, and the objects made from them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "retort/params.h"

namespace retort {

inline constexpr const char* plugin_kinds[] = {"teacher", "solver", "loss",    "schedule",    "network",
                                               "dataset", "metric", "backend", "autoencoder", "tracker"};

/// A plugin as its file's stamp names it; no code of it has run.
/// Its name is of letters, digits and underscores, 64 at most.
struct PluginFile {
  std::string kind;
  std::string name;
  std::filesystem::path path;
};

/// A file in a plugin folder that is no usable plugin, and why.
struct RejectedFile {
  std::filesystem::path path;
  std::string reason;  // one line that begins with the path
};

struct PluginDescription {
  PluginFile file;
  std::string about;
  std::vector<ParamInfo> params;
};

/// A plugin as an earlier run loaded it.
struct FrozenPlugin {
  std::string kind, name, sha256;
};

class Registry {
 public:
  /// Searches the folders and their sub-folders, one deep. Folders that do not exist are passed over.
  explicit Registry(const std::vector<std::filesystem::path>& folders);
  /// A single file. Throws RequestError where it is no usable plugin.
  static PluginFile read(const std::filesystem::path& file);

  const std::vector<PluginFile>& files() const { return files_; }
  const std::vector<RejectedFile>& rejected() const { return rejected_; }

  /// The plugin of that kind and name. Of several, the one that `prefer`, a file or folder, is or
  /// holds. Throws
  /// RequestError that names the nearest one, shows both of two, or says why a file was refused.
  const PluginFile& find(const std::string& kind, const std::string& name,
                         const std::filesystem::path& prefer = {}) const;
  std::vector<std::string> names(const std::string& kind) const;

  /// Loads the library, if need be, and builds an object. Libraries stay open to the end of the process. What the
  /// object throws later arrives with the plugin's name.
  std::shared_ptr<void> make(const PluginFile& file, Params& params) const;
  std::shared_ptr<void> make(const std::string& kind, const std::string& name, Params& params,
                             const std::filesystem::path& prefer = {}) const;
  PluginDescription describe(const PluginFile& file) const;

  /// From now on only these libraries are loaded. `origin` is the file that lists them.
  void freeze(std::vector<FrozenPlugin> plugins, std::string origin);

 private:
  void scan(const std::filesystem::path& folder, bool deeper);
  void add(const std::filesystem::path& path, const std::string& folder_reason);
  void check_frozen(const PluginFile& file) const;

  std::vector<PluginFile> files_;
  std::vector<RejectedFile> rejected_;
  std::vector<FrozenPlugin> frozen_;
  std::string frozen_origin_;  // empty: nothing is frozen
};

/// The tree that this code runs from, as program or library, which holds bin/, lib/ and share/.
std::filesystem::path program_tree();

/// The folders to search: those given, then RETORT_PLUGIN_PATH, then the tree that this code runs from.
std::vector<std::filesystem::path> plugin_folders(const std::vector<std::string>& given);

/// The plugins loaded so far, for a run's record.
std::vector<PluginFile> loaded_plugins();

}  // namespace retort
