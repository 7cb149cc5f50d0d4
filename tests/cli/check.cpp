#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("a solver that declares a wrong order fails, with both figures") {
  const std::string plugin = test_plugin_dir() + "/wrong_order.so";
  const Outcome out = run_retort("check " + plugin);
  CHECK(out.code == 1);
  CHECK(contains(out.output, "FAILS order on ve"));
  CHECK(contains(out.output, "expected the declared order 2, within 0.25"));
  const Outcome json = run_retort("check " + plugin + " --json");
  const Json report = Json::parse(json.output.substr(0, json.output.rfind("error: ")));
  CHECK(report["kind"] == "solver");
  CHECK(report["failed"] == 2);
  const std::string measured = report["properties"][0]["measured"];
  REQUIRE(measured.starts_with("order "));
  CHECK(std::stod(measured.substr(6)) == doctest::Approx(1).epsilon(0.05));
  CHECK(report["properties"][0]["holds"] == false);
}

TEST_CASE("check finds plugins by name and by path, and takes their parameters") {
  CHECK(run_retort("check dpm_solver order=3").code == 0);
  CHECK(contains(run_retort("check dpm_solver order=3").output, "order 3"));
  CHECK(one_line(run_retort("check dpm_solvr"), 2, {"did you mean 'dpm_solver'"}));
  CHECK(one_line(run_retort("check gaussian_mixture"), 2, {"a teacher and a dataset", "--kind"}));
  CHECK(one_line(run_retort("check ./nothing.so"), 2, {"no such file"}));
  CHECK(contains(run_retort("check dpm_solver ordr=3").output, "unknown key 'solver.ordr'"));
}

TEST_CASE("what throws fails; it does not end the check") {
  const Outcome out = run_retort("check " + test_plugin_dir() + "/fails.so how=step");
  CHECK(out.code == 1);
  CHECK(contains(out.output, "it threw: solver 'fails': no such row"));
}
