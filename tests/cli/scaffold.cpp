#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

TEST_CASE("what retort new writes builds, passes its checks, runs as it is, and tests itself") {
  Folder folder;
  const std::string in = folder.string();
  for (const char* kind : plugin_kinds) {
    const std::string name = std::string("my_") + kind, at = in + "/" + name;
    CAPTURE(name);
    const Outcome made = run_retort("new " + std::string(kind) + " " + name + " --in " + in);
    REQUIRE(made.code == 0);
    // The very lines that it prints.
    for (const char* part : {"cmake -S ", "cmake --build "}) {
      const size_t from = made.output.find(part);
      REQUIRE(from != std::string::npos);
      const Outcome out = shell(made.output.substr(from, made.output.find('\n', from) - from));
      CAPTURE(out.output);
      REQUIRE(out.code == 0);
    }
    const Outcome checked = run_retort("check " + at + "/build/" + name + ".so");
    CAPTURE(checked.output);
    CHECK(checked.code == 0);
    const Outcome tested = shell("cd " + at + "/build && ctest --output-on-failure");
    CAPTURE(tested.output);
    CHECK(tested.code == 0);
    CHECK(contains(tested.output, "100% tests passed, 0 tests failed out of 1"));
    const Outcome ran = run_retort("--plugin-dir " + at + "/build run " + at + "/" + name + ".toml run.output=" + at +
                                   "/out train.steps=60 evaluate.samples=200");
    CAPTURE(ran.output);
    CHECK(ran.code == 0);
    CHECK(contains(read_text(at + "/out/plugins.json"), "\"" + name + "\""));
  }
}

TEST_CASE("retort new refuses what would do harm, and leaves nothing half made") {
  Folder folder;
  const std::string in = " --in " + folder.string();
  CHECK(one_line(run_retort("new solvr mine" + in), 2, {"is no kind of plugin", "did you mean 'solver'"}));
  for (const char* name : {"Mine", "9lives", "a-b", "a/b", "..", "a__b"}) {
    CAPTURE(std::string(name));
    CHECK(one_line(run_retort("new solver " + std::string(name) + in), 2, {"is no name for a plugin"}));
  }
  REQUIRE(run_retort("new solver mine" + in).code == 0);
  CHECK(one_line(run_retort("new loss mine" + in), 2, {"is there already"}));
  CHECK(contains(read_text(folder / "mine" / "mine.cpp"), "RETORT_PLUGIN(Mine, solver, mine)"));
  CHECK(std::distance(fs::directory_iterator(folder.string()), fs::directory_iterator()) == 1);
}
