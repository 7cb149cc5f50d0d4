#include "retort/parametrisation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/fused.h"

namespace retort {

namespace {
const std::vector<std::string> predictions = {"noise", "v", "data", "edm", "flow"};
const std::vector<std::string> preconditionings = {"auto", "edm", "fraction", "discrete"};
constexpr double least_level = 1e-4;  // noise labels stay finite at sigma = 0 and alpha = 0
constexpr double most_level = 1e4;

int64_t place(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) - words.begin();
}

std::string without_steps(const Process& process) {
  return "\"discrete\" counts the steps of a table, which process '" + process.name() +
         "' has none of; expected a process such as 'betas', or another preconditioning";
}
}  // namespace

Tensor Linear::operator()(const Tensor& x, const Tensor& output) const { return combine({{a, x}, {b, output}}); }

std::string Prediction::name() const { return predictions[static_cast<size_t>(predicts)]; }

Linear Prediction::to_data(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return {1 / alpha, -sigma / alpha};
    case Predicts::data:
      return {at::zeros_like(alpha), at::ones_like(alpha)};
    case Predicts::v: {
      const Tensor square = alpha * alpha + sigma * sigma;
      return {alpha / square, -sigma / square};
    }
    case Predicts::flow: {
      const Tensor da = process.d_alpha(t);
      const Tensor ds = process.d_sigma(t);
      const Tensor determinant = alpha * ds - da * sigma;
      return {ds / determinant, -sigma / determinant};
    }
    case Predicts::edm: {  // with y = x / alpha and s = sigma / alpha, multiplied out so that alpha may be 0
      const double sd = sigma_data;
      const Tensor square = sigma * sigma + alpha * alpha * (sd * sd);
      return {alpha * (sd * sd) / square, sigma * sd / square.sqrt()};
    }
  }
  throw Error("unknown parametrisation");
}

Linear Prediction::to_noise(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return {at::zeros_like(alpha), at::ones_like(alpha)};
    case Predicts::data:
      return {1 / sigma, -alpha / sigma};
    case Predicts::v: {
      const Tensor square = alpha * alpha + sigma * sigma;
      return {sigma / square, alpha / square};
    }
    case Predicts::flow: {
      const Tensor da = process.d_alpha(t);
      const Tensor ds = process.d_sigma(t);
      const Tensor determinant = alpha * ds - da * sigma;
      return {-da / determinant, alpha / determinant};
    }
    case Predicts::edm: {
      const double sd = sigma_data;
      const Tensor square = sigma * sigma + alpha * alpha * (sd * sd);
      return {sigma / square, -alpha * sd / square.sqrt()};
    }
  }
  throw Error("unknown parametrisation");
}

Tensor Prediction::target(const Process& process, const Tensor& t, const Tensor& data, const Tensor& noise) const {
  const auto along = [&](const Tensor& of_data, const Tensor& of_noise) {
    return rows(of_data, data) * data + rows(of_noise, data) * noise;
  };
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return noise;
    case Predicts::data:
      return data;
    case Predicts::v:
      return along(-sigma, alpha);
    case Predicts::flow:
      return along(process.d_alpha(t), process.d_sigma(t));
    case Predicts::edm: {  // F = (x0 - c_skip y) / c_out = (sigma x0 - alpha sd^2 n) / (sd sqrt(sigma^2 + alpha^2
                           // sd^2))
      const double sd = sigma_data;
      const Tensor root = (sigma * sigma + alpha * alpha * (sd * sd)).sqrt() * sd;
      return along(sigma / root, -alpha * (sd * sd) / root);
    }
  }
  throw Error("unknown parametrisation");
}

std::string Preconditioning::name() const { return preconditionings[static_cast<size_t>(sees)]; }

Preconditioning Preconditioning::resolved(Predicts predicts, const Process& process) const {
  if (sees != Sees::automatic) {
    return *this;
  }
  if (predicts == Predicts::edm) {
    return {Sees::edm, sigma_data};
  }
  return process.is_variance_exploding() ? Preconditioning{Sees::edm, 1} : Preconditioning{Sees::fraction, sigma_data};
}

Tensor Preconditioning::c_in(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  if (sees != Sees::edm) {
    return at::ones_like(alpha);
  }
  const Tensor sigma = process.sigma(t);
  return (sigma * sigma + alpha * alpha * (sigma_data * sigma_data)).rsqrt();
}

Tensor Preconditioning::c_noise(const Process& process, const Tensor& t) const {
  switch (sees) {
    case Sees::edm:
      return process.noise_level(t).clamp(least_level, most_level).log() / 4;
    case Sees::discrete:
      if (process.steps() == 0) {
        throw RequestError(without_steps(process));
      }
      return (t - 1).clamp(0, static_cast<double>(process.steps() - 1));  // before the first step, as at it
    case Sees::automatic:
    case Sees::fraction:
      return t / process.t_max();
  }
  throw Error("unknown preconditioning");
}

Parametrisation::Parametrisation(Params& p) {
  const std::string output = p.choice("parametrisation", "edm", predictions, "what the network predicts");
  sigma_data = p.get("sigma_data", 0.5, "standard deviation of the data, as EDM's scalings use it", more_than(0));
  const std::string sees = p.choice(
      "preconditioning", "auto", preconditionings,
      "what the network sees of sample and time. edm: c_in and log(s) / 4; fraction: t / t_max; discrete: the step 0 "
      "to T - 1 of a process that is a table; auto: edm if it predicts that or the process is ve, else fraction");
  predicts = static_cast<Predicts>(place(predictions, output));
  preconditioning = {static_cast<Sees>(place(preconditionings, sees)), sigma_data};
}

void Parametrisation::check(const Process& process, const Params& p) const {
  if (preconditioning.sees == Sees::discrete && process.steps() == 0) {
    throw p.error("preconditioning", without_steps(process));
  }
}

void Parametrisation::write(Value& table) const {
  table["parametrisation"] = Value{name(), {}};
  table["sigma_data"] = Value{sigma_data, {}};
  if (preconditioning.sees != Sees::automatic) {  // as files have it that were written before there was a choice
    table["preconditioning"] = Value{preconditioning.name(), {}};
  }
}

Tensor Parametrisation::c_in(const Process& process, const Tensor& t) const {
  return preconditioning.resolved(predicts, process).c_in(process, t);
}

Tensor Parametrisation::c_noise(const Process& process, const Tensor& t) const {
  return preconditioning.resolved(predicts, process).c_noise(process, t);
}

}  // namespace retort
