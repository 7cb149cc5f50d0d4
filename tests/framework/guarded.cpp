#include <filesystem>
#include <regex>
#include <set>

#include "io/files.h"
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

namespace {

// The text of a class, from its name to the brace that ends it.
std::string body_of(const std::string& text, const std::string& name) {
  std::smatch found;
  REQUIRE(std::regex_search(text, found,
                            std::regex("class (RETORT_API )?" + name + "(Of)?( final)?( : public [^{]+)? \\{")));
  const std::string after = found.suffix();
  return after.substr(0, after.find("\n};"));
}

// The names of the functions whose declarations hold a word; destructors are not among them.
std::set<std::string> functions(const std::string& body, const std::string& pattern) {
  std::set<std::string> out;
  const std::regex wanted(pattern);
  for (std::sregex_iterator it(body.begin(), body.end(), wanted), end; it != end; ++it) {
    out.insert((*it)[1]);
  }
  return out;
}

}  // namespace

TEST_CASE("the guard forwards every virtual function of every interface") {
  const std::filesystem::path source = source_dir();
  const std::string guards = read_text(source / "framework" / "plugin" / "guarded.cpp");
  const std::pair<const char*, const char*> interfaces[] = {
      {"Teacher", "teacher.h"},   {"Solver", "solver.h"},           {"Loss", "loss.h"},
      {"Schedule", "schedule.h"}, {"Network", "network.h"},         {"Dataset", "dataset.h"},
      {"Metric", "metric.h"},     {"Backend", "backend.h"},         {"Autoencoder", "autoencoder.h"},
      {"Tracker", "tracker.h"},   {"CompiledNetwork", "network.h"}, {"AutoencoderNetwork", "autoencoder.h"}};
  // Every kind of plugin is among them.
  const std::string wraps = guards.substr(guards.find("std::shared_ptr<void> guard("));
  CHECK(functions(wraps, R"((\w+)::kind)").size() + 2 == std::size(interfaces));
  for (const auto& [name, header] : interfaces) {
    CAPTURE(std::string(name));
    const std::string declared = body_of(read_text(source / "sdk" / "include" / "retort" / header), name);
    const std::string forwarded = body_of(guards, "Guarded" + std::string(name));
    const std::set<std::string> wanted = functions(declared, R"(virtual (?!~)[^;{(]*?(operator\(\)|\w+)\()");
    CHECK(!wanted.empty());
    CHECK(functions(forwarded, R"((operator\(\)|\w+)\([^;{]*\) (?:const )?override)") == wanted);
  }
}
