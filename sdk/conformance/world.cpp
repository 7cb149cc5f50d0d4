#include "world.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <cmath>
#include <numbers>

#include "retort/autoencoder.h"

namespace retort::conformance {

const std::vector<std::string> process_names = {"ve", "vp_linear", "vp_scaled_linear", "vp_cosine", "rectified_flow"};

Process make_process(const std::string& name) {
  Value table;
  table["type"] = Value{name, {}};
  Params p(table, "process", nullptr);
  return Process(p);
}

namespace {

// The mixture: of three humps that touch, so that no region is so empty that quantiles lose their digits.
const std::vector<double> weights = {0.3, 0.4, 0.3};
const std::vector<double> means = {-1.0, 0.2, 1.3};
const std::vector<double> stds = {0.35, 0.3, 0.4};

Tensor listed(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

// A coefficient per row, for every coordinate: [B, 1].
Tensor column(const Tensor& c) { return c.to(at::kDouble).view({-1, 1}); }

// The mixture diffused to alpha, sigma: cumulative distribution, upper tail and density at x: [B, N].
struct Diffused {
  Tensor below, above, density;
};
Diffused diffuse(const Tensor& x, const Tensor& alpha, const Tensor& sigma) {
  Diffused out{at::zeros_like(x), at::zeros_like(x), at::zeros_like(x)};
  for (size_t k = 0; k < weights.size(); ++k) {
    const Tensor std = (alpha * alpha * (stds[k] * stds[k]) + sigma * sigma).sqrt();
    const Tensor z = (x - alpha * means[k]) / std;
    out.below = out.below + weights[k] * 0.5 * at::erfc(-z / std::numbers::sqrt2);
    out.above = out.above + weights[k] * 0.5 * at::erfc(z / std::numbers::sqrt2);
    out.density = out.density + weights[k] * (z * z * -0.5).exp() / (std * std::sqrt(2 * std::numbers::pi));
  }
  return out;
}

}  // namespace

Tensor ExactTeacher::predict(const Tensor& x, const Tensor& t, const Conditioning&) const {
  const Tensor alpha = column(process_.alpha(t)).unsqueeze(2), sigma = column(process_.sigma(t)).unsqueeze(2);
  const Tensor flat = x.to(at::kDouble).flatten(1).unsqueeze(2);  // [B, N, 1]
  const Tensor mean = listed(means), square = listed(stds).square();
  const Tensor variance = alpha * alpha * square + sigma * sigma;
  const Tensor offset = flat - alpha * mean;
  const Tensor share = at::softmax(listed(weights).log() - 0.5 * (offset * offset / variance + variance.log()), 2);
  const Tensor data = mean + alpha * square * offset / variance;
  const Tensor noise = sigma * offset / variance;
  return (share * (alpha * noise - sigma * data)).sum(2).to(x.scalar_type()).view(x.sizes());
}

Tensor ExactTeacher::transport(const Tensor& x, const Tensor& t, const Tensor& s) const {
  const at::NoGradGuard no_grad;
  const Tensor flat = x.to(at::kDouble).flatten(1);
  const Diffused from = diffuse(flat, column(process_.alpha(t)), column(process_.sigma(t)));
  const Tensor upper = from.below > 0.5;
  const Tensor alpha = column(process_.alpha(s)), sigma = column(process_.sigma(s));
  const Tensor width = 40 * (alpha * alpha + sigma * sigma).sqrt();
  Tensor low = (-width).expand_as(flat).contiguous(), high = width.expand_as(flat).contiguous();
  Tensor y = at::zeros_like(flat);
  // Newton's steps on the smaller tail, kept within a bracket that halves where they leave it.
  for (int i = 0; i < 100; ++i) {
    const Diffused at = diffuse(y, alpha, sigma);
    const Tensor excess = at::where(upper, from.above - at.above, at.below - from.below);
    low = at::where(excess < 0, y, low);
    high = at::where(excess >= 0, y, high);
    const Tensor newton = y - excess / at.density;
    const Tensor inside = (newton > low).logical_and(newton < high);
    const Tensor next = at::where(inside, newton, (low + high) / 2);
    if (largest(next - y) < 1e-15) {
      break;
    }
    y = next;
  }
  return y.to(x.scalar_type()).view(x.sizes());
}

Tensor ExactTeacher::sample(int64_t n, at::Generator generator) const {
  std::vector<int64_t> shape = shape_;
  shape.insert(shape.begin(), n);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const Tensor u = at::rand(shape, generator, options), z = at::randn(shape, generator, options);
  Tensor x = at::zeros_like(z);
  double before = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    x = at::where(u >= before, means[k] + stds[k] * z, x);
    before += weights[k];
  }
  return x;
}

double first_time(const Process& process) {
  constexpr double noisiest_ve = 20;
  return process.is_variance_exploding() ? noisiest_ve : process.t_max();
}

Tensor even_grid(const Process& process, int64_t intervals, double t_max) {
  const Tensor first = listed({t_max > 0 ? t_max : first_time(process)});
  const double angle = std::atan2(process.sigma(first).item<double>(), process.alpha(first).item<double>());
  const Tensor angles = at::linspace(angle, 0, intervals + 1, at::kDouble);
  Tensor times = process.time_of_noise_level(angles.tan());
  times[0] = first[0];  // the level is infinite where alpha is 0
  return times;
}

namespace {
class Direct final : public CompiledNetwork {
 public:
  Direct(std::shared_ptr<Network> network, bool gradients) : network_(std::move(network)), gradients_(gradients) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const at::AutoGradMode mode(gradients_ && at::GradMode::is_enabled());
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
  bool gradients_;
};
}  // namespace

void PlainBackend::place(Network& network) const { move_weights(network, device(), dtype_, false); }
std::shared_ptr<CompiledNetwork> PlainBackend::trainable(std::shared_ptr<Network> network) const {
  return std::make_shared<Direct>(std::move(network), true);
}
std::shared_ptr<CompiledNetwork> PlainBackend::compile(std::shared_ptr<Network> network) const {
  return std::make_shared<Direct>(std::move(network), false);
}

namespace {
const Parametrisation student_form{Predicts::flow, 1.0};
}

ExactStudent::ExactStudent(const ExactTeacher& teacher, double error)
    : teacher_(teacher),
      error_(error),
      weight_(at::ones({1}, at::kDouble).requires_grad_(true)),
      point_(std::numeric_limits<double>::quiet_NaN()) {}

Tensor ExactStudent::operator()(const Tensor& x, const Tensor& noise, const Conditioning& condition) {
  if (condition.has(inputs::posterior_noise)) {
    // An autoencoder that is not variational, whose latents are the samples themselves.
    const Tensor picture = x + (error_ * weight_).to(x.scalar_type());
    return at::cat({picture.flatten(1), x.flatten(1), at::zeros({x.size(0), 1}, x.options())}, 1);
  }
  if (!noise.defined()) {
    // Sure of the right class, unless the error outweighs it.
    const Tensor margin = x.to(at::kDouble).flatten(1).select(1, 0).sign() * 25;
    return at::stack({200 * error_ * weight_ - margin, margin}, 1).to(x.scalar_type());
  }
  if (condition.has(inputs::end_time)) {
    // On rectified flow the ways to a point are straight lines. LibTorch carries derivatives through this.
    const double point = std::isnan(point_) ? 0.0 : point_;
    return (x - point) / noise.view({-1, 1}) + (error_ * weight_).to(x.scalar_type());
  }
  // What the model did to its inputs is undone: the label is t / t_max, and x was scaled.
  const Process& process = teacher_.process();
  const Tensor t = noise.to(at::kDouble) * process.t_max();
  const Tensor state = x.to(at::kDouble) / rows(student_form.c_in(process, t), x.to(at::kDouble));
  const Tensor wanted =
      std::isnan(point_) ? teacher_.transport(state, t, at::zeros_like(t)) : at::full_like(state, point_);
  const Linear form = student_form.to_data(process, t);
  const Tensor b = rows(form.b, state);
  const Tensor output = at::where(b == 0, at::zeros_like(state), (wanted - rows(form.a, state) * state) / b);
  return (output + error_ * weight_).to(x.scalar_type());
}

Model ExactStudent::model(std::shared_ptr<ExactStudent> student, Makes makes, bool two_times) {
  const Process& process = student->teacher_.process();
  return {std::move(student), process, student_form, {}, makes, two_times};
}

std::shared_ptr<void> World::make(const char* kind, const std::string& name, Params& params) {
  if (others_ == nullptr) {
    throw RequestError("it needs another plugin, " + std::string(kind) + " '" + name +
                       "', which cannot be found here; use retort check");
  }
  return others_->make(kind, name, params);
}
Checkpoint World::checkpoint(const std::string& path) {
  if (others_ == nullptr) {
    throw RequestError("it reads a checkpoint, which cannot be done here; use retort check");
  }
  return others_->checkpoint(path);
}
std::shared_ptr<Network> World::network(const Checkpoint& checkpoint, const std::string& path) {
  auto made = others_->network(checkpoint, path);
  backend_.place(*made);
  return made;
}

std::shared_ptr<void> World::build_any(const Subject& subject, const Table& more) {
  Value table = subject.params;
  for (const auto& [key, value] : more) {
    table[key] = value;
  }
  Params describing = Params::describing();
  subject.make(describing);
  for (const ParamInfo& info : describing.described()) {
    if (info.required && table.find(info.name) == nullptr) {
      table[info.name] = *describing.resolved().find(info.name);
    }
  }
  Params p(table, subject.kind, this);
  std::shared_ptr<void> made = subject.make(p);
  if (made == nullptr) {
    throw Error("its factory made nothing");
  }
  p.finish();
  return made;
}

Value parameters(const Subject& subject) {
  Params p = Params::describing();
  subject.make(p);
  Value out = p.resolved();
  for (const auto& [key, value] : subject.params.table()) {
    out[key] = value;
  }
  return out;
}

}  // namespace retort::conformance
