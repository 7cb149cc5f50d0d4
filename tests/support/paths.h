/// Where the build put things.
#pragma once

#include <string>

namespace retort::test {

extern const std::string source_dir, plugin_dir, test_plugin_dir, program;

}  // namespace retort::test
