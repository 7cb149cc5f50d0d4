#include <cstdio>

#include "cli/commands.h"
#include "help/completion.h"

namespace retort {

namespace {

std::string first_line_of(const std::string& text) { return text.substr(0, text.find('\n')); }

// The options of the program, or of a command, as they were declared. `places` gets what has no dashes.
std::vector<CommandWords::Option> options_of(const CLI::App& app, std::vector<std::string>* places) {
  std::vector<CommandWords::Option> out;
  for (const CLI::Option* o : app.get_options({})) {
    if (o->get_positional()) {
      if (places != nullptr) {
        places->push_back(o->get_name(true));
      }
      continue;
    }
    CommandWords::Option option;
    for (const std::string& name : o->get_lnames()) {
      option.names.push_back("--" + name);
    }
    for (const std::string& name : o->get_snames()) {
      option.names.push_back("-" + name);
    }
    option.about = first_line_of(o->get_description());
    option.value = o->get_items_expected_max() > 0 ? option.names.at(0) : "";
    out.push_back(std::move(option));
  }
  return out;
}

void print_completion(const CLI::App& app, const std::string& shell, const Registry& registry) {
  std::vector<CommandWords> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    CommandWords words{command->get_name(), first_line_of(command->get_description()), {}, {}};
    words.options = options_of(*command, &words.places);
    commands.push_back(std::move(words));
  }
  std::printf("%s", completion_script(shell, Catalog(registry), commands, options_of(app, nullptr)).c_str());
}

}  // namespace

void add_completion(CLI::App& app, Shared& shared) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "a script by which bash, zsh or fish complete commands and keys");
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required();
  command->footer(
      "For bash: retort completion bash > ~/.local/share/bash-completion/completions/retort\n"
      "For zsh, with a folder of your fpath: retort completion zsh > FOLDER/_retort\n"
      "For fish: retort completion fish > ~/.config/fish/completions/retort.fish\n"
      "The script holds the plugins that are found now: write it anew after adding some.");
  command->callback([shell, &app, &shared] { print_completion(app, *shell, shared.registry()); });
}

}  // namespace retort
