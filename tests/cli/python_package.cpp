#include <cstdlib>

#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string interpreter() {
  const char* chosen = std::getenv("RETORT_PYTHON");
  return chosen != nullptr ? chosen : torch_programs() + "/python";
}

std::string tree() { return std::filesystem::path(program()).parent_path().parent_path().string(); }

// The tests of a file, in Python.
Outcome unit_tests(const std::string& name) {
  return shell("cd '" + source_dir() + "/tests/python' && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH='" + tree() +
               "/lib/python' RETORT_CONFIGS='" + source_dir() + "/configs' '" + interpreter() + "' -m unittest " +
               name);
}

void passes(const std::string& name) {
  const Outcome out = unit_tests(name);
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(out.output, "OK"));
}

}  // namespace

TEST_CASE("retort.solve: solvers on models of PyTorch") { passes("test_solve"); }

TEST_CASE("retort.losses: losses in a training loop of PyTorch") { passes("test_losses"); }

TEST_CASE("retort.run: experiments, and what Ctrl-C leaves") { passes("test_runs"); }

TEST_CASE("the page's Python runs as it is printed") { passes("test_pages"); }

TEST_CASE("another torch is refused by name") {
  Folder folder;
  std::filesystem::create_directories(folder / "torch");
  write_text(folder / "torch/__init__.py", "__version__ = '2.9.1'\n");
  const Outcome out = shell("PYTHONPATH='" + folder.string() + ":" + tree() + "/lib/python' '" + interpreter() +
                            "' -c 'import retort'");
  CHECK(out.code != 0);
  CHECK(contains(out.output, "was built with torch"));
  CHECK(contains(out.output, "2.9.1 is installed"));
}

TEST_CASE("the notebook runs in a fresh environment, on the wheel") {
  const std::string python = interpreter();
  if (shell("'" + python + "' -c 'import nbclient, ipykernel, pandas, matplotlib, tqdm'").code != 0) {
    MESSAGE("skipped: '" << python << "' has no nbclient, ipykernel, pandas, matplotlib and tqdm");
    return;
  }
  Folder folder;
  const std::string installed = (folder / "tree").string();
  const Outcome copied = shell("cmake --install '" + tree() + "' --prefix '" + installed +
                               "' --component Unspecified");  // without LibTorch
  CAPTURE(copied.output);
  REQUIRE(copied.code == 0);
  const Outcome out =
      shell("RETORT_PREFIX='" + installed + "' '" + python + "' '" + source_dir() + "/tests/python/run_notebook.py' '" +
            source_dir() + "/sdk/python/examples/first_steps.ipynb' '" + folder.string() + "'");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const std::string page = read_text(folder / "first_steps.ipynb");
  for (const char* shown : {"image/png", "text/html", "sliced_wasserstein", "dpmpp_2m"}) {
    CHECK(contains(page, shown));
  }
}
