/// Scripts by which shells complete the program's command line. They hold all words, so that a key press starts
/// nothing.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "help/catalog.h"

namespace retort {

/// What one command takes, as its own declarations say.
struct CommandWords {
  struct Option {
    std::vector<std::string> names;  // "--out", "-v"
    std::string about;
    std::string value;  // what follows it, as it is called; empty for flags
  };
  std::string name, about;
  std::vector<Option> options;
  std::vector<std::string> places;  // what stands in them: "CONFIG", "OVERRIDES", "KIND", …; the last one repeats
};

inline constexpr const char* shells[] = {"bash", "zsh", "fish"};

/// The script for a shell. `general` are the options that any command takes.
std::string completion_script(const std::string& shell, const Catalog& catalog,
                              const std::vector<CommandWords>& commands,
                              const std::vector<CommandWords::Option>& general);

}  // namespace retort
