#include <ATen/ATen.h>

#include <cmath>
#include <optional>

#include "retort/ode.h"
#include "world.h"

namespace retort::conformance {

namespace {

class Study {
 public:
  explicit Study(const Subject& subject, c10::ScalarType dtype = at::kDouble)
      : world_(make_process("ve"), {{2}}, subject.host, dtype), teacher_(world_.build<Teacher>(subject)) {}

  const Teacher& teacher() const { return *teacher_; }
  const Process& process() const { return teacher_->process(); }

  // States of the scale that the process has at those times: [B, …].
  Tensor states(const Tensor& t, uint64_t seed) const {
    std::vector<int64_t> shape = teacher_->shape();
    shape.insert(shape.begin(), t.size(0));
    const Tensor z = at::randn(shape, seeded(seed, "states"), at::TensorOptions().dtype(at::kDouble));
    return rows((process().alpha(t).square() * 0.25 + process().sigma(t).square()).sqrt(), z) * z;
  }
  Conditioning condition(int64_t n) const {
    Conditioning out;
    for (const Input& input : teacher_->inputs()) {
      if (input.classes > 0) {
        out.set(input.name, at::arange(n, at::kLong).remainder(input.classes));
      } else {
        std::vector<int64_t> shape = input.shape;
        shape.insert(shape.begin(), n);
        out.set(input.name, at::randn(shape, seeded(3, input.name.c_str()), at::TensorOptions().dtype(at::kFloat)));
      }
    }
    return out;
  }
  // Times strictly within the process, and with `ends` its first and its last too.
  Tensor times(int64_t n, bool ends) const {
    const Tensor grid = even_grid(process(), n + 1);
    return ends ? grid : grid.narrow(0, 1, n).contiguous();
  }

 private:
  World world_;
  std::shared_ptr<Teacher> teacher_;
};

void check_predictions(const Subject& subject, Findings& out) {
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const Study study(subject, dtype);
    const Tensor t = study.times(6, true);
    const Conditioning condition = study.condition(t.size(0));
    const Tensor x = study.states(t, 1).to(dtype);
    const std::string name = std::string("predicts in ") + c10::toString(dtype);
    const Tensor y = study.teacher().predict(x, t, condition);
    out.add(
        name, y.sizes() == x.sizes() && y.scalar_type() == dtype && all_finite(y),
        spell_shape(y.sizes()) + " " + c10::toString(y.scalar_type()) + (all_finite(y) ? ", finite" : ", not finite"),
        spell_shape(x.sizes()) + " " + c10::toString(dtype) + ", finite at both ends of the process");
  }
}

void check_rows(const Subject& subject, Findings& out) {
  const at::NoGradGuard no_grad;
  const Study study(subject, at::kFloat);
  const Tensor t = study.times(6, true);
  const Conditioning condition = study.condition(t.size(0));
  const Tensor x = study.states(t, 1).to(at::kFloat);
  const Tensor together = study.teacher().predict(x, t, condition);
  std::vector<Tensor> alone;
  for (int64_t i = 0; i < t.size(0); ++i) {
    const Tensor one = at::full({1}, i, at::kLong);
    alone.push_back(study.teacher().predict(x.narrow(0, i, 1), t.narrow(0, i, 1), condition.select(one)));
  }
  out.at_most("rows are independent", largest(together - at::cat(alone)) / (1 + largest(together)), 1e-4,
              "batch and single rows differ by");
  Given given;
  given("x", x);
  given("t", t);
  for (const auto& [name, rows] : condition) {
    given(name.c_str(), rows);
  }
  const bool same = same_bits(together, study.teacher().predict(x, t, condition));
  given.check(out);
  out.add("deterministic", same, same ? "equal bits" : "differs", "equal bits from equal inputs");
}

void check_round_trip(const Study& study, Findings& out) {
  const Tensor t = study.times(6, false);
  const Tensor x = study.states(t, 2);
  const Process& process = study.process();
  const Conditioning condition = study.condition(t.size(0));
  const Ode::Prediction p = Ode(study.teacher(), condition).predict(x, t);
  const Tensor again = rows(process.alpha(t), x) * p.data + rows(process.sigma(t), x) * p.noise;
  out.at_most("alpha D + sigma eps = x", rms(again - x) / rms(x), 1e-6, "relative error");
  const at::NoGradGuard no_grad;
  const Tensor output = study.teacher().predict(x, t, condition);
  const Tensor target = study.teacher().parametrisation().target(process, t, p.data, p.noise);
  out.at_most("parametrisation, there and back", rms(target - output) / rms(output), 1e-5, "relative error");
}

void check_score(const Study& study, Findings& out) {
  const Tensor t = study.times(5, false);
  const Tensor x = study.states(t, 3);
  const Teacher& teacher = study.teacher();
  const Tensor density = teacher.log_density(x, t);
  if (!density.defined()) {
    out.add("score", true, "no density is known", "agreement where a density is known");
    return;
  }
  // Central differences of log p, coordinate by coordinate, against D = (x + sigma^2 score) / alpha.
  const Tensor flat = x.flatten(1);
  const Process& process = study.process();
  Tensor score = at::zeros_like(flat);
  const Tensor h = (1e-4 * (process.sigma(t) + 0.01 * process.alpha(t))).unsqueeze(1);
  for (int64_t i = 0; i < flat.size(1); ++i) {
    Tensor step = at::zeros_like(flat);
    step.select(1, i).copy_(h.squeeze(1));
    const Tensor up = teacher.log_density((flat + step).view(x.sizes()), t);
    const Tensor down = teacher.log_density((flat - step).view(x.sizes()), t);
    score.select(1, i).copy_((up - down) / (2 * h.squeeze(1)));
  }
  const Tensor data = Ode(teacher, study.condition(t.size(0))).data(x, t).flatten(1);
  const Tensor expected = (flat + process.sigma(t).square().unsqueeze(1) * score) / process.alpha(t).unsqueeze(1);
  out.at_most("score", rms(data - expected) / rms(expected), 1e-4,
              "relative error of the data prediction against the numerical score of its density");
}

void check_numbers(const Study& study, Findings& out) {
  const Teacher& teacher = study.teacher();
  out.add("shape", !teacher.shape().empty(), spell_shape(teacher.shape()), "of one sample, one dimension at least");
  out.add("cost", teacher.cost() >= 1, std::to_string(teacher.cost()), "1 or more evaluations a row");
}

}  // namespace

void check_teacher(const Subject& subject, Findings& out) {
  std::optional<Study> study;
  out.run("is built", [&] { study.emplace(subject); });
  if (!study) {
    return;
  }
  out.run("shape", [&] { check_numbers(*study, out); });
  out.run("predicts", [&] { check_predictions(subject, out); });
  out.run("rows are independent", [&] { check_rows(subject, out); });
  out.run("round trip", [&] { check_round_trip(*study, out); });
  out.run("score", [&] { check_score(*study, out); });
}

}  // namespace retort::conformance
