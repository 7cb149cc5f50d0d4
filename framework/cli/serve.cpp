#include "serve/server.h"

#include <cstdio>

#include "cli/commands.h"
#include "interrupt.h"

namespace retort {

void add_serve(CLI::App& app) {
  struct Asked {
    std::string folder = "runs";
    int port = 0;
  };
  auto asked = std::make_shared<Asked>();
  CLI::App* command = app.add_subcommand(
      "serve",
      "show the runs and sweeps below a folder in a browser, as they grow; on this machine alone, until Ctrl-C");
  command->add_option("FOLDER", asked->folder, "what holds runs")->capture_default_str();
  constexpr int highest = 65535;
  command->add_option("--port", asked->port, "0: any that is free")
      ->capture_default_str()
      ->check(CLI::Range(0, highest));
  command->callback([asked] {
    Server server(asked->folder, asked->port);
    std::printf("%s\n", server.address().c_str());
    std::fflush(stdout);
    server.run([] { return stop_requested(); });
  });
}

}  // namespace retort
