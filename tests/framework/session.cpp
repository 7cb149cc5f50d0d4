// Retort as a library, by its installed header alone.
#include <retort/session.h>

#include <atomic>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

RunRequest tiny(const Folder& folder, const std::vector<std::string>& more = {}) {
  RunRequest out{
      .config = source_dir() + "/configs/mixture.toml",
      .overrides = {"sweep={}", "loss.type=cm", "train.steps=20", "evaluate.at=[]", "evaluate.samples=50",
                    "evaluate.metrics=[\"fd\"]", "backend.type=cpu", "run.output=" + folder.string() + "/out"}};
  out.overrides.insert(out.overrides.end(), more.begin(), more.end());
  return out;
}

SessionOptions with_plugins() { return {.plugin_folders = {plugin_dir()}}; }

}  // namespace

TEST_CASE("a session runs a configuration, says what it does, and reads the results") {
  Folder folder;
  std::vector<std::string> lines;
  int64_t most_done = 0;
  SessionOptions options = with_plugins();
  options.log = [&](LogLevel, const std::string& line) { lines.push_back(line); };
  options.progress = [&](const std::string&, int64_t done, int64_t) { most_done = std::max(most_done, done); };
  Session session(std::move(options));
  const std::vector<Session::Plugin> plugins = session.plugins();
  CHECK(std::any_of(plugins.begin(), plugins.end(),
                    [](const Session::Plugin& p) { return p.kind == "loss" && p.name == "cm"; }));
  const std::filesystem::path out = session.run(tiny(folder));
  CHECK(out == folder.string() + "/out");
  CHECK(most_done > 0);
  session.interrupt();  // nothing is under way, so nothing will stop
  CHECK(
      std::any_of(lines.begin(), lines.end(), [](const std::string& l) { return contains(l, "training: 20 steps"); }));
  const Value results = session.results(out);
  REQUIRE(results.find("students") != nullptr);
  CHECK(std::get<Array>(results.find("students")->data).size() == 3);  // in 1, 2 and 4 steps
  CHECK(contains(session.table(out), "fd"));
  CHECK(session.plan(tiny(folder)).at(0).finished);
}

TEST_CASE("a session without its plugin folder is refused, and leaves its place free") {
  CHECK(contains(request_error([] { Session({.plugin_folders = {"/nowhere"}}); }), "no such folder"));
  CHECK_NOTHROW(Session{with_plugins()});
}

TEST_CASE("a session checks a sweep without any work, and refuses a wrong request") {
  Folder folder;
  Session session(with_plugins());
  RunRequest sweep = tiny(folder, {"sweep={ \"train.learning_rate\" = [0.001, 0.002] }"});
  const std::vector<Session::Cell> cells = session.plan(sweep);
  REQUIRE(cells.size() == 2);
  CHECK(cells[1].name == "learning_rate=0.002");
  CHECK(cells[1].config.find("train")->find("learning_rate")->text() == "0.002");
  CHECK(!cells[0].finished);
  CHECK(!std::filesystem::exists(folder / "out"));
  CHECK(contains(request_error([&] { session.plan(tiny(folder, {"train.stepz=1"})); }), "did you mean 'steps'"));
  CHECK(contains(request_error([&] { session.results(folder.string()); }), "holds no results.json"));
}

TEST_CASE("work is interrupted from another thread, and goes on at the next call; one session follows another") {
  Folder folder;
  const RunRequest request = tiny(folder, {"train.steps=400", "train.save_every=1e-9"});
  {
    Session session(with_plugins());
    std::thread stopper([&] {
      while (!std::filesystem::exists(folder / "out" / "checkpoints" / "state.safetensors")) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      session.interrupt();
    });
    CHECK_THROWS_WITH_AS(session.run(request), doctest::Contains("interrupted at step"), Error);
    stopper.join();
    CHECK_THROWS_AS(session.results(folder / "out"), RequestError);
  }
  Session session(with_plugins());
  const std::filesystem::path out = session.run(request);  // and the wish to stop is forgotten
  CHECK(session.results(out).find("students") != nullptr);
}

TEST_CASE("what a callback throws ends the work, and not the process") {
  Folder folder;
  SessionOptions options = with_plugins();
  options.progress = [](const std::string&, int64_t, int64_t) { throw std::runtime_error("enough"); };
  Session session(std::move(options));
  CHECK_THROWS_WITH(session.run(tiny(folder, {"train.steps=4000"})), doctest::Contains("enough"));
}

TEST_CASE("a session runs one thing at a time, and a refused one leaves the other to be interrupted") {
  Folder folder;
  std::atomic<bool> works = false;
  SessionOptions options = with_plugins();
  options.log = [&](LogLevel, const std::string& line) { works = works || contains(line, "training: "); };
  Session session(std::move(options));
  std::string ended;
  std::thread worker([&] {
    try {
      session.run(tiny(folder, {"train.steps=20000"}));
    } catch (const Error& e) {
      ended = e.what();
    }
    works = true;  // so that nobody waits for a run that could not begin
  });
  while (!works) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK_THROWS_WITH_AS(session.run(tiny(folder)), doctest::Contains("one run at a time"), Error);
  session.interrupt();
  worker.join();
  CHECK(contains(ended, "interrupted at step"));
}

TEST_CASE("two sessions wait for each other; each is told of its own work, and stopped alone") {
  Folder in_a, in_b;
  struct One {
    std::vector<std::string> lines;
    std::string ended;
  } first, second;
  std::atomic<bool> works = false;
  const auto options = [&](One& one) {
    SessionOptions out = with_plugins();
    out.log = [&](LogLevel, const std::string& line) {
      one.lines.push_back(line);
      works = true;
    };
    return out;
  };
  Session a(options(first)), b(options(second));
  const auto work = [&](Session& session, One& one, const Folder& folder, const char* steps) {
    try {
      session.run(tiny(folder, {std::string("train.steps=") + steps}));
      one.ended = "well";
    } catch (const Error& e) {
      one.ended = e.what();
    }
    works = true;
  };
  std::thread of_a([&] { work(a, first, in_a, "20000"); });
  while (!works) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::thread of_b([&] { work(b, second, in_b, "5"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(second.lines.empty());  // it waits
  a.interrupt();
  of_a.join();
  of_b.join();
  CHECK(contains(first.ended, "interrupted"));
  CHECK(second.ended == "well");
  CHECK(!second.lines.empty());
}
