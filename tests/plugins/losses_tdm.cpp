// Trajectory distribution matching: values and gradients of both networks against formulas on rectified flow, and what
// it leads a student of several steps to.
#include "plugins/losses_distribution.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::distribution;

namespace {

// Of the segments 1 to 0.6 and 0.6 to 0: those of rows that begin at once, and of those that take a step before.
struct Segments {
  World w;
  Tensor late = times({0, 1, 0, 1, 1, 0}), place = times({0.1, 0.9, 0.5, 0.3, 0.99, 0.0}), more;
  Tensor x, x_t, from, end, t;

  // A step of the student, from t to s.
  Tensor velocity(const Tensor& at, const Tensor& time) { return w.weights["student"](at, {told(time)}); }

  Segments(bool within, bool random_end) {
    w.makes = Makes::flow_map;
    w.schedule = std::make_shared<ToldSchedule>(times({1, 0.8, 0.6, 0.3, 0}), Tensor());
    w.numbers = {w.z, late * 0.5 + 0.2};
    from = 1 - 0.4 * late;
    end = 0.6 * (1 - late);
    if (random_end) {  // half of a segment is one interval
      w.numbers.push_back(at::full({batch_rows}, 0.5, at::kDouble));
      end = 0.8 - 0.5 * late;
    }
    w.numbers.push_back(place);
    w.numbers.push_back(w.noise);
    // Places of the grid at which it is drawn: those of its points are 0 to 4.
    const Tensor last = (2 + 2 * late) - (random_end ? 1.0 : 0.0), first = within ? 2 * late : at::zeros_like(late);
    const Tensor at_place = first + place * (last - first);
    const auto between = [&](double low, const Tensor& here, double a, double b) { return a + (here - low) * (b - a); };
    t = at::where(at_place < 1, between(0, at_place, 1, 0.8),
                  at::where(at_place < 2, between(1, at_place, 0.8, 0.6),
                            at::where(at_place < 3, between(2, at_place, 0.6, 0.3), between(3, at_place, 0.3, 0))));
  }

  // By the times that were drawn, to the last bit: labels are rounded.
  void state_at(const Tensor& drawn) {
    t = drawn;
    const Tensor ones = at::ones({batch_rows}, at::kDouble);
    const Tensor stepped = (w.z - 0.4 * velocity(w.z, ones)).detach();
    const Tensor state = at::where(col(late) > 0, stepped, w.z);
    const Tensor u = velocity(state, from);
    x = state - col(from) * u;
    const Tensor moved = state - col(from - end) * u, scale = (1 - t) / (1 - end);
    x_t = col(scale) * moved + col((t.square() - (scale * end).square()).sqrt()) * w.noise;
  }

  Tensor fake(const Tensor& at) { return at - col(t) * w.weights["fake"](at, {told(t)}); }
};

}  // namespace

TEST_CASE("tdm matches the student's way within a segment, and weights the fake network by how likely its noise is") {
  for (const bool within : {true, false}) {
    for (const bool random_end : {false, true}) {
      for (const bool importance : {true, false}) {
        CAPTURE(within);
        CAPTURE(random_end);
        CAPTURE(importance);
        Segments s(within, random_end);
        const auto word = [](bool b) { return b ? "true" : "false"; };
        const LossValue got =
            s.w.run("tdm", std::string("steps = 2\ndistance = \"pseudo_huber\"\nnoise_to = ") +
                               (within ? "\"segment\"" : "\"noisiest\"") + "\nrandom_end = " + word(random_end) +
                               "\nimportance = " + word(importance));
        CHECK(most(got.t - s.t) < 1e-14);
        s.state_at(got.t);
        const Tensor teacher = denoised(s.x_t, s.t).detach(), fake = s.fake(s.x_t.detach());
        const Tensor off = s.x - (s.x + teacher - fake).detach();
        s.w.agree(got.per_row,
                  ((off.square() + 1e-6).sqrt() - 1e-3).mean(1) / ((s.x - teacher).detach().abs().mean(1) + 1e-6),
                  "student");
        const Tensor snr = ((1 - s.t) / s.t).square().clamp_max(5);
        const Tensor mixed = ((s.x_t - col(1 - s.t) * s.x) / col(s.t)).detach();
        const Tensor likely = (s.w.noise.square().mean(1) / 2 - mixed.square().mean(1) / 2).exp();
        const Tensor error = (fake - s.x.detach()).square().mean(1) * snr;
        s.w.agree(got.roles.at("fake"), importance ? error * likely : error, "fake");
      }
    }
  }
}

TEST_CASE("a student that is not due has no value in tdm, and its fake network learns the same") {
  Segments s(true, false);
  const LossValue due = s.w.run("tdm", "steps = 2"), not_due = s.w.run("tdm", "steps = 2", false);
  CHECK(!not_due.per_row.defined());
  CHECK(at::equal(due.roles.at("fake"), not_due.roles.at("fake")));
}

TEST_CASE("a schedule of fewer intervals than tdm has segments is refused") {
  TestHost host;
  const auto loss = host.make_plugin<Loss>("tdm", "steps = 5");
  CHECK_THROWS_WITH_AS(loss->check_times(times({3, 2, 1, 0})),
                       "loss 'tdm': steps = 5: are more than the schedule's 3 intervals; expected that many at most",
                       Error);
}

TEST_CASE("tdm leads a student of four steps to the mixture") {
  Apprentice student("tdm", "student_every = 2\nfake_weight = \"edm\"", Makes::flow_map);
  const double before = student.distance(4);  // the teacher's own four steps, about
  student.train(400, 1e-3, 128);
  const double after = student.distance(4);
  MESSAGE("energy distance " << before << " before, " << after << " after");
  CHECK(before > 0.015);
  CHECK(after < 0.01);
}
