/// Plugins at arm's length: whatever one throws arrives as an Error that names it, and so does a change in place of
/// what it was given.
#pragma once

#include <memory>

#include "plugin/registry.h"

namespace retort {

/// An exception that came out of a plugin, with the plugin's name in front of its message.
class PluginError final : public Error {
 public:
  PluginError(const PluginFile& file, const std::string& what)
      : Error(file.kind + " '" + file.name + "': " + what.substr(0, what.find('\n'))), kind(file.kind) {}
  std::string kind;  // of the plugin
};

/// The plugin whose code runs on this thread, or null: for the line that a crash leaves behind.
extern thread_local const PluginFile* running_plugin;

/// Says for as long as it lives that a plugin's code runs.
class Running {
 public:
  explicit Running(const PluginFile& file) : before_(running_plugin) { running_plugin = &file; }
  ~Running() { running_plugin = before_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  const PluginFile* before_;
};

/// Calls a function of a plugin. RequestErrors pass as they are, and so do those that an inner plugin has been named
/// in.
template <class F>
auto guarded(const PluginFile& file, F f) -> decltype(f()) {
  const Running running(file);
  try {
    return f();
  } catch (const RequestError&) {
    throw;
  } catch (const PluginError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    throw PluginError(file, e.what());
  } catch (...) {
    throw PluginError(file, "threw something that is no std::exception");
  }
}

/// The object, an interface of file.kind, behind one of the same interface whose every call is guarded. `file` outlives
/// it.
std::shared_ptr<void> guard(const PluginFile& file, std::shared_ptr<void> object);

}  // namespace retort
