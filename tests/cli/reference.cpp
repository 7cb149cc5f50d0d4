#include <set>

#include "support/golden.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("the reference is what the program says of itself") {
  Folder folder;
  REQUIRE(run_retort("inspect --all --markdown --output " + folder.string()).code == 0);
  std::set<std::string> pages;
  for (const auto& entry : std::filesystem::directory_iterator(folder.string())) {
    const std::string name = entry.path().filename().string();
    pages.insert(name);
    check_golden(source_dir() + "/sdk/reference/" + name, read_text(entry.path()));
  }
  CHECK(pages.size() == 9);
  CHECK(one_line(run_retort("inspect --all"), 2, {"needs --markdown"}));
  CHECK(one_line(run_retort("inspect"), 2, {"needs a NAME"}));
}
