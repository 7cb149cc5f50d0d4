/// The small exact world that plugins are checked in: a teacher whose flow is known, a schedule, a backend, a host.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "retort/conformance.h"
#include "retort/loss.h"
#include "retort/metric.h"

namespace retort::conformance {

/// "ve", "vp_linear", … with their default parameters.
Process make_process(const std::string& name);
extern const std::vector<std::string> process_names;

/// The exact teacher of data whose coordinates are independent draws from one Gaussian mixture on the line.
///
/// On the line the flow of the ODE keeps quantiles, F_t(x_t) = F_s(x_s), so it is known without solving anything. The
/// mixture is not Gaussian, so the ODE is not linear, and solvers show their true order.
class ExactTeacher final : public Teacher {
 public:
  ExactTeacher(Process process, std::vector<int64_t> shape) : process_(std::move(process)), shape_(std::move(shape)) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override;
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {Predicts::v, 1.0}; }
  std::vector<int64_t> shape() const override { return shape_; }

  /// Where the exact flow takes x: [B, …] from t: [B] to s: [B], in x's dtype.
  Tensor transport(const Tensor& x, const Tensor& t, const Tensor& s) const;
  /// [n, …] float64 samples of the data.
  Tensor sample(int64_t n, at::Generator generator) const;

 private:
  Process process_;
  std::vector<int64_t> shape_;
};

/// Steps by the exact flow.
class ExactSolver final : public Solver {
 public:
  explicit ExactSolver(const ExactTeacher& teacher) : teacher_(teacher) {}
  int order() const override { return 1; }
  int evaluations() const override { return 0; }
  Tensor step(const Step& step, const Tensor& x) const override {
    return teacher_.transport(x, step.from.t(), step.to.t());
  }

 private:
  const ExactTeacher& teacher_;
};

/// Times from t_max to 0, even in the angle atan2(sigma, alpha).
Tensor even_grid(const Process& process, int64_t intervals, double t_max = 0);
/// The noisiest time to begin from: the process's own, or 20 where it has no end.
double first_time(const Process& process);

class EvenSchedule final : public Schedule {
 public:
  explicit EvenSchedule(int64_t intervals) : intervals_(intervals) {}
  Tensor times(const Process& process, double) const override { return even_grid(process, intervals_); }

 private:
  int64_t intervals_;
};

/// Plain LibTorch in float32 or float64.
class PlainBackend final : public Backend {
 public:
  explicit PlainBackend(c10::ScalarType dtype) : dtype_(dtype) {}
  c10::Device device() const override { return at::kCPU; }
  c10::ScalarType dtype() const override { return dtype_; }
  void place(Network& network) const override;
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override;
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override;
  std::string describe() const override { return "LibTorch"; }

 private:
  c10::ScalarType dtype_;
};

/// A student whose network output makes its consistency function exact, plus `error` times a trainable number, 1 at
/// first. Called without noise it is a classifier of two classes, the sign of a sample's first number, or, given
/// `inputs::posterior_noise`, an autoencoder.
class ExactStudent final : public CompiledNetwork {
 public:
  ExactStudent(const ExactTeacher& teacher, double error);
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override;
  /// A model around a student, in the teacher's process.
  static Model model(std::shared_ptr<ExactStudent> student, Makes makes = Makes::consistency, bool two_times = false);

  const Tensor& weight() const { return weight_; }
  /// Let it predict this point instead of the exact flow: a perfect denoiser of data that is one point.
  void denoise_to(double point) { point_ = point; }

 private:
  const ExactTeacher& teacher_;
  double error_;
  Tensor weight_;
  double point_;
};

class World final : public Host {
 public:
  World(Process process, ModelSpec spec, Host* others, c10::ScalarType dtype = at::kFloat)
      : process_(std::move(process)), spec_(std::move(spec)), others_(others), backend_(dtype) {}
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override;
  const Process& process() const override { return process_; }
  bool process_given() const override { return true; }
  ModelSpec spec() const override { return spec_; }
  const Backend& backend() const override { return backend_; }
  Checkpoint checkpoint(const std::string& path) override;
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override;

  /// The subject, built here with its parameters and those of `more`.
  template <class T>
  std::shared_ptr<T> build(const Subject& subject, const Table& more = {}) {
    return std::static_pointer_cast<T>(build_any(subject, more));
  }

 private:
  std::shared_ptr<void> build_any(const Subject& subject, const Table& more);

  Process process_;
  ModelSpec spec_;
  Host* others_;
  PlainBackend backend_;
};

/// The parameters in force for the subject, examples and defaults included.
Value parameters(const Subject& subject);

/// Collects properties; what a check throws becomes a property that does not hold.
class Findings {
 public:
  void add(const std::string& name, bool holds, const std::string& measured, const std::string& expected);
  /// measured <= limit
  void at_most(const std::string& name, double measured, double limit, const std::string& what = "");
  void run(const std::string& name, const std::function<void()>& body);
  std::vector<Property> take() { return std::move(properties_); }

 private:
  std::vector<Property> properties_;
};

/// Tensors that a subject is given, and must leave as they are, since others hold them too.
class Given {
 public:
  const Tensor& operator()(const std::string& name, const Tensor& t) {
    kept_.push_back({name, t, t.clone()});
    return t;
  }
  /// The property, found after the calls.
  void check(Findings& out) const;

 private:
  struct Kept {
    std::string name;
    Tensor given, before;
  };
  std::vector<Kept> kept_;
};

std::string spell(double value);
double rms(const Tensor& x);
double largest(const Tensor& x);
bool all_finite(const Tensor& x);
bool same_bits(const Tensor& a, const Tensor& b);
std::string spell_shape(at::IntArrayRef shape);

void check_teacher(const Subject&, Findings&);
void check_solver(const Subject&, Findings&);
void check_loss(const Subject&, Findings&);
void check_schedule(const Subject&, Findings&);
void check_network(const Subject&, Findings&);
void check_dataset(const Subject&, Findings&);
void check_metric(const Subject&, Findings&);
void check_tracker(const Subject&, Findings&);
void check_backend(const Subject&, Findings&);
void check_autoencoder(const Subject&, Findings&);

}  // namespace retort::conformance
