#include "report/report.h"

#include <cstdio>

#include "cli/commands.h"

namespace retort {

void add_report(CLI::App& app) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("report", "print a run's table again and write its report.html anew");
  command->add_option("FOLDER", *folder, "a run's folder")->required();
  command->callback([folder] {
    write_report(*folder);
    std::printf("%s\n%s\n", terminal_table(*folder).c_str(), (std::filesystem::path(*folder) / "report.html").c_str());
  });
}

}  // namespace retort
