// The vtables and type information of every interface live here, once, for the host and all plugins.
#include <ATen/ATen.h>

#include <algorithm>

#include "retort/autoencoder.h"
#include "retort/dataset.h"
#include "retort/host.h"
#include "retort/loss.h"
#include "retort/metric.h"
#include "retort/tracker.h"

namespace retort {

Autoencoder::~Autoencoder() = default;
AutoencoderNetwork::~AutoencoderNetwork() = default;
Backend::~Backend() = default;
Dataset::~Dataset() = default;
Evaluation::~Evaluation() = default;
CompiledNetwork::~CompiledNetwork() = default;
Host::~Host() = default;
Loss::~Loss() = default;
Metric::~Metric() = default;
Network::~Network() = default;
Schedule::~Schedule() = default;
SolveMemory::~SolveMemory() = default;
Solver::~Solver() = default;
Teacher::~Teacher() = default;
Tracker::~Tracker() = default;

int64_t Dataset::classes() const { return 0; }
std::vector<Input> Dataset::inputs() const { return label_inputs(classes()); }
std::vector<std::string> Dataset::class_names() const { return {}; }
Tensor Dataset::pictures(const Tensor&) const { return {}; }
std::string Dataset::notes() const { return ""; }
Tensor Dataset::labels(Split split) const {
  if (classes() == 0) {
    return {};
  }
  std::vector<Tensor> parts;
  for (const Tensor& index : at::arange(size(split), at::kLong).split(1000)) {
    parts.push_back(batch(split, index).condition[inputs::labels]);
    if (!parts.back().defined()) {
      return {};
    }
  }
  return at::cat(parts);
}

void Backend::prepare() const {}
double Backend::tolerance() const { return dtype() == at::kDouble ? 1e-10 : 1e-4; }
double Backend::loss_scale() const { return 1; }

void CompiledNetwork::refresh() {}
std::string CompiledNetwork::profile(const Tensor&, const Tensor&, const Conditioning&, int64_t) { return ""; }

Needs Loss::needs() const { return {}; }
std::vector<Role> Loss::roles() const { return {}; }
int64_t Loss::stages() const { return 1; }
void Loss::check_times(const Tensor&) const {}

std::vector<std::pair<std::string, double>> Metric::ideal() const { return {}; }
bool Metric::symmetric() const { return false; }
Tensor Evaluation::sample_states() const { return samples(); }
Tensor Evaluation::shared_by_solvers(const std::string& key, const std::function<Tensor()>& compute) const {
  return shared(key, compute);
}

double Autoencoder::scaling_factor() const { return 1; }
double Autoencoder::shift() const { return 0; }
Tensor AutoencoderNetwork::forward(const Tensor& x, const Tensor&, const Conditioning& condition) {
  const bool draws = is_variational();
  const Tensor encoded = encode(x);
  const Tensor mean = draws ? encoded.chunk(2, 1)[0] : encoded;
  const Tensor noise = condition[inputs::posterior_noise];
  if (!noise.defined()) {
    return decode(mean);
  }
  Tensor z = mean;
  if (const Tensor numbers = noise.flatten(1); draws && numbers.size(1) > 0) {
    if (numbers.size(1) < mean[0].numel()) {
      throw Error("is given " + std::to_string(numbers.size(1)) + " numbers a row to draw latents of " +
                  std::to_string(mean[0].numel()) + " with");
    }
    const Tensor deviation = (0.5 * encoded.chunk(2, 1)[1].clamp(-30, 20)).exp();  // within what can be computed
    z = mean + deviation * numbers.narrow(1, 0, mean[0].numel()).view_as(mean).to(mean.options());
  }
  const Tensor picture = decode(z);
  if (picture.sizes() != x.sizes()) {
    const auto spelled = [](const Tensor& t) {
      std::string out;
      for (const int64_t n : t.sizes().slice(1)) {
        out += (out.empty() ? "" : " x ") + std::to_string(n);
      }
      return out;
    };
    throw Error("decodes to " + spelled(picture) + " what it encoded of " + spelled(x) +
                "; expected pictures of one shape, to be trained");
  }
  return at::cat({picture.flatten(1), encoded.flatten(1), at::full({x.size(0), 1}, draws ? 1 : 0, encoded.options())},
                 1);
}
std::vector<std::string> AutoencoderNetwork::inputs() const { return {}; }

std::vector<std::string> Network::inputs() const { return {std::string(inputs::labels)}; }
std::string Network::weights_of(const std::string&) const { return ""; }
Tensor Network::features(const Tensor&) { throw Error("this network has no features for metrics"); }

std::vector<Input> Teacher::inputs() const { return {}; }
Conditioning Teacher::unconditional(const Conditioning& condition) const {
  return without_condition(condition, inputs());
}
int64_t Teacher::cost() const { return 1; }
std::optional<std::pair<double, double>> Teacher::guidance() const { return {}; }
Tensor Teacher::log_density(const Tensor&, const Tensor&) const { return {}; }

void Tracker::pictures(int64_t, const std::string&, const Tensor&) {}
void Tracker::histogram(int64_t, const std::string&, const Tensor&) {}
void Tracker::end(const std::vector<Measured>&) {}

Tensor TrainingStep::part(const Tensor& whole) const { return whole.narrow(0, first_row, batch.x.size(0)); }

Tensor TrainingStep::noise() const {
  if (brought) {
    return brought("noise");
  }
  std::vector<int64_t> shape = batch.x.sizes().vec();
  shape[0] = whole_rows();
  return part(at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat))).to(batch.x.options());
}

Tensor TrainingStep::uniform() const {
  return brought ? brought("uniform")
                 : part(at::rand({whole_rows()}, generator, at::TensorOptions().dtype(at::kDouble)));
}
Tensor TrainingStep::normal() const {
  return brought ? brought("normal")
                 : part(at::randn({whole_rows()}, generator, at::TensorOptions().dtype(at::kDouble)));
}

namespace {
const RoleModel* find_role(const std::vector<RoleModel>& roles, std::string_view name) {
  const auto found = std::find_if(roles.begin(), roles.end(), [&](const RoleModel& r) { return r.name == name; });
  return found == roles.end() ? nullptr : &*found;
}
}  // namespace

const Model& TrainingStep::role(std::string_view name) const {
  const RoleModel* found = find_role(roles, name);
  if (found == nullptr || found->model == nullptr) {
    throw Error("asks for a role '" + std::string(name) + "' that it has not named");
  }
  return *found->model;
}

bool TrainingStep::due(std::string_view name) const {
  const RoleModel* found = find_role(roles, name);
  return found == nullptr || found->due;
}

NoiseDataPair TrainingStep::pair() const {
  const at::NoGradGuard no_grad;
  const Tensor grid = schedule->times(process, progress);
  const Tensor t = grid.narrow(0, 0, 1).expand(batch.x.size(0)).contiguous();
  const Tensor x = rows(process.sigma(t), batch.x) * noise();
  const Noise drawn(generator.current_seed(), at::arange(first_row, first_row + batch.x.size(0), at::kLong));
  return {x, solve(*ode, *solver, grid, x, {}, {}, drawn), t};
}

Tensor TrainingStep::intervals(int64_t count) const { return part(schedule->draw(count, whole_rows(), generator)); }

bool Schedule::changes() const { return false; }

Tensor Schedule::draw(int64_t intervals, int64_t count, at::Generator generator) const {
  return at::randint(0, intervals, {count}, std::move(generator), at::kLong);
}

}  // namespace retort
