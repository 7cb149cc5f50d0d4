// Single parts by the installed header alone.
#include <retort/toolbox.h>

#include <ATen/ATen.h>
#include <retort/solver.h>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Value table(std::initializer_list<std::pair<std::string, Value>> entries) {
  Value out;
  for (const auto& [key, value] : entries) {
    out[key] = value;
  }
  return out;
}
Value text(const char* word) { return {std::string(word), {}}; }

// The exact denoiser of normal data on "ve".
class Normal final : public Teacher {
 public:
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning&) const override {
    return rows(1 / (1 + t.square()), x) * x;
  }
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {Predicts::data, 1.0}; }
  std::vector<int64_t> shape() const override { return {2}; }

 private:
  Process process_;
};

}  // namespace

TEST_CASE("a program's own tensors are solved by parts that a table describes") {
  const Session session({.plugin_folders = {plugin_dir()}});
  Toolbox toolbox(session, {.spec = {{2}}});
  const auto solver = toolbox.build<Solver>(table({{"type", text("heun")}}));
  const auto schedule = toolbox.build<Schedule>(
      table({{"type", text("karras")}, {"steps", {int64_t{40}, {}}}, {"sigma_max", {20.0, {}}}}));
  const Normal teacher;
  const Tensor grid = schedule->times(toolbox.process());
  const Tensor x = at::randn({5, 2}, at::kDouble);
  const Tensor end = solve(Ode(teacher), *solver, grid, x);
  const double exact = 1 / std::sqrt(1 + grid[0].item<double>() * grid[0].item<double>());  // of the deviations
  CHECK((end - x * exact).abs().max().item<double>() < 1e-3);
  CHECK(times_of_steps(grid, 2).size(0) == 3);
  const Value about = session.describe("schedule", "karras");
  CHECK(contains(about.find("about")->text(), "Karras"));
  CHECK(std::get<Array>(about.find("parameters")->data).size() > 3);
}

TEST_CASE("a part's mistakes name their place and the nearest name") {
  const Session session({.plugin_folders = {plugin_dir()}});
  Toolbox toolbox(session, {.process = table({{"type", text("vp_linear")}}), .spec = {{2}}});
  CHECK(toolbox.process().name() == "vp_linear");
  const auto refused = [&](Value spec) {
    spec.origin = {"mine.cpp", 12};
    return request_error([&] { toolbox.build<Solver>(spec); });
  };
  CHECK(contains(refused(table({{"type", text("huen")}})), "did you mean 'heun'"));
  CHECK(contains(refused(table({{"type", text("heun")}, {"final_stap", text("euler")}})), "did you mean 'final_step'"));
  CHECK(contains(refused(table({{"order", text("2")}})), "mine.cpp:12: solver.type: missing"));
  CHECK(contains(request_error([&] { Toolbox(session, {.process = table({{"type", text("vq")}})}); }), "process.type"));
}
