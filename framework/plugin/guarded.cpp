#include "plugin/guarded.h"

#include "retort/dataset.h"
#include "retort/host.h"
#include "retort/loss.h"
#include "retort/metric.h"

namespace retort {

thread_local const PluginFile* running_plugin = nullptr;

namespace {

// One class per interface; every virtual function calls the plugin's own within guarded().
template <class T>
class Guard : public T {
 public:
  Guard(const PluginFile& file, std::shared_ptr<void> object)
      : file_(file), inner_(std::static_pointer_cast<T>(std::move(object))) {}

 protected:
  template <class F>
  auto call(F f) const {
    return guarded(file_, [&] { return f(*inner_); });
  }

 private:
  const PluginFile& file_;
  std::shared_ptr<T> inner_;
};

class GuardedTeacher final : public Guard<Teacher> {
 public:
  using Guard::Guard;
  Tensor predict(const Tensor& x, const Tensor& t, const Condition& condition) const override {
    return call([&](auto& p) { return p.predict(x, t, condition); });
  }
  // Teachers hand out what they hold, so this is called often and cannot be copied.
  const Process& process() const override {
    return *call([](auto& p) { return &p.process(); });
  }
  Parametrisation parametrisation() const override {
    return call([](auto& p) { return p.parametrisation(); });
  }
  std::vector<int64_t> shape() const override {
    return call([](auto& p) { return p.shape(); });
  }
  int64_t classes() const override {
    return call([](auto& p) { return p.classes(); });
  }
  int64_t cost() const override {
    return call([](auto& p) { return p.cost(); });
  }
  std::optional<std::pair<double, double>> guidance() const override {
    return call([](auto& p) { return p.guidance(); });
  }
  Tensor log_density(const Tensor& x, const Tensor& t) const override {
    return call([&](auto& p) { return p.log_density(x, t); });
  }
};

class GuardedSolver final : public Guard<Solver> {
 public:
  using Guard::Guard;
  int order() const override {
    return call([](auto& p) { return p.order(); });
  }
  int evaluations() const override {
    return call([](auto& p) { return p.evaluations(); });
  }
  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History& history) const override {
    return call([&](auto& p) { return p.step(ode, x, t, s, history); });
  }
};

class GuardedLoss final : public Guard<Loss> {
 public:
  using Guard::Guard;
  LossValue operator()(const TrainingStep& step) const override {
    return call([&](auto& p) { return p(step); });
  }
  Objective objective() const override {
    return call([](auto& p) { return p.objective(); });
  }
  double target_decay() const override {
    return call([](auto& p) { return p.target_decay(); });
  }
};

class GuardedSchedule final : public Guard<Schedule> {
 public:
  using Guard::Guard;
  Tensor times(const Process& process, double progress) const override {
    return call([&](auto& p) { return p.times(process, progress); });
  }
  bool changes() const override {
    return call([](auto& p) { return p.changes(); });
  }
  Tensor draw(int64_t intervals, int64_t count, at::Generator generator) const override {
    return call([&](auto& p) { return p.draw(intervals, count, generator); });
  }
};

class GuardedNetwork final : public Guard<Network> {
 public:
  using Guard::Guard;
  Tensor forward(const Tensor& x, const Tensor& noise, const Tensor& labels) override {
    return call([&](auto& p) { return p.forward(x, noise, labels); });
  }
  Tensor features(const Tensor& x) override {
    return call([&](auto& p) { return p.features(x); });
  }
  bool guided() const override {
    return call([](auto& p) { return p.guided(); });
  }
  std::shared_ptr<torch::nn::Module> module() override {
    return call([](auto& p) { return p.module(); });
  }
};

class GuardedDataset final : public Guard<Dataset> {
 public:
  using Guard::Guard;
  std::vector<int64_t> shape() const override {
    return call([](auto& p) { return p.shape(); });
  }
  int64_t classes() const override {
    return call([](auto& p) { return p.classes(); });
  }
  std::vector<std::string> class_names() const override {
    return call([](auto& p) { return p.class_names(); });
  }
  int64_t size(Split split) const override {
    return call([&](auto& p) { return p.size(split); });
  }
  Batch batch(Split split, const Tensor& index) const override {
    return call([&](auto& p) { return p.batch(split, index); });
  }
  Tensor pictures(const Tensor& x) const override {
    return call([&](auto& p) { return p.pictures(x); });
  }
};

class GuardedMetric final : public Guard<Metric> {
 public:
  using Guard::Guard;
  Measurement measure(const Evaluation& evaluation) const override {
    return call([&](auto& p) { return p.measure(evaluation); });
  }
  std::vector<std::pair<std::string, double>> ideal() const override {
    return call([](auto& p) { return p.ideal(); });
  }
  bool symmetric() const override {
    return call([](auto& p) { return p.symmetric(); });
  }
};

class GuardedBackend final : public Guard<Backend> {
 public:
  using Guard::Guard;
  c10::Device device() const override {
    return call([](auto& p) { return p.device(); });
  }
  c10::ScalarType dtype() const override {
    return call([](auto& p) { return p.dtype(); });
  }
  void place(Network& network) const override {
    call([&](auto& p) { p.place(network); });
  }
  std::shared_ptr<Evaluator> trainable(std::shared_ptr<Network> network) const override {
    return call([&](auto& p) { return p.trainable(network); });
  }
  std::shared_ptr<Evaluator> compile(std::shared_ptr<Network> network) const override {
    return call([&](auto& p) { return p.compile(network); });
  }
  double tolerance() const override {
    return call([](auto& p) { return p.tolerance(); });
  }
  double loss_scale() const override {
    return call([](auto& p) { return p.loss_scale(); });
  }
  std::string describe() const override {
    return call([](auto& p) { return p.describe(); });
  }
};

template <class Guarded, class T>
std::shared_ptr<void> wrap(const PluginFile& file, std::shared_ptr<void> object) {
  return std::static_pointer_cast<T>(std::make_shared<Guarded>(file, std::move(object)));
}

}  // namespace

std::shared_ptr<void> guard(const PluginFile& file, std::shared_ptr<void> object) {
  using Wrap = std::shared_ptr<void> (*)(const PluginFile&, std::shared_ptr<void>);
  const std::pair<const char*, Wrap> wraps[] = {
      {Teacher::kind, wrap<GuardedTeacher, Teacher>}, {Solver::kind, wrap<GuardedSolver, Solver>},
      {Loss::kind, wrap<GuardedLoss, Loss>},          {Schedule::kind, wrap<GuardedSchedule, Schedule>},
      {Network::kind, wrap<GuardedNetwork, Network>}, {Dataset::kind, wrap<GuardedDataset, Dataset>},
      {Metric::kind, wrap<GuardedMetric, Metric>},    {Backend::kind, wrap<GuardedBackend, Backend>}};
  for (const auto& [kind, make] : wraps) {
    if (file.kind == kind) {
      return make(file, std::move(object));
    }
  }
  throw Error("'" + file.kind + "' is no kind of plugin");
}

}  // namespace retort
