#include "plugin/registry.h"

#include <sys/stat.h>

#include <algorithm>
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <map>

#include "log.h"
#include "plugin/elf.h"
#include "retort/plugin.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view factory_prefix = "retort_plugin__";
constexpr std::string_view stamp_prefix = "retort_stamp__";
#define RETORT_TEXT_(x) #x
#define RETORT_TEXT(x) RETORT_TEXT_(x)
constexpr std::string_view own_stamp =
    RETORT_TEXT(RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1));

// "abi_1__torch_2_13__cxx11_1" → "SDK ABI 1, LibTorch 2.13"
std::string spell_stamp(std::string_view stamp) {
  int abi = 0, major = 0, minor = 0;
  const std::string text(stamp);
  if (std::sscanf(text.c_str(), "retort_stamp__abi_%d__torch_%d_%d", &abi, &major, &minor) != 3) {
    return "an unreadable stamp";
  }
  return "SDK ABI " + std::to_string(abi) + ", LibTorch " + std::to_string(major) + "." + std::to_string(minor);
}

struct Library {
  boost::dll::shared_library handle;
  const PluginStamp* stamp;
  void* (*make)(Params&);
};

// Never destroyed: objects of a plugin may outlive everything else.
std::map<std::string, Library>& libraries() {
  static auto* all = new std::map<std::string, Library>;
  return *all;
}
std::vector<PluginFile>& loaded() {
  static auto* all = new std::vector<PluginFile>;
  return *all;
}

const Library& load(const PluginFile& file) {
  const auto found = libraries().find(file.path.string());
  if (found != libraries().end()) {
    return found->second;
  }
  boost::dll::fs::error_code error;
  Library library;
  library.handle.load(boost::dll::fs::path(file.path.string()), error, boost::dll::load_mode::rtld_now);
  if (error) {
    throw RequestError("plugin '" + file.name + "': " + file.path.string() + " cannot be loaded: " + error.message());
  }
  try {
    library.make =
        &library.handle.get_alias<void*(Params&)>(std::string(factory_prefix) + file.kind + "__" + file.name);
    library.stamp = &library.handle.get_alias<const PluginStamp>(std::string(own_stamp));
  } catch (const std::exception&) {
    throw RequestError("plugin '" + file.name + "': " + file.path.string() + " lacks the symbols that its stamp names");
  }
  loaded().push_back(file);
  return libraries().emplace(file.path.string(), library).first->second;
}

}  // namespace

Registry::Registry(const std::vector<fs::path>& folders) {
  for (const fs::path& folder : folders) {
    scan(folder, true);
  }
  const auto order = [](const PluginFile& f) {
    const auto kind = std::find(std::begin(plugin_kinds), std::end(plugin_kinds), f.kind);
    return std::make_tuple(kind - std::begin(plugin_kinds), f.name, f.path);
  };
  std::sort(files_.begin(), files_.end(),
            [&](const PluginFile& a, const PluginFile& b) { return order(a) < order(b); });
}

void Registry::scan(const fs::path& folder, bool deeper) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    entries.push_back(i->path());
  }
  std::sort(entries.begin(), entries.end());
  for (const fs::path& path : entries) {
    if (path.extension() == ".so") {
      add(path);
    } else if (deeper && fs::is_directory(path, error)) {
      scan(path, false);
    }
  }
}

void Registry::add(const fs::path& path) {
  const auto reject = [&](const std::string& reason) { rejected_.push_back({path, path.string() + ": " + reason}); };
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    return reject("cannot be found (a dangling link?)");
  }
  if (!S_ISREG(status.st_mode)) {
    return reject("is no regular file");
  }
  if ((status.st_mode & S_IWOTH) != 0) {
    return reject("may be written by anyone, and a plugin is code; mend it with: chmod o-w " + path.string());
  }
  std::vector<std::string> symbols;
  try {
    symbols = plugin_symbols(path.string());
  } catch (const RequestError& e) {
    rejected_.push_back({path, e.what()});
    return;
  }
  std::string stamp;
  std::vector<std::string> factories;
  for (const std::string& symbol : symbols) {
    if (symbol.starts_with(stamp_prefix)) {
      stamp = symbol;
    } else if (symbol.starts_with(factory_prefix)) {
      factories.push_back(symbol.substr(factory_prefix.size()));
    }
  }
  if (stamp.empty() || factories.empty()) {
    return reject("is a shared library, but no Retort plugin (RETORT_PLUGIN is missing)");
  }
  if (stamp != own_stamp) {
    return reject("was built for " + spell_stamp(stamp) + "; this program has " + spell_stamp(own_stamp) +
                  "; build it again");
  }
  if (factories.size() > 1) {
    return reject("holds " + std::to_string(factories.size()) + " plugins; expected one");
  }
  const size_t split = factories[0].find("__");
  const std::string kind = factories[0].substr(0, split);
  if (split == std::string::npos ||
      std::find(std::begin(plugin_kinds), std::end(plugin_kinds), kind) == std::end(plugin_kinds)) {
    return reject("is a plugin of an unknown kind, '" + kind + "'");
  }
  files_.push_back({kind, factories[0].substr(split + 2), path});
}

std::vector<std::string> Registry::names(const std::string& kind) const {
  std::vector<std::string> out;
  for (const PluginFile& file : files_) {
    if (file.kind == kind) {
      out.push_back(file.name);
    }
  }
  return out;
}

const PluginFile& Registry::find(const std::string& kind, const std::string& name) const {
  const PluginFile* found = nullptr;
  for (const PluginFile& file : files_) {
    if (file.kind == kind && file.name == name) {
      if (found != nullptr) {
        throw RequestError("two plugins are called " + kind + " '" + name + "': " + found->path.string() + " and " +
                           file.path.string() + "; take one off the search path");
      }
      found = &file;
    }
  }
  if (found != nullptr) {
    return *found;
  }
  for (const RejectedFile& file : rejected_) {
    if (file.path.stem() == name) {
      throw RequestError(kind + " '" + name + "' was refused: " + file.reason);
    }
  }
  const std::vector<std::string> known = names(kind);
  std::string list;
  for (const std::string& k : known) {
    list += (list.empty() ? "" : ", ") + k;
  }
  throw RequestError(
      "no " + kind + " plugin is called '" + name + "'" + did_you_mean(name, known) +
      (known.empty() ? " (no " + kind + " plugins were found; see --plugin-dir)" : " (there are: " + list + ")"));
}

std::shared_ptr<void> Registry::make(const std::string& kind, const std::string& name, Params& params) const {
  const Library& library = load(find(kind, name));
  try {
    void* object = library.make(params);
    if (object == nullptr) {
      throw Error("its factory made nothing");
    }
    return {object, library.stamp->destroy};
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {
    const std::string message = e.what();
    throw Error(kind + " '" + name + "': " + message.substr(0, message.find('\n')));
  }
}

PluginDescription Registry::describe(const PluginFile& file) const {
  Params params = Params::describing();
  make(file.kind, file.name, params);
  return {file, load(file).stamp->about, params.described()};
}

std::vector<fs::path> plugin_folders(const std::vector<std::string>& given) {
  std::vector<fs::path> out;
  for (const std::string& folder : given) {
    if (!fs::is_directory(folder)) {
      throw RequestError("--plugin-dir " + folder + ": no such folder");
    }
    out.emplace_back(folder);
  }
  if (const char* variable = std::getenv("RETORT_PLUGIN_PATH")) {
    const std::string all = variable;
    for (size_t from = 0; from <= all.size();) {
      const size_t to = std::min(all.find(':', from), all.size());
      if (to > from) {
        out.emplace_back(all.substr(from, to - from));
      }
      from = to + 1;
    }
  }
  out.emplace_back(fs::path(boost::dll::program_location().string()).parent_path().parent_path() /
                   "lib/retort/plugins");
  return out;
}

std::vector<PluginFile> loaded_plugins() { return loaded(); }

}  // namespace retort
