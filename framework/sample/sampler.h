/// Samples of students and teachers, always from the same noise.
#pragma once

#include <optional>

#include "config/experiment.h"
#include "retort/model.h"

namespace retort {

/// Throws Error, with the first row and how many there are, where rows of x: [n, …] are not finite. `what` are they?
void require_finite(const Tensor& x, const std::string& what);

/// Noise [n, …] at the first time of the grid, and conditions (sample/conditions.h).
/// Row i depends on the seed and i alone, so that every model begins from the same. `guidance` is the weight of all
/// rows, for guided models.
Batch starting_noise(const Experiment& experiment, const Tensor& grid, int64_t n, int64_t seed, double guidance = 1);
/// The middle of the teacher's range of guidance weights; 1 where it has none.
double middle_guidance(const Experiment& experiment);

/// Where the steps of a student's sampler begin, and where the last one ends: [steps + 1] float64. Between the ends of
/// the grid stand the times of that list of `chosen` which has one less than `steps`; where there is none, those of the
/// grid at indices round(k N / steps), as latent consistency models space them. Throws RequestError for more steps than
/// the grid has intervals.
Tensor sampler_times(const Tensor& grid, int64_t steps, const std::vector<std::vector<double>>& chosen = {});

/// Samples of what makes them by itself, by steps between those times: [steps + 1]. A flow map jumps from one to the
/// next, and a policy is walked from one to the next, after one evaluation each. Others by consistency sampling: x0 =
/// f(x, t), then noise to the next time, and again (Song et al. 2023, algorithm 1). Where the last time is above zero,
/// the noise added is what is missing from there: sqrt(t^2 - t_end^2) on a variance-exploding process. The noise of row
/// i depends on the seed and i alone. Throws RequestError for several steps of a generator, Error where samples are not
/// finite.
///
/// With `gamma` in [0, 1] between two steps the model moves to time (1 - gamma) t first, and noise leads from there to
/// the next time t: 0 draws no noise, 1 draws all of it anew. A consistency function moves by the DDIM step towards its
/// end. It is the gamma of Kim et al. 2023 (CTM, algorithm 3), Zheng et al. 2024 (TCD, algorithm 4) and Sabour et al.
/// 2025 (Align Your Flow). Without it consistency functions take 1, flow maps and policies 0.
Tensor sample_student(const Model& model, const Tensor& times, const Batch& start, int64_t batch, int64_t seed,
                      std::optional<double> gamma = {});

/// Ends of the teacher's ODE, or, by a stochastic solver, of the reverse SDE, whose noise in row i depends on the seed
/// and i alone. Throws Error where they are not finite.
Tensor sample_teacher(const Ode& ode, const Solver& solver, const Tensor& grid, const Batch& start, int64_t batch,
                      int64_t seed);

/// A trained denoiser as a teacher, to be sampled by a solver.
class ModelTeacher final : public Teacher {
 public:
  ModelTeacher(Model model, ModelSpec spec) : model_(std::move(model)), spec_(std::move(spec)) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    return model_.raw(x, t, condition);
  }
  const Process& process() const override { return model_.process(); }
  Parametrisation parametrisation() const override { return model_.parametrisation(); }
  std::vector<int64_t> shape() const override { return spec_.shape; }
  std::vector<Input> inputs() const override { return spec_.inputs; }

 private:
  Model model_;
  ModelSpec spec_;
};

}  // namespace retort
