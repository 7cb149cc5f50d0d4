#include "run/provenance.h"

#include <link.h>

#include "io/files.h"
#include "log.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// Every library of the process that is a file, the program first.
std::vector<std::string> libraries() {
  std::vector<std::string> out = {fs::read_symlink("/proc/self/exe").string()};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* all) {
        if (info->dlpi_name != nullptr && info->dlpi_name[0] == '/') {
          static_cast<std::vector<std::string>*>(all)->push_back(fs::weakly_canonical(info->dlpi_name).string());
        }
        return 0;
      },
      &out);
  return out;
}

Json record() {
  Json plugins = Json::array(), others = Json::array();
  std::vector<std::string> listed;
  for (const PluginFile& file : loaded_plugins()) {
    listed.push_back(fs::weakly_canonical(file.path).string());
    plugins.push_back({{"kind", file.kind},
                       {"name", file.name},
                       {"path", file.path.string()},
                       {"sha256", sha256_of_library(listed.back())}});
  }
  for (const std::string& path : libraries()) {
    if (std::find(listed.begin(), listed.end(), path) == listed.end()) {
      others.push_back({{"path", path}, {"sha256", sha256_of_library(path)}});
    }
  }
  return {{"plugins", plugins}, {"libraries", others}};
}

Json read(const fs::path& file) {
  try {
    Json out = Json::parse(read_text(file));
    for (const char* list : {"plugins", "libraries"}) {
      for (const Json& item : out.at(list)) {
        static_cast<void>(item.at("path").get<std::string>());
        static_cast<void>(item.at("sha256").get<std::string>());
      }
    }
    return out;
  } catch (const Json::exception&) {
    throw RequestError(file.string() + ": is damaged; expected a run's list of plugins and libraries");
  }
}

std::string key(const Json& plugin) { return plugin.value("kind", "") + " '" + plugin.value("name", "") + "'"; }

}  // namespace

Json write_provenance(const fs::path& folder, bool frozen) {
  const Json now = record();
  const fs::path file = folder / "plugins.json";
  if (frozen) {
    return now;
  }
  if (fs::exists(file)) {
    const Json before = read(file);
    for (const Json& plugin : now["plugins"]) {
      for (const Json& old : before["plugins"]) {
        if (key(old) == key(plugin) && old["sha256"] != plugin["sha256"]) {
          log::warn(key(plugin) + " is another library than when this run began");
        }
      }
    }
  }
  write_text(file, spell(now, 1) + "\n");
  return now;
}

void freeze(Registry& registry, const fs::path& config, const fs::path& folder) {
  const fs::path beside = config.parent_path() / "plugins.json", within = folder / "plugins.json";
  const fs::path file = fs::exists(beside) ? beside : within;
  if (!fs::exists(file)) {
    throw RequestError("--frozen needs the plugins.json of an earlier run; there is neither " + beside.string() +
                       " nor " + within.string());
  }
  const Json recorded = read(file);
  for (const std::string& path : libraries()) {
    for (const Json& old : recorded["libraries"]) {
      const fs::path was = old["path"].get<std::string>();
      if (was.filename() == fs::path(path).filename() && old["sha256"] != sha256_of_library(path)) {
        throw RequestError(path + ": is another library than the frozen one of " + file.string() +
                           ": its SHA-256 begins with " + sha256_of_library(path).substr(0, 12) + ", expected " +
                           old["sha256"].get<std::string>().substr(0, 12));
      }
    }
  }
  std::vector<FrozenPlugin> plugins;
  for (const Json& old : recorded["plugins"]) {
    plugins.push_back({old.value("kind", ""), old.value("name", ""), old["sha256"].get<std::string>()});
  }
  registry.freeze(std::move(plugins), file.string());
}

}  // namespace retort
