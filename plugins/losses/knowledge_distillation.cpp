/// Knowledge distillation: a generator of one step, which learns where the teacher's ODE leads from pure noise.
///
/// At each step noise is drawn, the teacher's ODE is solved from it to the end, and the student's one step from the
/// same noise is compared with what came out. The data set gives the conditions alone. Source: Luhman & Luhman 2021
/// (arXiv 2101.02388), eq. 7.
///
///     [loss]
///     type = "knowledge_distillation"
///     distance = "l2"
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class KnowledgeDistillation final : public Loss {
 public:
  explicit KnowledgeDistillation(Params& p) : distance_(p) {}

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const NoiseDataPair pair = step.pair();
    const Tensor made = step.student.endpoint(pair.noise, pair.t, step.batch.condition);
    return {distance_(made, pair.data), pair.t};
  }

 private:
  Distance distance_;
};

RETORT_PLUGIN(KnowledgeDistillation, loss, knowledge_distillation)
