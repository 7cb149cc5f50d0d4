#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "support/paths.h"

namespace retort::test {

std::string source_dir() { return RETORT_SOURCE_DIR; }
std::string plugin_dir() { return RETORT_BINARY_DIR "/lib/retort/plugins"; }
std::string test_plugin_dir() { return RETORT_BINARY_DIR "/tests/plugins"; }
std::string torch_programs() { return RETORT_TORCH_PROGRAMS; }
std::string program() { return RETORT_BINARY_DIR "/bin/retort"; }

}  // namespace retort::test
