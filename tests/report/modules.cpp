// The pages' modules: what a linter says of them, their unit tests, and the pages in a browser that is driven by keys.
#include "io/files.h"
#include "report/browser.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

// The first of these programs that is here; "" otherwise, with a word.
std::string first_of(const std::string& name, const std::string& elsewhere) {
  const std::string path = shell("command -v '" + name + "' || command -v '" + elsewhere + "'").output;
  if (path.empty()) {
    MESSAGE("left out: " << name << " is not installed");
  }
  return path.substr(0, path.find('\n'));
}

}  // namespace

TEST_CASE("the linter finds nothing in the pages' modules") {
  const std::string linter = first_of(torch_programs() + "/oxlint", "oxlint");
  if (linter.empty()) {
    return;
  }
  const std::string lint = "cd '" + source_dir() + "' && '" + linter + "' -c .oxlintrc.json -f unix ";
  const Outcome out = shell(lint + "framework tests");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  const Folder folder;  // and it does find what is wrong
  write_text(folder / "wrong.mjs", "import { nothing } from './wrong.mjs';\nundeclared(nothing);\n");
  const Outcome wrong = shell(lint + "'" + folder.string() + "'");
  CHECK(wrong.code != 0);
  CHECK(contains(wrong.output, "no-undef"));
}

TEST_CASE("the modules' unit tests pass") {
  const std::string node = first_of("node", "nodejs");
  if (node.empty()) {
    return;
  }
  const Outcome out =
      shell("cd '" + source_dir() + "' && '" + node + "' --test --test-reporter=tap tests/page/*.test.mjs");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(out.output, "# fail 0"));
  CHECK(!contains(out.output, "# pass 0"));
}

TEST_CASE("keys and a screen reader reach all that the pages offer, at any width, light and dark") {
  const std::string python = python_that_imports("selenium, axe_playwright_python");
  if (python.empty() || first_of("chromedriver", "/usr/bin/chromedriver").empty() || no_browser()) {
    return;
  }
  const Folder folder;
  const std::string out = (folder / "runs").string();
  const std::string quick =
      mixture_config + small + "'evaluate.metrics=[\"fd\", \"ode_error\"]' 'evaluate.student_steps=[1, 2]' ";
  REQUIRE(
      run_retort(
          "sweep " + quick +
          "'sweep={\"loss.type\"=[\"cm\", \"direct_cm\"], \"schedule.steps\"=[4, 8], \"train.learning_rate\"=[1e-3, "
          "1e-4], seeds=5}' 'report.compare=\"loss.type\"' run.output=" +
          out + "/sweep")
          .code == 0);
  for (const std::string seed : {"1", "2"}) {
    REQUIRE(run_retort("run " + quick + "sweep={} loss.type=cm run.seed=" + seed + " run.name=run" + seed +
                       " run.output=" + out + "/run" + seed)
                .code == 0);
  }
  const Outcome seen =
      shell("'" + python + "' '" + source_dir() + "/tests/page/browser.py' '" + program() + "' '" + out + "/sweep'");
  CAPTURE(seen.output);
  CHECK(seen.code == 0);
  CHECK(contains(seen.output, "checks pass"));
}
