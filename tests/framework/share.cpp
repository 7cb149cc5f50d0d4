#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "io/files.h"
#include "share/claim.h"
#include "share/store.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("of many who want a claim at once, one gets it, again and again") {
  Folder folder;
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> taken = 0, arrived = 0;
    std::vector<std::unique_ptr<Claim>> claims(8);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < claims.size(); ++i) {
      threads.emplace_back([&, i] {
        ++arrived;
        while (arrived < 8) {
        }
        claims[i] = Claim::take(folder / "work");
        taken += claims[i] ? 1 : 0;
      });
    }
    for (std::thread& t : threads) {
      t.join();
    }
    CHECK(taken == 1);
    CHECK(Claim::holder(folder / "work").ends_with("process " + std::to_string(getpid())));
    claims.clear();
    CHECK(Claim::holder(folder / "work").empty());
    CHECK(std::filesystem::is_empty(folder.string()));
  }
}

TEST_CASE("a claim that is taken and given back without pause disturbs nobody who asks for it") {
  Folder folder;
  std::atomic<int64_t> taken = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        CHECK_NOTHROW(taken += Claim::take(folder / "work") ? 1 : 0);
        CHECK_NOTHROW(Claim::holder(folder / "work"));
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  CHECK(taken > 0);
  CHECK(std::filesystem::is_empty(folder.string()));
}

TEST_CASE("a dead process's claim is taken over by one, who knows of the death") {
  Folder folder;
  for (int deaths = 0; deaths < 3; ++deaths) {
    const pid_t child = fork();
    if (child == 0) {
      const auto claim = Claim::take(folder / "work");
      _exit(claim ? 0 : 1);  // without giving it back
    }
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WEXITSTATUS(status) == 0);
  }
  const auto mine = Claim::take(folder / "work");
  REQUIRE(mine);
  CHECK(mine->deaths() == 3);
  CHECK(!Claim::take(folder / "work"));
}

TEST_CASE("a claim from another machine counts as dead after its patience, and not before") {
  Folder folder;
  write_text(folder / "work.claim.0", "{\"host\":\"elsewhere\",\"process\":1,\"began\":\"1\"}\n");
  CHECK(!Claim::take(folder / "work", 1000));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  const auto mine = Claim::take(folder / "work", 1);
  REQUIRE(mine);
  CHECK(mine->deaths() == 1);
}

TEST_CASE("a store computes a thing once for all, and again where its file is damaged") {
  Folder folder;
  const Store store(folder / "store");
  std::atomic<int> computed = 0;
  const auto compute = [&] {
    ++computed;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    TensorFile file;
    file.tensors["x"] = times({1, 2, 3});
    return file;
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { CHECK(store.get("key", compute).tensors.at("x").size(0) == 3); });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  CHECK(computed == 1);
  write_text(store.path_of("key"), "garbage");
  CHECK(store.get("key", compute).tensors.at("x").size(0) == 3);
  CHECK(computed == 2);
  store.get("another key", compute);
  CHECK(computed == 3);
}

TEST_CASE(
    "remembered solves are the solves themselves, with their cost, and are told apart by everything they depend on") {
  Folder folder;
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto heun = host.make_plugin<Solver>("heun"), euler = host.make_plugin<Solver>("euler");
  const Tensor grid = times({10, 5, 2, 1, 0.05}), x = normal({6, 1}) * 10, start = times({10, 5, 2, 1, 7, 3});
  const Ode plain(*teacher);
  const auto fresh = [&](const std::string& key = "k") {
    return Ode(*teacher).with(stored_solves(Store(folder / "store"), key), heun.get());
  };
  const Tensor wanted = solve(plain, *heun, grid, x, start);
  const Ode first = fresh(), second = fresh();
  CHECK(at::equal(solve(first, *heun, grid, x, start), wanted));
  CHECK(first.remembered() == 0);
  CHECK(at::equal(solve(second, *heun, grid, x, start), wanted));
  CHECK(second.remembered() == plain.evaluations());
  CHECK(second.evaluations() == plain.evaluations());
  // Another start, noise, grid, teacher or solver is another solve.
  const auto is_new = [&](const Ode& ode, const Solver& solver, const Tensor& g, const Tensor& y, const Tensor& s) {
    solve(ode, solver, g, y, s);
    return ode.remembered() == 0;
  };
  CHECK(is_new(fresh(), *heun, grid, x, start + 0.01 * (start < 10)));
  CHECK(is_new(fresh(), *heun, grid, x + 1, start));
  CHECK(is_new(fresh(), *heun, times({10, 5, 2, 1, 0.04}), x, start));
  CHECK(is_new(fresh("another teacher"), *heun, grid, x, start));
  CHECK(is_new(fresh(), *euler, grid, x, start));
  // Trajectories are remembered whole.
  std::vector<Tensor> seen[2];
  for (auto& states : seen) {
    const Ode ode = fresh();
    solve(ode, *heun, grid, x, {},
          [&](double, const Tensor&, const Tensor& state) { states.push_back(state.clone()); });
    CHECK(ode.evaluations() > 0);
  }
  REQUIRE(seen[0].size() == 4);
  REQUIRE(seen[1].size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(at::equal(seen[0][i], seen[1][i]));
  }
}

TEST_CASE("a process of another namespace is not taken for dead by its number; its heart tells") {
  Folder folder;
  const auto mine = Claim::take(folder / "work");
  REQUIRE(mine);
  // The same machine's name and a number that is nobody's here, as from within a container.
  std::string text = read_text(folder / "work.claim.0");
  const auto replace = [&](const std::string& key, const std::string& value) {
    const size_t at = text.find("\"" + key + "\":") + key.size() + 3;
    text.replace(at, text.find_first_of(",}", at) - at, value);
  };
  replace("numbering", "\"another machine's start pid:[1]\"");
  replace("process", "1");
  write_text(folder / "other.claim.0", text);
  CHECK(!Claim::take(folder / "other", 1000));
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  CHECK(Claim::take(folder / "other", 1));
}

TEST_CASE("a claim whose content is not there yet is somebody's") {
  Folder folder;
  write_text(folder / "work.claim.0", "");
  CHECK(!Claim::take(folder / "work", 1000));
  CHECK(Claim::holder(folder / "work") == "somebody");
}
