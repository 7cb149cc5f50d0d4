/// A measurement of a model, or of a teacher.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "retort/dataset.h"
#include "retort/model.h"
#include "retort/solver.h"

namespace retort {

/// What is being measured. The host computes each item when it is first asked for, and keeps it.
///
/// With an autoencoder there are two spaces. Samples, reference and features are of pictures; start, endpoints, data,
/// model and ODE are of states, the latents. Without one they are the same.
class RETORT_API Evaluation {
 public:
  virtual ~Evaluation();

  /// [n, …] samples of the model that is measured (of the teacher in the teacher's own row). Pictures: to hold samples
  /// against states, take `sample_states`.
  virtual Tensor samples() const = 0;
  /// [m, …] what samples are compared with: real data, or the teacher's samples. Pictures; where the data are latents,
  /// what is decoded of these.
  virtual Tensor reference() const = 0;
  /// Features [n, F] of both in the configured feature network; the samples themselves, flattened, where there is none.
  virtual Tensor sample_features() const = 0;
  virtual Tensor reference_features() const = 0;
  /// The same features of any pictures; or of states, which are decoded before.
  virtual Tensor features(const Tensor& x) const = 0;

  /// The noise [n, …] that the samples began from, at the first time of the grid, and its conditions.
  virtual Batch start() const = 0;
  /// The ends [n, …] of the teacher's ODE from `start`, by the configured solver and grid; undefined without a teacher.
  virtual Tensor endpoints() const = 0;
  /// Clean data and conditions of the test split, at most n.
  virtual Batch data(int64_t n) const = 0;
  /// The data as they are before any are encoded: pictures where `data` has latents of pictures. `features` takes both.
  virtual const Dataset* dataset() const = 0;

  /// The model; null in the teacher's own row.
  virtual const Model* model() const = 0;
  /// The network of a model that makes no samples, such as a classifier; null in the teacher's own row. Throws
  /// RequestError for models that make samples.
  virtual CompiledNetwork* network() const = 0;
  /// Steps of the student's sampler; 0 in the teacher's own row.
  virtual int64_t student_steps() const = 0;
  /// The teacher's ODE, solver and grid; null without a teacher.
  virtual const Ode* ode() const = 0;
  virtual const Solver* solver() const = 0;
  virtual Tensor grid() const = 0;

  /// A random stream of the run's seed, the same for every model.
  virtual at::Generator generator(const char* stream) const = 0;
  /// A tensor that depends on teacher, start and data only: computed at first, then shared by all models.
  virtual Tensor shared(const std::string& key, const std::function<Tensor()>& compute) const = 0;
  /// The same for what depends neither on the solver, nor on the grid between its ends: shared by all solvers too.
  virtual Tensor shared_by_solvers(const std::string& key, const std::function<Tensor()>& compute) const;
  /// [n, …] the states that the samples were decoded from, to be held against `start`, `endpoints` and what the ODE
  /// makes of them; the samples themselves where there is no autoencoder, as by default.
  virtual Tensor sample_states() const;
};

struct Measurement {
  std::vector<std::pair<std::string, double>> values;
  /// Curves, such as an error against the noise level: name to (x, y) points.
  std::map<std::string, std::vector<std::pair<double, double>>> series;
};

class RETORT_API Metric {
 public:
  static constexpr const char* kind = "metric";
  using Interface = Metric;
  virtual ~Metric();

  /// Empty where the metric does not apply (a student's error in the teacher's own row, say).
  virtual Measurement measure(const Evaluation& evaluation) const = 0;

  /// What `retort check` holds it to. The values, by name, that a perfect model gets: its samples are the reference
  /// itself and the exact ends of the teacher's ODE. None by default.
  virtual std::vector<std::pair<std::string, double>> ideal() const;
  /// Whether the values stay the same when samples and reference change places.
  virtual bool symmetric() const;
};

}  // namespace retort
