#include "help/init.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "cli/commands.h"

namespace retort {

namespace {

// A question at the terminal; an empty answer, or the end of all input, takes what stands there already.
void ask(const std::string& question, std::string& answer) {
  std::printf("%s%s: ", question.c_str(), answer.empty() ? "" : (" [" + answer + "]").c_str());
  std::fflush(stdout);
  std::string line;
  if (std::getline(std::cin, line) && !line.empty()) {
    answer = line;
  }
}

void ask_all(InitRequest& request) {
  ask("A folder or archive of your pictures (empty: an example without any)", request.pictures);
  if (!request.pictures.empty()) {
    ask("A teacher: a folder of diffusers, a .safetensors or a .toml (empty: one is trained first)", request.teacher);
    std::string size;
    ask("The side of the pictures in pixels (empty: the teacher's, or 32)", size);
    if (!size.empty()) {
      char* end = nullptr;
      request.size = std::strtol(size.c_str(), &end, 10);
      if (*end != '\0' || request.size < 1) {
        throw RequestError("'" + size + "' is no number of pixels; expected 1 or more");
      }
    }
  }
  ask("The loss, of which `retort list loss` tells (empty: direct_cm)", request.loss);
  ask("The file to write", request.out);
}

// As a shell reads it.
std::string in_shell(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c >= 0x80 || std::strchr("_-./+,:@%", c) != nullptr;
  });
  if (plain && !text.empty()) {
    return text;
  }
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return out + "'";
}

void init(InitRequest request, bool asks, Registry& registry) {
  if (asks && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
    ask_all(request);
  }
  const InitFiles files = write_first_configuration(request, registry);
  const std::string config = files.config.string();
  std::printf(
      "%s can be run.%s\n", config.c_str(),
      files.teacher.empty() ? "" : (" Its teacher is trained first, once, by " + files.teacher.string() + ".").c_str());
  std::printf(
      "  retort sweep %s --dry-run    # what it will cost\n"
      "  retort run %s                # trains, samples, measures and reports; goes on where it was stopped\n",
      in_shell(config).c_str(), in_shell(config).c_str());
}

}  // namespace

void add_init(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<InitRequest>();
  CLI::App* command =
      app.add_subcommand("init", "a first configuration of your own, with comments; asks, or takes these options");
  const std::vector<CLI::Option*> given = {
      command->add_option("--pictures", request->pictures,
                          "a folder of pictures, or an archive; without it, an example in 2-D"),
      command->add_option(
          "--teacher", request->teacher,
          "a folder of diffusers, a checkpoint (.safetensors) or a configuration (.toml); without it, one "
          "is trained on the pictures"),
      command->add_option("--loss", request->loss, "how the student learns; retort list loss"),
      command
          ->add_option("--size", request->size, "the side of the pictures in pixels; by default the teacher's, or 32")
          ->check(CLI::Range(1, 65536)),
      command->add_option("--out", request->out, "the file to write")->capture_default_str()};
  command->footer(
      "It asks only at a terminal, and where no option is given. What it writes was found to build; nothing is "
      "trained.");
  command->callback([request, given, &shared] {
    const bool asks = std::all_of(given.begin(), given.end(), [](const CLI::Option* o) { return o->count() == 0; });
    init(*request, asks, shared.registry());
  });
}

}  // namespace retort
