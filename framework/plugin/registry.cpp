#include "plugin/registry.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstddef>
#include <cstdlib>
#include <map>

#include "io/files.h"
#include "plugin/elf.h"
#include "plugin/guarded.h"
#include "retort/plugin.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view factory_prefix = "retort_plugin__";
constexpr std::string_view stamp_prefix = "retort_stamp__";
static_assert(offsetof(PluginStamp, about) == place_of_about);
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

// Why others than the user may change a file or folder, and what mends it; empty where they may not.
std::string writable_by_others(const fs::path& path, const struct stat& status) {
  if ((status.st_mode & S_IWOTH) != 0) {
    return path.string() + " may be written by anyone, and a plugin is code; mend it with: chmod o-w " + path.string();
  }
  if ((status.st_mode & S_IWGRP) != 0 && status.st_gid != getegid()) {
    return path.string() + " may be written by another group, and a plugin is code; mend it with: chmod g-w " +
           path.string();
  }
  return "";
}

std::string writable_by_others(const fs::path& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? writable_by_others(path, status) : "";
}

struct Library {
  PluginFile file;
  boost::dll::shared_library handle;
  const PluginStamp* stamp;
};

// The loader's message with its symbol as C++ spells it.
std::string readable(const std::string& message) {
  constexpr std::string_view mark = "undefined symbol: ";
  const size_t at = message.find(mark);
  if (at == std::string::npos) {
    return message;
  }
  const std::string symbol = message.substr(at + mark.size());
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  return message.substr(0, at + mark.size()) + (status == 0 ? name.get() : symbol.c_str());
}

// Never destroyed: objects of a plugin may outlive everything else.
std::map<std::string, Library>& libraries() {
  static auto* all = new std::map<std::string, Library>;
  return *all;
}
std::vector<const PluginFile*>& loaded() {
  static auto* all = new std::vector<const PluginFile*>;
  return *all;
}

const Library& load(const PluginFile& file) {
  const auto found = libraries().find(file.path.string());
  if (found != libraries().end()) {
    return found->second;
  }
  boost::dll::fs::error_code error;
  Library library{file, {}, nullptr};
  // Static constructors run now, so the plugin is named for whatever they throw.
  guarded(file, [&] {
    library.handle.load(boost::dll::fs::path(file.path.string()), error, boost::dll::load_mode::rtld_now);
  });
  if (error) {
    const char* why = dlerror();  // more than the error code says
    throw RequestError("plugin '" + file.name + "' cannot be loaded: " +
                       (why != nullptr ? readable(why) : file.path.string() + ": " + error.message()));
  }
  void* (*factory)(Params&) = nullptr;
  try {
    factory = &library.handle.get_alias<void*(Params&)>(std::string(factory_prefix) + file.kind + "__" + file.name);
    library.stamp = &library.handle.get_alias<const PluginStamp>(std::string(own_stamp));
  } catch (const std::exception&) {
    throw RequestError("plugin '" + file.name + "': " + file.path.string() + " lacks the symbols that its stamp names");
  }
  if (library.stamp->kind != file.kind) {
    throw RequestError(file.path.string() + ": is named a " + file.kind + ", but its stamp is a " +
                       library.stamp->kind + "'s");
  }
  if (library.stamp->make != factory) {
    throw RequestError(file.path.string() + ": its factory is not the one of its stamp; export it by RETORT_PLUGIN");
  }
  const Library& kept = libraries().emplace(file.path.string(), library).first->second;
  loaded().push_back(&kept.file);
  return kept;
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
  const std::string open_folder = writable_by_others(folder);
  std::vector<fs::path> entries;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    entries.push_back(i->path());
  }
  std::sort(entries.begin(), entries.end());
  for (const fs::path& path : entries) {
    if (path.extension() == ".so" && !path.filename().string().starts_with("lib")) {  // lib….so: what a plugin needs
      add(path, open_folder);
    } else if (deeper && fs::is_directory(path, error)) {
      scan(path, false);
    }
  }
}

void Registry::add(const fs::path& path, const std::string& folder_reason) {
  // A folder may be named twice, by the environment and by an option.
  const auto same = [&](const PluginFile& file) {
    std::error_code error;
    return file.path.filename() == path.filename() && fs::equivalent(file.path, path, error);
  };
  if (std::any_of(files_.begin(), files_.end(), same)) {
    return;
  }
  try {
    if (!folder_reason.empty()) {
      throw RequestError(path.string() + ": " + folder_reason);
    }
    files_.push_back(read(path));
  } catch (const RequestError& e) {
    rejected_.push_back({path, e.what()});
  }
}

PluginFile Registry::read(const fs::path& path) {
  const auto refuse = [&](const std::string& reason) { return RequestError(path.string() + ": " + reason); };
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    throw refuse(fs::is_symlink(path) ? "cannot be found (a dangling link)" : "no such file");
  }
  if (!S_ISREG(status.st_mode)) {
    throw refuse("is no regular file");
  }
  if (const std::string reason = writable_by_others(path, status); !reason.empty()) {
    throw refuse(reason.substr(path.string().size() + 1));
  }
  std::string stamp;
  std::vector<std::string> factories;
  for (const std::string& symbol : plugin_symbols(path.string())) {
    if (symbol.starts_with(stamp_prefix)) {
      stamp = symbol;
    } else if (symbol.starts_with(factory_prefix)) {
      factories.push_back(symbol.substr(factory_prefix.size()));
    }
  }
  if (stamp.empty() || factories.empty()) {
    throw refuse("is a shared library, but no Retort plugin (RETORT_PLUGIN is missing)");
  }
  if (stamp != own_stamp) {
    throw refuse("was built for " + spell_stamp(stamp) + "; this program has " + spell_stamp(own_stamp) +
                 "; build it again with this program's SDK");
  }
  if (factories.size() > 1) {
    throw refuse("holds " + std::to_string(factories.size()) + " plugins; expected one");
  }
  const size_t split = factories[0].find("__");
  const std::string kind = factories[0].substr(0, split);
  if (split == std::string::npos ||
      std::find(std::begin(plugin_kinds), std::end(plugin_kinds), kind) == std::end(plugin_kinds)) {
    throw refuse("is a plugin of an unknown kind, '" + kind.substr(0, 40) + "'");
  }
  const std::string name = factories[0].substr(split + 2);
  constexpr size_t longest = 64;
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
  if (name.empty() || name.size() > longest || !plain) {
    throw refuse("gives itself a name of " + std::to_string(name.size()) +
                 " characters; expected 1 to 64 letters, digits and underscores");
  }
  return {kind, name, path};
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

const PluginFile& Registry::find(const std::string& kind, const std::string& name, const fs::path& prefer) const {
  std::vector<const PluginFile*> found;
  for (const PluginFile& file : files_) {
    if (file.kind == kind && file.name == name) {
      found.push_back(&file);
    }
  }
  for (const PluginFile* file : found) {
    if (prefer.empty()) {
      break;
    }
    const fs::path relative = fs::weakly_canonical(file->path).lexically_relative(fs::weakly_canonical(prefer));
    if (!relative.empty() && *relative.begin() != "..") {
      return *file;
    }
  }
  if (found.size() > 1) {
    throw RequestError("two plugins are called " + kind + " '" + name + "': " + found[0]->path.string() + " and " +
                       found[1]->path.string() +
                       "; take one off the search path, or choose by [plugins] prefer = \"FILE or FOLDER\"");
  }
  if (found.size() == 1) {
    return *found[0];
  }
  for (const RejectedFile& file : rejected_) {
    if (file.path.stem() == name) {
      throw RequestError(kind + " '" + name + "' was refused: " + file.reason);
    }
  }
  std::string elsewhere;
  for (const PluginFile& file : files_) {
    if (file.name == name && elsewhere.empty()) {
      elsewhere = "; '" + name + "' is a " + file.kind;
    }
  }
  const std::vector<std::string> known = names(kind);
  std::string list;
  for (const std::string& k : known) {
    list += (list.empty() ? "" : ", ") + k;
  }
  throw RequestError(
      "no " + kind + " plugin is called '" + name + "'" + (elsewhere.empty() ? did_you_mean(name, known) : elsewhere) +
      (known.empty() ? " (no " + kind + " plugins were found; see --plugin-dir)" : " (there are: " + list + ")"));
}

void Registry::freeze(std::vector<FrozenPlugin> plugins, std::string origin) {
  frozen_ = std::move(plugins);
  frozen_origin_ = std::move(origin);
}

void Registry::check_frozen(const PluginFile& file) const {
  if (frozen_origin_.empty()) {
    return;
  }
  const auto same = [&](const FrozenPlugin& f) { return f.kind == file.kind && f.name == file.name; };
  const auto found = std::find_if(frozen_.begin(), frozen_.end(), same);
  if (found == frozen_.end()) {
    throw RequestError(file.kind + " '" + file.name + "' is not among the frozen libraries of " + frozen_origin_);
  }
  const std::string sha256 = sha256_of_file(file.path);
  if (sha256 != found->sha256) {
    throw RequestError(file.path.string() + ": is another library than the frozen one of " + frozen_origin_ +
                       ": its SHA-256 begins with " + sha256.substr(0, 12) + ", expected " +
                       found->sha256.substr(0, 12));
  }
}

std::shared_ptr<void> Registry::make(const PluginFile& file, Params& params) const {
  check_frozen(file);
  const Library& library = load(file);
  void* object = guarded(library.file, [&] { return library.stamp->make(params); });
  if (object == nullptr) {
    throw PluginError(file, "its factory made nothing");
  }
  return guard(library.file, {object, library.stamp->destroy});
}

std::shared_ptr<void> Registry::make(const std::string& kind, const std::string& name, Params& params,
                                     const fs::path& prefer) const {
  return make(find(kind, name, prefer), params);
}

PluginDescription Registry::describe(const PluginFile& file) const {
  Params params = Params::describing();
  make(file, params);
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
  out.push_back(program_tree() / "lib/retort/plugins");
  return out;
}

fs::path program_tree() {
  // Of a program that is found along PATH, the loader knows the name alone.
  const fs::path library = boost::dll::this_line_location().string();
  const fs::path own = library.extension() == ".so" ? library : fs::path(boost::dll::program_location().string());
  return own.parent_path().parent_path();
}

std::vector<PluginFile> loaded_plugins() {
  std::vector<PluginFile> out;
  for (const PluginFile* file : loaded()) {
    out.push_back(*file);
  }
  return out;
}

}  // namespace retort
