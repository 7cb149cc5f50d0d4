#include <ATen/ATen.h>

#include <cmath>

#include "world.h"

namespace retort::conformance {

namespace {

// A training step in the exact world. On rectified flow all times are in [0, 1] and both ends are met.
class Lesson {
 public:
  Lesson(const Subject& subject)
      : teacher_(make_process("rectified_flow"), {2}),
        solver_(teacher_),
        schedule_(8),
        world_(teacher_.process(), {{2}, 2}, subject.host),
        loss_(world_.build<Loss>(subject)) {}

  const Loss& loss() const { return *loss_; }

  struct Outcome {
    LossValue value;
    double total;            // of all rows
    Tensor student, target;  // gradients of their weights; undefined where none arrived
  };

  Outcome run(int64_t batch, double error, bool backward = false, Given* given = nullptr) const {
    // Only a single point of data can be denoised without error.
    const bool point = loss_->objective() == Objective::denoiser;
    const auto student = std::make_shared<ExactStudent>(teacher_, error);
    const auto target = std::make_shared<ExactStudent>(teacher_, error);
    Batch data{teacher_.sample(batch, seeded(4, "data")).to(at::kFloat), {}};
    if (point) {
      student->denoise_to(0.5);
      data.x.fill_(0.5);
    }
    data.condition.set(inputs::labels, (data.x.select(1, 0) > 0).to(at::kLong));
    if (given != nullptr) {
      (*given)("batch.x", data.x);
      (*given)("labels", data.condition[inputs::labels]);
    }
    const Model student_model = ExactStudent::model(student), target_model = ExactStudent::model(target);
    const Ode ode(teacher_, data.condition);
    const TrainingStep step{data,       student_model,      target_model,          &ode, &solver_,
                            &schedule_, teacher_.process(), seeded(4, "training"), 0.5,  spec_};
    Outcome out{(*loss_)(step), 0, {}, {}};
    const Tensor total = out.value.per_row.to(at::kDouble).mean();
    out.total = total.item<double>();
    if (backward) {
      total.backward();
      out.student = student->weight().grad();
      out.target = target->weight().grad();
    }
    return out;
  }

 private:
  ExactTeacher teacher_;
  ExactSolver solver_;
  EvenSchedule schedule_;
  ModelSpec spec_{{1}, label_inputs(2)};
  World world_;
  std::shared_ptr<Loss> loss_;
};

const char* spell(Objective objective) {
  switch (objective) {
    case Objective::denoiser:
      return "denoiser";
    case Objective::consistency:
      return "consistency function";
    case Objective::classifier:
      return "classifier";
  }
  return "unknown";
}

}  // namespace

void check_loss(const Subject& subject, Findings& out) {
  constexpr int64_t batch = 64;
  constexpr double wrong = 0.3;
  out.run("any batch size", [&] {
    const Lesson lesson(subject);
    for (const int64_t n : {int64_t{1}, int64_t{2}, int64_t{7}, batch}) {
      const LossValue value = lesson.run(n, wrong).value;
      const bool shaped = value.per_row.dim() == 1 && value.per_row.size(0) == n;
      const bool times = !value.t.defined() || (value.t.dim() == 1 && value.t.size(0) == n);
      out.add("a batch of " + std::to_string(n), shaped && times && all_finite(value.per_row),
              spell_shape(value.per_row.sizes()) + (all_finite(value.per_row) ? ", finite" : ", not finite"),
              "[" + std::to_string(n) + "], finite");
    }
  });
  out.run("zero for a perfect student", [&] {
    const Lesson lesson(subject);
    out.at_most("zero for a perfect student", std::abs(lesson.run(batch, 0).total), 1e-5,
                std::string("on the exact ") + spell(lesson.loss().objective()));
  });
  out.run("greater for a wrong student", [&] {
    const Lesson lesson(subject);
    const double perfect = lesson.run(batch, 0).total, total = lesson.run(batch, wrong).total;
    out.add("greater for a wrong student", total > perfect + 1e-6, spell(total) + " against " + spell(perfect),
            "more than the perfect student's");
  });
  out.run("differentiable", [&] {
    const auto result = Lesson(subject).run(batch, wrong, true);
    const bool there = result.student.defined() && all_finite(result.student);
    const double gradient = there ? largest(result.student) : 0;
    out.add("differentiable", gradient > 0, "gradient " + spell(gradient) + " of the student's weight",
            "finite and not zero");
    const double other = result.target.defined() ? largest(result.target) : 0;
    out.add("gradients to the student alone", other == 0, "gradient " + spell(other) + " of the target's weight", "0");
  });
  out.run("reproducible", [&] {
    const Lesson lesson(subject);
    const bool same = same_bits(lesson.run(batch, wrong).value.per_row, lesson.run(batch, wrong).value.per_row);
    out.add("reproducible", same, same ? "equal bits" : "differs", "equal bits from equal random streams");
  });
  out.run("leaves its inputs as they are", [&] {
    Given given;
    Lesson(subject).run(batch, wrong, true, &given);
    given.check(out);
  });
  out.run("target decay", [&] {
    const double decay = Lesson(subject).loss().target_decay();
    out.add("target decay", decay >= 0 && decay < 1, spell(decay), "0 to under 1");
  });
}

}  // namespace retort::conformance
