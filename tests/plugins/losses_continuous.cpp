// Losses of consistency models in continuous time, held against formulas written here a second time.
#include "support/consistency_lesson.h"

using namespace retort;
using namespace retort::test;

namespace {

// TrigFlow by hand, on the variance-exploding process and for a network that says EDM's F, which is minus TrigFlow's.
struct Trig {
  Tensor tau, cos, sin, x, velocity, t;
  Said f;  // sd F, and cos sin times its derivative along the way

  Trig(Lesson& l, const Tensor& t_, const Tensor& noise, bool of_teacher) : t(t_) {
    tau = (t / 0.5).atan().unsqueeze(1);
    cos = tau.cos();
    sin = tau.sin();
    const Tensor z = 0.5 * noise, noised = l.data + noise * t.unsqueeze(1);
    x = cos * l.data + sin * z;
    const Ode ode(*l.teacher);
    const Tensor clean = of_teacher ? ode.data(noised, t) : l.data;
    velocity = of_teacher ? (cos * x - clean) / sin : cos * z - sin * l.data;
    const Said edm = say(l.network, x / 0.5, t.log() / 4, cos * sin * velocity / 0.5, at::full_like(t, 0.25));
    f = {-0.5 * edm.value, -0.5 * edm.derivative};
  }
};

}  // namespace

TEST_CASE("simplified continuous-time consistency is its formula, from data and from a teacher") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  const Tensor t = (z * 1.4 - 1.0).exp();
  for (const bool of_teacher : {false, true}) {
    const std::string toml = std::string("velocity = \"") + (of_teacher ? "teacher" : "data") + "\"\n";
    for (const double progress : {0.0, 0.04, 0.5}) {
      CAPTURE(progress);
      l.progress = progress;
      const double r = std::min(1.0, progress / 0.1);
      const Trig w(l, t, noise, of_teacher);
      const Tensor f = w.f.value, still = f.detach();
      const Tensor g = -w.cos.square() * (still - w.velocity) - r * (w.cos * w.sin * w.x + w.f.derivative);
      const Tensor sum = g.norm(2, {1}, true), mean = g.square().mean(1, true).sqrt();
      const std::pair<const char*, Tensor> tangents[] = {
          {"", g / (sum + 0.1)},
          {"tangent_norm = \"mean\"\ntangent_constant = 0.3", g / (mean + 0.3)},
          {"tangent = \"clipped\"", g.clamp(-1, 1)},
          {"tangent = \"plain\"", g}};
      for (const auto& [more, step] : tangents) {
        CAPTURE(more);
        const auto error = [&](const Tensor& out) { return ((out - still) / 0.5 - step).square().mean(1); };
        const auto got = l.run("scm", toml + "derivative = \"jvp\"\n" + more, {z, noise});
        same(l, got, error(f) / t, 1e-9);  // slopes of the coefficients have about twelve digits
        const auto difference = l.run("scm", toml + more, {z, noise});
        CHECK(test::most(difference.gradient - got.gradient) < 1e-3 * test::most(got.gradient));
        same(l, l.run("scm", toml + "derivative = \"jvp\"\nprior = \"none\"\n" + more, {z, noise}), error(f), 1e-9);
      }
      CHECK(l.run("scm", toml, {z, noise}).evaluations == (of_teacher ? batch : 0));
    }
  }
}

TEST_CASE("the learned variance weighs rows, and is trained by its own value alone") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6), t = (z * 1.4 - 1.0).exp();
  const auto plain = l.run("scm", "", {z, noise});
  const auto got = l.run("scm", "variance = \"learned\"", {z, noise});
  const Tensor u = say(l.other, at::zeros({batch, 2}, at::kDouble), t.log() / 4).value.mean(1);
  CHECK(test::most(got.value.per_row - plain.value.per_row * (-u).exp()) < 1e-12);
  const Tensor own = got.value.roles.at("variance"), wanted = plain.value.per_row.detach() * (-u).exp() + u;
  CHECK(test::most(own - wanted) < 1e-12);
  CHECK(test::most(Lesson::gradient(l.other, own.mean()) - Lesson::gradient(l.other, wanted.mean())) < 1e-12);
  CHECK(test::most(Lesson::gradient(l.network, own.mean() + 0 * got.value.per_row.mean())) == 0);
  CHECK(test::most(Lesson::gradient(l.other, got.value.per_row.mean() + 0 * own.mean())) == 0);
}

TEST_CASE("continuous-time consistency moves f against its derivative along the way") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6), t = (z * 1.2 - 1.2).exp();
  for (const bool of_teacher : {false, true}) {
    const Trig w(l, t, noise, of_teacher);
    // In EDM's terms: f = c_skip x + c_out F, x = X / cos tau, and dx/dt the noise that the way has.
    const Tensor s = t.unsqueeze(1), square = s * s + 0.25, root = square.sqrt(), x = l.data + noise * s;
    const Tensor dx = of_teacher ? (x - Ode(*l.teacher).data(x, t)) / s : noise;
    const Said f = say(l.network, x / root, t.log() / 4, dx / root - x * s / (square * root), 0.25 / t);
    const Tensor slope = 0.25 / square * dx - 0.5 * s / square.square() * x +
                         0.5 * (0.25 / (square * root)) * f.value.detach() + 0.5 * s / root * f.derivative;
    const Tensor out = denoiser(l.network, x, t);
    const auto got =
        l.run("continuous_cm",
              std::string("derivative = \"jvp\"\nvelocity = \"") + (of_teacher ? "teacher\"" : "data\""), {z, noise});
    same(l, got, 0.5 * (out - out.detach() + slope).square().sum(1), 1e-9);
    // The gradient is that of the pseudo-objective.
    const Tensor pseudo = Lesson::gradient(l.network, (out * slope).sum(1).mean());
    CHECK(test::most(got.gradient - pseudo) < 1e-9 * test::most(pseudo));
  }
}

TEST_CASE("the derivative along the way is the limit of differences, whatever the process and what is predicted") {
  const std::pair<const char*, Predicts> worlds[] = {
      {"type = \"ve\"", Predicts::edm},          {"type = \"vp_linear\"", Predicts::noise},
      {"type = \"vp_cosine\"", Predicts::v},     {"type = \"rectified_flow\"", Predicts::flow},
      {"type = \"trigonometric\"", Predicts::v}, {"type = \"rectified_flow\"", Predicts::data},
      {"type = \"vp_linear\"", Predicts::edm}};
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  for (const auto& [process, predicts] : worlds) {
    CAPTURE(process);
    CAPTURE(static_cast<int>(predicts));
    Lesson l("heun", "steps = 12", process);
    l.form = Parametrisation(predicts, 0.5);
    l.progress = 0.5;
    const auto by = [&](const std::string& loss, const std::string& toml) {
      return l.run(loss, toml + "\nlog_sigma_mean = -0.5\nlog_sigma_std = 0.7", {z, noise}).gradient;
    };
    for (const char* loss : {"scm", "continuous_cm"}) {
      const Tensor exact = by(loss, "derivative = \"jvp\"");
      const auto apart = [&](const char* step) {
        return test::most(by(loss, std::string("difference_step = ") + step) - exact) / test::most(exact);
      };
      CHECK(apart("0.005") < 1e-3);
      // Of second order, down to the float32 of the label.
      CHECK(apart("0.1") > 10 * apart("0.01"));
    }
  }
}

TEST_CASE("continuous-time losses are of the signal-to-noise ratio, not of the process") {
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  for (const char* loss : {"scm", "continuous_cm"}) {
    for (const char* velocity : {"data", "teacher"}) {
      CAPTURE(velocity);
      const auto on = [&](const char* process) {
        Lesson l("heun", "steps = 12", process);
        l.form = Parametrisation(Predicts::edm, 0.5, Sees::edm);
        l.progress = 0.5;
        return l.run(loss, std::string("derivative = \"jvp\"\nvelocity = \"") + velocity + "\"", {z, noise});
      };
      const auto ve = on("type = \"ve\"");
      for (const char* process : {"type = \"rectified_flow\"", "type = \"vp_linear\"", "type = \"trigonometric\""}) {
        CAPTURE(process);
        const auto other = on(process);
        // Labels that differ in the last place may be rounded to either side.
        CHECK(test::most(other.value.per_row - ve.value.per_row) < 1e-6 * test::most(ve.value.per_row));
        CHECK(test::most(other.gradient - ve.gradient) < 1e-6 * test::most(ve.gradient));
      }
    }
  }
}
