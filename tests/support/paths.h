/// Where the build put things. Functions, since tests use them while their own constants are being initialised.
#pragma once

#include <string>

namespace retort::test {

std::string source_dir();
std::string plugin_dir();
std::string test_plugin_dir();
std::string program();
std::string torch_programs();  // the folder of torchrun

}  // namespace retort::test
