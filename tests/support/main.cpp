#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "support/paths.h"

namespace retort::test {

const std::string source_dir = RETORT_SOURCE_DIR;
const std::string plugin_dir = RETORT_BINARY_DIR "/lib/retort/plugins";
const std::string test_plugin_dir = RETORT_BINARY_DIR "/tests/plugins";
const std::string program = RETORT_BINARY_DIR "/bin/retort";

}  // namespace retort::test
