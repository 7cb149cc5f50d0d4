#include <ATen/ATen.h>

#include <cmath>
#include <set>

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
        world_(teacher_.process(), {{2}, label_inputs(2)}, subject.host),
        loss_(world_.build<Loss>(subject)) {}

  const Loss& loss() const { return *loss_; }

  /// The exact student knows where ways end, not what lies between: its best is known where it is to say the end of the
  /// teacher's solve, or follows no teacher.
  bool perfect_is_known() const {
    if (loss_->makes() == Makes::embedding) {
      return false;  // how well embeddings can be told apart is a matter of the batch
    }
    for (const Role& role : loss_->roles()) {
      if (role.name != "student" && role.update == Role::Update::trained) {
        return false;  // what a network that is in training, too, says of it
      }
    }
    return loss_->needs().solver ? loss_->makes() != Makes::flow_map : !loss_->needs().teacher;
  }

  struct Outcome {
    LossValue value;
    double total;            // of all rows
    Tensor student, target;  // gradients of their weights; undefined where none arrived
  };

  Outcome run(int64_t batch, double error, bool backward = false, Given* given = nullptr) const {
    // Only a single point of data can be denoised without error, or be followed without a teacher.
    const bool embeds = loss_->makes() == Makes::embedding;
    const bool point = loss_->makes() == Makes::denoiser || (!loss_->needs().teacher && !embeds);
    const auto student = std::make_shared<ExactStudent>(teacher_, error);
    const auto target = std::make_shared<ExactStudent>(teacher_, error);
    Batch data{teacher_.sample(batch, seeded(4, "data")).to(at::kFloat), {}};
    if (point) {
      student->denoise_to(0.5);
      target->denoise_to(0.5);
      data.x.fill_(0.5);
    }
    data.condition.set(inputs::labels, (data.x.select(1, 0) > 0).to(at::kLong));
    if (given != nullptr) {
      (*given)("batch.x", data.x);
      (*given)("labels", data.condition[inputs::labels]);
    }
    const bool two_times = loss_->needs().end_time;
    const Model student_model = ExactStudent::model(student, loss_->makes(), two_times);
    const Model target_model = ExactStudent::model(target, loss_->makes(), two_times);
    // A network of the loss's own is another student, and wrong in another way.
    const Model other = ExactStudent::model(std::make_shared<ExactStudent>(teacher_, error + 0.2), loss_->makes());
    std::vector<RoleModel> roles;
    for (const Role& role : loss_->roles()) {
      roles.push_back({role.name, &other, true});
    }
    const Ode ode(teacher_, data.condition);
    const TrainingStep step{.batch = data,
                            .student = student_model,
                            .target = target_model,
                            .ode = &ode,
                            .solver = &solver_,
                            .schedule = &schedule_,
                            .process = teacher_.process(),
                            .generator = seeded(4, "training"),
                            .progress = 0.5,
                            .spec = spec_,
                            .roles = roles};
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
  ModelSpec spec_{{2}, label_inputs(2)};
  World world_;
  std::shared_ptr<Loss> loss_;
};

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
    if (!lesson.perfect_is_known()) {
      return;
    }
    out.at_most("zero for a perfect student", std::abs(lesson.run(batch, 0).total), 1e-5, "where it is known");
  });
  out.run("greater for a wrong student", [&] {
    const Lesson lesson(subject);
    if (!lesson.perfect_is_known()) {
      return;
    }
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
  out.run("roles", [&] {
    const Lesson lesson(subject);
    std::set<std::string> names;
    for (const Role& role : lesson.loss().roles()) {
      const bool own = role.start != Role::Start::own || role.network != nullptr;
      out.add("role '" + role.name + "'",
              !role.name.empty() && names.insert(role.name).second && role.every >= 1 && role.decay >= 0 &&
                  role.decay < 1 && own,
              "every " + std::to_string(role.every) + ", decay " + spell(role.decay),
              "a name of its own, every 1 at least, decay 0 to under 1, and a network if it is to begin at one");
    }
    out.add("stages", lesson.loss().stages() >= 1, std::to_string(lesson.loss().stages()), "1 at least");
  });
}

}  // namespace retort::conformance
