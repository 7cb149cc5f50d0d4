#include "plugin/check.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("a metric that changes its samples in place is named, and no figure of another metric is touched") {
  const Registry outside({test_plugin_dir()});
  const auto properties = check_plugin(outside, outside.find("metric", "scales"), {});
  const auto holds = [](const conformance::Property& p) { return p.holds; };
  CHECK(!std::all_of(properties.begin(), properties.end(), holds));
  Folder folder;
  const Outcome out =
      run_retort("--plugin-dir '" + test_plugin_dir() + "' run " + mixture_config + small +
                 " loss.type=cm 'evaluate.metrics=[\"scales\", \"fd\"]' run.output=" + folder.string() + "/out");
  CHECK(out.code == 2);  // found by the trial, before any work
  CHECK(contains(out.output, "metric 'scales': changes its input 'samples' in place"));
  CHECK(!std::filesystem::exists(folder / "out"));
}
