#include <fstream>

#include "io/files.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {
const char* const config = R"([teacher]
type = "gaussian_mixture"
weights = [0.3, 0.4, 0.3]
means = [[-1.0], [0.2], [1.3]]
stds = [0.25, 0.15, 0.3]
[process]
type = "ve"
[schedule]
type = "explicit"
times = [10.0, 3.0, 1.0, 0.3, 0.05]
[solver]
type = "heun"
)";
}

TEST_CASE("solve gives what the library gives, from CSV and from safetensors, in the order of its input") {
  Folder folder;
  write_text(folder / "c.toml", config);
  const Tensor x = normal({5, 1}, 3) * 10;
  write_samples(folder / "a.csv", x);
  write_samples(folder / "a.safetensors", x);
  write_text(folder / "t.csv", "10\n3\n1\n0.3\n10\n");
  const std::string at = folder.string();
  const std::string command = "solve " + at + "/c.toml --dtype float64 --start " + at;
  const Outcome out = run_retort(command + "/a.csv --out " + at + "/b.csv --trajectory " + at + "/path.csv");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>("heun");
  const Tensor grid = times({10, 3, 1, 0.3, 0.05});
  const Tensor expected = solve(Ode(*teacher), *solver, grid, x);
  CHECK(at::equal(read_samples(folder / "b.csv", {1}), expected));
  const Tensor path = read_samples(folder / "path.csv", {5});
  CHECK(at::equal(path.select(1, 0), x.squeeze(1)));
  CHECK(at::equal(path.select(1, 4), expected.squeeze(1)));
  REQUIRE(run_retort(command + "/a.safetensors --out " + at + "/b.safetensors").code == 0);
  CHECK(at::equal(read_samples(folder / "b.safetensors", {1}), expected));
  REQUIRE(run_retort(command + "/a.csv --out " + at + "/d.csv --start-time " + at + "/t.csv solver.type=rk45").code ==
          0);
  const Tensor own = read_samples(folder / "d.csv", {1});
  const auto reference = host.make_plugin<Solver>("rk45");
  CHECK(most(own - solve(Ode(*teacher), *reference, grid, x, times({10, 3, 1, 0.3, 10}))) < 1e-12);
}

TEST_CASE("bad points are one line") {
  Folder folder;
  const std::string at = folder.string();
  write_text(folder / "c.toml", config);
  const auto solve_text = [&](const std::string& text) {
    write_text(folder / "a.csv", text);
    return run_retort("solve " + at + "/c.toml --start " + at + "/a.csv --out " + at + "/b.csv");
  };
  CHECK(one_line(solve_text("1.0\nabc\n"), 2, {"a.csv:2: 'abc' is no number"}));
  CHECK(one_line(solve_text(""), 2, {"a.csv: is empty; expected a sample or more of 1 number(s)"}));
  CHECK(one_line(solve_text("1.0,2.0\n"), 2, {"a.csv:1: has 2 number(s); expected 1"}));
  CHECK(one_line(run_retort("solve " + at + "/c.toml --start " + at + "/none.csv --out " + at + "/b.csv"), 2,
                 {"none.csv: no such file"}));
  write_text(folder / "a.csv", "1.0\n");
  write_text(folder / "t.csv", "99\n");
  CHECK(one_line(run_retort("solve " + at + "/c.toml --start " + at + "/a.csv --out " + at + "/b.csv --start-time " +
                            at + "/t.csv"),
                 2, {"outside the schedule's times"}));
  CHECK(!std::filesystem::exists(folder / "b.csv"));
}
