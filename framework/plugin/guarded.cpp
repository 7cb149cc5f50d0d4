#include "plugin/guarded.h"

#include "retort/autoencoder.h"
#include "retort/dataset.h"
#include "retort/host.h"
#include "retort/loss.h"
#include "retort/metric.h"
#include "retort/tracker.h"

namespace retort {

thread_local const PluginFile* running_plugin = nullptr;

namespace {

// Tensors that a plugin is given, and must leave as they are: others hold them too. LibTorch counts changes in place
// for each tensor and all its views, so a look at the counters before and after a call is enough, and costs next to
// nothing.
class Watched {
 public:
  void add(const std::string& name, const Tensor& t) {
    if (t.defined() && !t.is_inference()) {
      seen_.push_back({name, t, t._version()});
    }
  }
  void add(const Conditioning& condition) {
    for (const auto& [name, rows] : condition) {
      add(name, rows);
    }
  }
  void check() const {
    for (const Seen& s : seen_) {
      if (s.tensor._version() != s.version) {
        throw Error("changes its input '" + std::string(s.name) +
                    "' in place, which others hold too; expected a new tensor, or a copy by clone()");
      }
    }
  }

 private:
  struct Seen {
    std::string name;
    Tensor tensor;
    int64_t version;
  };
  std::vector<Seen> seen_;
};

// What a metric sees, every tensor of it watched.
class WatchedEvaluation final : public Evaluation {
 public:
  WatchedEvaluation(const Evaluation& inner, Watched& watched) : inner_(inner), watched_(watched) {}
  Tensor samples() const override { return watch("samples", inner_.samples()); }
  Tensor sample_states() const override { return watch("sample_states", inner_.sample_states()); }
  Tensor reference() const override { return watch("reference", inner_.reference()); }
  Tensor sample_features() const override { return watch("sample_features", inner_.sample_features()); }
  Tensor reference_features() const override { return watch("reference_features", inner_.reference_features()); }
  Tensor features(const Tensor& x) const override { return inner_.features(x); }
  Batch start() const override { return watch("start", inner_.start()); }
  Tensor endpoints() const override { return watch("endpoints", inner_.endpoints()); }
  Batch data(int64_t n) const override { return watch("data", inner_.data(n)); }
  const Dataset* dataset() const override { return inner_.dataset(); }
  const Model* model() const override { return inner_.model(); }
  CompiledNetwork* network() const override { return inner_.network(); }
  int64_t student_steps() const override { return inner_.student_steps(); }
  const Ode* ode() const override { return inner_.ode(); }
  const Solver* solver() const override { return inner_.solver(); }
  Tensor grid() const override { return watch("grid", inner_.grid()); }
  at::Generator generator(const char* stream) const override { return inner_.generator(stream); }
  Tensor shared(const std::string& key, const std::function<Tensor()>& compute) const override {
    return watch("shared", inner_.shared(key, compute));
  }
  Tensor shared_by_solvers(const std::string& key, const std::function<Tensor()>& compute) const override {
    return watch("shared", inner_.shared_by_solvers(key, compute));
  }

 private:
  Tensor watch(const char* name, Tensor t) const {
    watched_.add(name, t);
    return t;
  }
  Batch watch(const char* name, Batch b) const {
    watched_.add(name, b.x);
    watched_.add(b.condition);
    return b;
  }

  const Evaluation& inner_;
  Watched& watched_;
};

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
  // A call whose inputs must stay as they are.
  template <class F>
  auto call(const Watched& inputs, F f) const {
    return guarded(file_, [&] {
      if constexpr (std::is_void_v<decltype(f(*inner_))>) {
        f(*inner_);
        inputs.check();
      } else {
        auto out = f(*inner_);
        inputs.check();
        return out;
      }
    });
  }
  const PluginFile& file() const { return file_; }

 private:
  const PluginFile& file_;
  std::shared_ptr<T> inner_;
};

class GuardedTeacher final : public Guard<Teacher> {
 public:
  using Guard::Guard;
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("t", t);
    inputs.add(condition);
    return call(inputs, [&](auto& p) { return p.predict(x, t, condition); });
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
  std::vector<Input> inputs() const override {
    return call([](auto& p) { return p.inputs(); });
  }
  Conditioning unconditional(const Conditioning& condition) const override {
    return call([&](auto& p) { return p.unconditional(condition); });
  }
  int64_t cost() const override {
    return call([](auto& p) { return p.cost(); });
  }
  std::optional<std::pair<double, double>> guidance() const override {
    return call([](auto& p) { return p.guidance(); });
  }
  Tensor log_density(const Tensor& x, const Tensor& t) const override {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("t", t);
    return call(inputs, [&](auto& p) { return p.log_density(x, t); });
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
  Tensor step(const Step& step, const Tensor& x) const override {
    return call(watched(step, x), [&](auto& p) { return p.step(step, x); });
  }
  bool interior() const override {
    return call([](auto& p) { return p.interior(); });
  }
  Tensor edge_step(const Step& step, const Tensor& x) const override {
    return call(watched(step, x), [&](auto& p) { return p.edge_step(step, x); });
  }
  bool stochastic() const override {
    return call([](auto& p) { return p.stochastic(); });
  }

 private:
  static Watched watched(const Step& step, const Tensor& x) {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("from", step.from.t());
    inputs.add("to", step.to.t());
    inputs.add("history.steps", step.history.steps);
    inputs.add(step.ode.condition());
    return inputs;
  }
};

class GuardedLoss final : public Guard<Loss> {
 public:
  using Guard::Guard;
  LossValue operator()(const TrainingStep& step) const override {
    Watched inputs;
    inputs.add("batch.x", step.batch.x);
    inputs.add(step.batch.condition);
    return call(inputs, [&](auto& p) { return p(step); });
  }
  Makes makes() const override {
    return call([](auto& p) { return p.makes(); });
  }
  Needs needs() const override {
    return call([](auto& p) { return p.needs(); });
  }
  std::vector<Role> roles() const override {
    return call([](auto& p) { return p.roles(); });
  }
  int64_t stages() const override {
    return call([](auto& p) { return p.stages(); });
  }
  void check_times(const Tensor& times) const override {
    call([&](auto& p) { p.check_times(times); });
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

template <class T>
class GuardedNetworkOf : public Guard<T> {
 public:
  using Guard<T>::Guard;
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("c_noise", c_noise);
    inputs.add(condition);
    return this->call(inputs, [&](auto& p) { return p.forward(x, c_noise, condition); });
  }
  Tensor features(const Tensor& x) override {
    return this->call(watched("x", x), [&](auto& p) { return p.features(x); });
  }
  std::vector<std::string> inputs() const override {
    return this->call([](auto& p) { return p.inputs(); });
  }
  std::string weights_of(const std::string& input) const override {
    return this->call([&](auto& p) { return p.weights_of(input); });
  }
  std::shared_ptr<torch::nn::Module> module() override {
    return this->call([](auto& p) { return p.module(); });
  }

 protected:
  static Watched watched(const char* name, const Tensor& t) {
    Watched inputs;
    inputs.add(name, t);
    return inputs;
  }
};

using GuardedNetwork = GuardedNetworkOf<Network>;

class GuardedAutoencoderNetwork final : public GuardedNetworkOf<AutoencoderNetwork> {
 public:
  using GuardedNetworkOf::GuardedNetworkOf;
  Tensor encode(const Tensor& x) override {
    return call(watched("x", x), [&](auto& p) { return p.encode(x); });
  }
  Tensor decode(const Tensor& z) override {
    return call(watched("z", z), [&](auto& p) { return p.decode(z); });
  }
  bool is_variational() const override {
    return call([](auto& p) { return p.is_variational(); });
  }
};

class GuardedAutoencoder final : public Guard<Autoencoder> {
 public:
  using Guard::Guard;
  Tensor encode(const Tensor& x, const Tensor& noise) const override {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("noise", noise);
    return call(inputs, [&](auto& p) { return p.encode(x, noise); });
  }
  Tensor decode(const Tensor& z) const override {
    Watched inputs;
    inputs.add("z", z);
    return call(inputs, [&](auto& p) { return p.decode(z); });
  }
  std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const override {
    return call([&](auto& p) { return p.latent_shape(picture); });
  }
  std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const override {
    return call([&](auto& p) { return p.picture_shape(latent); });
  }
  double scaling_factor() const override {
    return call([](auto& p) { return p.scaling_factor(); });
  }
  double shift() const override {
    return call([](auto& p) { return p.shift(); });
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
  std::vector<Input> inputs() const override {
    return call([](auto& p) { return p.inputs(); });
  }
  std::vector<std::string> class_names() const override {
    return call([](auto& p) { return p.class_names(); });
  }
  int64_t size(Split split) const override {
    return call([&](auto& p) { return p.size(split); });
  }
  Batch batch(Split split, const Tensor& index) const override {
    Watched inputs;
    inputs.add("index", index);
    return call(inputs, [&](auto& p) { return p.batch(split, index); });
  }
  Tensor pictures(const Tensor& x) const override {
    Watched inputs;
    inputs.add("x", x);
    return call(inputs, [&](auto& p) { return p.pictures(x); });
  }
  Tensor labels(Split split) const override {
    return call([&](auto& p) { return p.labels(split); });
  }
  std::string notes() const override {
    return call([](auto& p) { return p.notes(); });
  }
};

class GuardedMetric final : public Guard<Metric> {
 public:
  using Guard::Guard;
  Measurement measure(const Evaluation& evaluation) const override {
    Watched inputs;
    const WatchedEvaluation watched(evaluation, inputs);
    return call(inputs, [&](auto& p) { return p.measure(watched); });
  }
  std::vector<std::pair<std::string, double>> ideal() const override {
    return call([](auto& p) { return p.ideal(); });
  }
  bool symmetric() const override {
    return call([](auto& p) { return p.symmetric(); });
  }
};

class GuardedTracker final : public Guard<Tracker> {
 public:
  using Guard::Guard;
  void begin(const TrackedRun& run, int64_t from_step) override {
    call([&](auto& p) { p.begin(run, from_step); });
  }
  void log(int64_t step, const Scalars& scalars) override {
    call([&](auto& p) { p.log(step, scalars); });
  }
  void pictures(int64_t step, const std::string& name, const Tensor& pictures) override {
    Watched inputs;
    inputs.add("pictures", pictures);
    call(inputs, [&](auto& p) { p.pictures(step, name, pictures); });
  }
  void histogram(int64_t step, const std::string& name, const Tensor& values) override {
    Watched inputs;
    inputs.add("values", values);
    call(inputs, [&](auto& p) { p.histogram(step, name, values); });
  }
  void end(const std::vector<Measured>& measured) override {
    call([&](auto& p) { p.end(measured); });
  }
};

// Networks run behind a backend, whose inputs are watched as any plugin's.
class GuardedCompiledNetwork final : public CompiledNetwork {
 public:
  GuardedCompiledNetwork(const PluginFile& file, std::shared_ptr<CompiledNetwork> inner)
      : file_(file), inner_(std::move(inner)) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    Watched inputs;
    inputs.add("x", x);
    inputs.add("c_noise", c_noise);
    inputs.add(condition);
    return guarded(file_, [&] {
      Tensor out = (*inner_)(x, c_noise, condition);
      inputs.check();
      return out;
    });
  }
  void refresh() override {
    guarded(file_, [&] { inner_->refresh(); });
  }
  std::string profile(const Tensor& x, const Tensor& c_noise, const Conditioning& condition, int64_t rounds) override {
    return guarded(file_, [&] { return inner_->profile(x, c_noise, condition, rounds); });
  }

 private:
  const PluginFile& file_;
  std::shared_ptr<CompiledNetwork> inner_;
};

class GuardedBackend final : public Guard<Backend> {
 public:
  using Guard::Guard;
  void prepare() const override {
    call([](auto& p) { p.prepare(); });
  }
  c10::Device device() const override {
    return call([](auto& p) { return p.device(); });
  }
  c10::ScalarType dtype() const override {
    return call([](auto& p) { return p.dtype(); });
  }
  void place(Network& network) const override {
    call([&](auto& p) { p.place(network); });
  }
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override {
    return std::make_shared<GuardedCompiledNetwork>(file(), call([&](auto& p) { return p.trainable(network); }));
  }
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override {
    return std::make_shared<GuardedCompiledNetwork>(file(), call([&](auto& p) { return p.compile(network); }));
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

// An autoencoder's network stays one behind its guard.
std::shared_ptr<void> wrap_network(const PluginFile& file, std::shared_ptr<void> object) {
  if (const auto codes = std::dynamic_pointer_cast<AutoencoderNetwork>(std::static_pointer_cast<Network>(object))) {
    return std::static_pointer_cast<Network>(std::make_shared<GuardedAutoencoderNetwork>(file, codes));
  }
  return wrap<GuardedNetwork, Network>(file, std::move(object));
}

}  // namespace

std::shared_ptr<void> guard(const PluginFile& file, std::shared_ptr<void> object) {
  using Wrap = std::shared_ptr<void> (*)(const PluginFile&, std::shared_ptr<void>);
  const std::pair<const char*, Wrap> wraps[] = {{Teacher::kind, wrap<GuardedTeacher, Teacher>},
                                                {Solver::kind, wrap<GuardedSolver, Solver>},
                                                {Loss::kind, wrap<GuardedLoss, Loss>},
                                                {Schedule::kind, wrap<GuardedSchedule, Schedule>},
                                                {Network::kind, wrap_network},
                                                {Dataset::kind, wrap<GuardedDataset, Dataset>},
                                                {Metric::kind, wrap<GuardedMetric, Metric>},
                                                {Tracker::kind, wrap<GuardedTracker, Tracker>},
                                                {Backend::kind, wrap<GuardedBackend, Backend>},
                                                {Autoencoder::kind, wrap<GuardedAutoencoder, Autoencoder>}};
  for (const auto& [kind, make] : wraps) {
    if (file.kind == kind) {
      return make(file, std::move(object));
    }
  }
  throw Error("'" + file.kind + "' is no kind of plugin");
}

}  // namespace retort
