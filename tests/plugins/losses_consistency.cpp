// Losses of the consistency family between two times: what they agree on with each other, and with formulas written
// here a second time.
#include "support/consistency_lesson.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("a horizon of one step is CM, and one of all steps is Direct CM, to the bit") {
  for (const char* solver : {"heun", "euler", "dpmpp_2m", "unipc", "deis", "rk4"}) {
    CAPTURE(solver);
    for (const bool single : {false, true}) {
      Lesson l(solver);
      l.data = single ? l.data.to(at::kFloat) : l.data;
      for (const std::string more : {"", "distance = \"pseudo_huber\"", "weighting = \"karras\""}) {
        CAPTURE(more);
        const auto same = [&](const std::string& toml, const std::string& loss, const std::string& its) {
          const auto a = l.run("horizon", toml + more), b = l.run(loss, its + more);
          CHECK(at::equal(a.value.t, b.value.t));
          CHECK(at::equal(a.value.per_row, b.value.per_row));
          CHECK(at::equal(a.gradient, b.gradient));
          CHECK(a.evaluations == b.evaluations);
        };
        same("steps = 1\n", "cm", "");
        same("steps = 1\nrandom = true\n", "cm", "");
        same("steps = 1\ntarget = \"ema\"\n", "cm", "target = \"ema\"\n");
        same("steps = 0\n", "direct_cm", "");
        same("steps = 12\n", "direct_cm", "");
        same("steps = 1000\ntarget = \"ema\"\n", "direct_cm", "");
      }
    }
  }
}

TEST_CASE("each row's horizon is a solve of its own piece of the grid, and costs no more") {
  for (const char* solver : {"heun", "euler", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "rk4", "lms"}) {
    CAPTURE(solver);
    Lesson l(solver);
    const Tensor grid = l.schedule->times(l.host.process());
    const int64_t intervals = grid.size(0) - 1;
    const Tensor u = at::rand({batch}, seeded(3, "u"), at::kDouble);
    for (const int64_t steps : {2, 5, 11}) {
      for (const bool random : {false, true}) {
        CAPTURE(steps);
        const std::string toml = "steps = " + std::to_string(steps) + (random ? "\nrandom = true" : "");
        const Tensor noise = normal({batch, 2}, 5);
        // The schedule draws from the step's generator; the same draw is made here.
        at::Generator generator = seeded(1, "lesson");
        const Tensor index = l.schedule->draw(intervals, batch, generator);
        const auto got = random ? l.run("horizon", toml, {noise, u}) : l.run("horizon", toml, {noise});
        const Model student = l.model(l.network);
        const Ode ode(*l.teacher);
        const Tensor t = grid.index_select(0, index);
        const Tensor x = l.host.process().add_noise(l.data, noise, t);
        std::vector<Tensor> targets;
        for (int64_t b = 0; b < batch; ++b) {
          const int64_t i = index[b].item<int64_t>(), bound = std::min(steps, intervals - i);
          const int64_t count =
              random ? 1 + static_cast<int64_t>(u[b].item<double>() * static_cast<double>(bound)) : bound;
          const Tensor end = solve(ode, *l.solver, grid.narrow(0, i, count + 1).contiguous(), x.narrow(0, b, 1));
          const Tensor s = grid[i + count].view({1});
          targets.push_back(i + count == intervals ? end : student.consistency(end, s, {}).detach());
        }
        const Tensor f = student.consistency(x, t, {});
        const Tensor wanted = (f - at::cat(targets)).square().mean(1);
        CHECK(test::most(got.value.per_row - wanted) < 1e-12 * most(wanted));
        const Tensor gradient = Lesson::gradient(l.network, wanted.mean());
        CHECK(test::most(got.gradient - gradient) < 1e-12 * most(gradient));
        CHECK(got.evaluations == ode.evaluations());
      }
    }
  }
}

namespace {

Tensor huber(const Tensor& a, const Tensor& b, double c) { return ((a - b).square().sum(1) + c * c).sqrt() - c; }

}  // namespace

TEST_CASE("each weighting is its formula, and is the same in every loss that has one") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5);
  const auto plain = l.run("cm", "", {noise}).value;
  const Tensor grid = l.schedule->times(l.host.process()), t = plain.t;
  const Tensor next = grid.index_select(0, (grid.unsqueeze(0) >= t.unsqueeze(1)).sum(1));
  const std::pair<const char*, Tensor> formulas[] = {{"interval", 1 / (t - next)},
                                                     {"snr", 1 / (t * t)},
                                                     {"snr_plus_one", 1 / (t * t) + 1},
                                                     {"truncated_snr", at::maximum(1 / (t * t), at::ones_like(t))},
                                                     {"karras", (t * t + 0.25) / (0.25 * t * t)},
                                                     {"c_out", (t * t + 0.25).sqrt() / (0.5 * t)}};
  for (const auto& [name, weight] : formulas) {
    CAPTURE(name);
    for (const char* loss : {"cm", "horizon", "direct_cm", "ct", "ict"}) {
      CAPTURE(loss);
      const std::string key = "weighting = \"" + std::string(name) + "\"";
      const bool is_to_end = loss == std::string("direct_cm") && name == std::string("interval");
      const std::string more = loss == std::string("horizon") ? "\nsteps = 1" : "";
      const Tensor one = l.run(loss, "weighting = \"none\"" + more, {noise}).value.per_row;
      const Tensor got = l.run(loss, key + more, {noise}).value.per_row, wanted = one * (is_to_end ? 1 / t : weight);
      CHECK(test::most(got - wanted) < 1e-13 * test::most(wanted));
    }
  }
}

TEST_CASE("consistency training compares both ends of a noised interval") {
  Lesson l("heun", "steps = 12\nsigma_max = 10\nfinal_zero = false");
  const Tensor noise = normal({batch, 2}, 5);
  for (const bool average : {true, false}) {
    const auto got = l.run("ct", average ? "" : "target = \"student\"", {noise});
    const Tensor grid = l.schedule->times(l.host.process()), t = got.value.t;
    const Tensor s = grid.index_select(0, (grid.unsqueeze(0) >= t.unsqueeze(1)).sum(1));
    const Tensor f = denoiser(l.network, l.data + noise * t.unsqueeze(1), t);
    const Tensor target = denoiser(average ? l.other : l.network, l.data + noise * s.unsqueeze(1), s).detach();
    same(l, got, (f - target).square().mean(1));
    CHECK(got.evaluations == 0);
  }
}

TEST_CASE("easy consistency tuning closes in on t from the data as training goes on") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  const Tensor t = (z * 2.0 - 1.1).exp();
  for (const double progress : {0.0, 0.124, 0.125, 0.5, 0.99}) {
    CAPTURE(progress);
    for (const bool sigmoid : {true, false}) {
      l.progress = progress;
      const double part = std::floor(progress * 8);
      const Tensor n = sigmoid ? 1 + 8 / (1 + t.exp()) : at::ones_like(t);
      const Tensor r = t * (1 - n / std::pow(2.0, part + 1)).clamp_min(0);
      const Tensor target = at::where((r > 0).unsqueeze(1),
                                      denoiser(l.network, l.data + noise * r.unsqueeze(1), r.clamp_min(1e-9)), l.data)
                                .detach();
      const Tensor f = denoiser(l.network, l.data + noise * t.unsqueeze(1), t);
      const auto got = l.run(
          "ect", std::string("huber_c = 0.03\nmapping = \"") + (sigmoid ? "sigmoid\"" : "constant\""), {z, noise});
      same(l, got, huber(f, target, 0.03) / (t - r));
    }
  }
}

TEST_CASE("truncated consistency models go on above t', held there by what they were") {
  Lesson l;
  l.stage = 1;
  l.progress = 0.7;
  const Tensor noise = normal({batch, 2}, 5), u = at::rand({batch}, seeded(3, "u"), at::kDouble);
  const auto got = l.run("tcm", "huber_c = 0.03\nt_freedom = 2.0\nt_scale = 0.6\nq = 4.0\nparts = 2", {u, noise});
  const Tensor boundary = at::arange(batch, at::kLong) % 4 == 3, t = got.value.t;
  CHECK(test::most(t.masked_select(boundary) - 1) < 1e-12);
  // The distribution of Student's t with two degrees of freedom is known: F(x) = 1/2 + x / (2 sqrt(2 + x^2)).
  const auto mass = [](const Tensor& level) {
    const Tensor x = level.log() / 0.6;
    return 0.5 + x / (2 * (2 + x * x).sqrt());
  };
  const Tensor whole = mass(times({80.0})) - 0.5, others = boundary.logical_not();
  CHECK(test::most(((mass(t) - 0.5) / whole - u).masked_select(others)) < 1e-9);
  const Tensor r = t * (1 - (1 + 8 / (1 + t.exp())) / 16).clamp_min(0);
  CHECK((r < 1).masked_select(others).any().item<bool>());
  CHECK((r > 1).masked_select(others).any().item<bool>());
  const Tensor x_r = l.data + noise * r.unsqueeze(1);
  const Tensor target =
      at::where((r >= 1).unsqueeze(1), denoiser(l.network, x_r, r), denoiser(l.other, x_r, r)).detach();
  const Tensor loss = huber(denoiser(l.network, l.data + noise * t.unsqueeze(1), t), target, 0.03) / (t - r);
  same(l, got, at::where(boundary, loss * 0.1 * 4, loss / 0.75));
  CHECK(got.value.per_row.mean().item<double>() ==
        doctest::Approx((loss.masked_select(others).mean() + 0.1 * loss.masked_select(boundary).mean()).item<double>())
            .epsilon(1e-12));
  // Before, it is easy consistency tuning with that pace.
  l.stage = 0;
  l.progress = 0.3;
  const Tensor z = normal({batch}, 6);
  const auto first = l.run("tcm", "", {z, noise});
  l.progress = 0.6;
  const auto ect = l.run("ect", "", {z, noise});
  CHECK(at::equal(first.value.per_row, ect.value.per_row));
  CHECK(at::equal(first.gradient, ect.gradient));
}

TEST_CASE("impossible settings of the consistency family are refused") {
  TestHost host("type = \"ve\"", ModelSpec{{2}});
  const auto error = [&](const char* loss, const char* toml) {
    return request_error([&] { host.make_plugin<Loss>(loss, toml); });
  };
  CHECK(contains(error("horizon", "steps = -1"), "steps"));
  CHECK(contains(error("ect", "q = 1.0"), "q"));
  CHECK(contains(error("tcm", "transition = 90.0"), "transition < noisiest"));
  CHECK(contains(error("tcm", "boundary_share = 1.0"), "boundary_share"));
  CHECK(contains(error("scm", "tangent = \"none\""), "clipped"));
  CHECK(contains(error("scm", "velocity = \"student\""), "teacher"));
  CHECK(contains(error("cm", "weighting = \"uniform\""), "truncated_snr"));
}
