/// The last line of every plugin: `RETORT_PLUGIN(Heun, solver, heun)`.
///
/// It exports two names in the ELF section "retort", which the host reads from the file before it runs any code of
/// the library: the factory, whose name says kind and plugin, and the stamp, whose name says what it was built for.
#pragma once

#include <torch/headeronly/version.h>

#include <boost/dll/alias.hpp>
#include <string_view>
#include <type_traits>

#include "retort/params.h"

/// Raised whenever a public header changes in a way that a built plugin would notice.
#define RETORT_SDK_ABI 5

#define RETORT_JOIN_(a, b) a##b
#define RETORT_JOIN(a, b) RETORT_JOIN_(a, b)
#define RETORT_STAMP_NAME_(abi, major, minor, cxx11) retort_stamp__abi_##abi##__torch_##major##_##minor##__cxx11_##cxx11
#define RETORT_STAMP_NAME(abi, major, minor, cxx11) RETORT_STAMP_NAME_(abi, major, minor, cxx11)

namespace retort {
/// What the stamp points to. Factory and kind are here too, with their types, so that a name that was exported by hand
/// can be held against them.
struct PluginStamp {
  const char* kind;
  const char* about;  // the doc comment at the top of the plugin's source
  void* (*make)(Params&);
  void (*destroy)(void*);  // deletes what the factory made
};
}  // namespace retort

namespace {
/// The source's opening `///` comment, which `retort_add_plugin` passes to the compiler as a file.
[[maybe_unused]] constexpr char retort_plugin_about[] =
#ifdef RETORT_PLUGIN_ABOUT
#include RETORT_PLUGIN_ABOUT
#else
    ""
#endif
    ;
}  // namespace

#define RETORT_PLUGIN(Class, plugin_kind, plugin_name)                                                                 \
  static_assert(std::string_view(Class::kind) == #plugin_kind, #Class " is not a " #plugin_kind);                      \
  static_assert(std::is_constructible_v<Class, retort::Params&>, #Class " needs a constructor from Params&");          \
  namespace {                                                                                                          \
  void* retort_plugin_make(retort::Params& params) { return static_cast<Class::Interface*>(new Class(params)); }       \
  void retort_plugin_delete(void* object) { delete static_cast<Class::Interface*>(object); }                           \
  [[maybe_unused]] const retort::PluginStamp retort_plugin_stamp{Class::kind, retort_plugin_about, retort_plugin_make, \
                                                                 retort_plugin_delete};                                \
  }                                                                                                                    \
  BOOST_DLL_ALIAS_SECTIONED(retort_plugin_make, retort_plugin__##plugin_kind##__##plugin_name, retort)                 \
  BOOST_DLL_ALIAS_SECTIONED(retort_plugin_stamp,                                                                       \
                            RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
