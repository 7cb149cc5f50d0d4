#include "train/averages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "io/names.h"
#include "io/safetensors.h"
#include "log.h"
#include "retort/error.h"
#include "train/profiles.h"

namespace retort {

namespace {

std::filesystem::path snapshot_path(const std::filesystem::path& checkpoints, int64_t step) {
  return checkpoints / ("averages_" + step_number(step) + ".safetensors");
}

std::string prefix_of(double length) { return Value{length, {}}.text() + "/"; }

}  // namespace

PowerAverages::PowerAverages(const Weights& trained, const TrainSettings& settings)
    : trained_(trained), lengths_(settings.ema_lengths) {
  for (size_t i = 0; i < lengths_.size(); ++i) {
    averages_.push_back(trained.copy());
  }
}

std::string PowerAverages::prefix(size_t i) const { return "averages/" + prefix_of(lengths_[i]); }

void PowerAverages::begin(int64_t step) {
  begin_ = step;
  steps_.clear();
}

void PowerAverages::follow(int64_t step) {
  for (size_t i = 0; i < lengths_.size(); ++i) {
    // The first decay is 0, so nothing before it counts.
    move_average(averages_[i], trained_.tensors,
                 power_decay(power_exponent(lengths_[i]), static_cast<double>(step - begin_)));
  }
}

void PowerAverages::snapshot(const std::filesystem::path& checkpoints, int64_t step, bool writes) {
  steps_.push_back(step);
  if (!writes) {
    return;
  }
  TensorFile file;
  for (size_t i = 0; i < lengths_.size(); ++i) {
    trained_.store(prefix_of(lengths_[i]), averages_[i], file.tensors);
  }
  const auto buffers = trained_.names.begin() + static_cast<std::ptrdiff_t>(trained_.parameter_count);
  Json said = {{"begin", begin_}, {"step", step}, {"lengths", lengths_}};
  said["buffers"] = std::vector<std::string>(buffers, trained_.names.end());
  file.metadata["averages"] = spell(said);
  write_safetensors(snapshot_path(checkpoints, step), file);
}

Json PowerAverages::described() const { return {{"begin", begin_}, {"lengths", lengths_}, {"steps", steps_}}; }

void PowerAverages::store(std::map<std::string, Tensor>& out) const {
  for (size_t i = 0; i < lengths_.size(); ++i) {
    trained_.store(prefix(i), averages_[i], out);
  }
}

void PowerAverages::restore(const std::map<std::string, Tensor>& from, const Json& described) {
  for (size_t i = 0; i < lengths_.size(); ++i) {
    averages_[i] = trained_.restore(prefix(i), from);
  }
  if (lengths_.empty()) {
    return;
  }
  begin_ = described.at("begin").get<int64_t>();
  steps_ = described.at("steps").get<std::vector<int64_t>>();
}

namespace {

// The averages that a checkpoint's snapshots hold: one for each step and length, in this order.
struct Snapshots {
  std::filesystem::path folder;
  int64_t begin = 0;
  std::vector<int64_t> steps;
  std::vector<double> lengths;

  std::vector<PowerProfile> profiles() const {
    std::vector<PowerProfile> out;
    for (const int64_t step : steps) {
      for (const double length : lengths) {
        out.push_back({power_exponent(length), static_cast<double>(step - begin)});
      }
    }
    return out;
  }
};

Snapshots snapshots_of(const std::filesystem::path& checkpoint, const Json& retort) {
  const Json& said = json_at(json_at(retort, "training"), "averages");
  Snapshots out{checkpoint.parent_path(), integer_at(said, "begin"), {}, {}};
  if (said.is_object()) {
    out.steps = said.at("steps").get<std::vector<int64_t>>();
    out.lengths = said.at("lengths").get<std::vector<double>>();
  }
  if (out.steps.empty() || out.lengths.empty()) {
    throw RequestError(checkpoint.string() +
                       ": its training left no snapshots, of which evaluate.ema_lengths are made; expected "
                       "train.ema_lengths, such as [0.05, 0.1], and a training with it");
  }
  for (const int64_t step : out.steps) {
    if (const auto path = snapshot_path(out.folder, step); !std::filesystem::exists(path)) {
      throw RequestError(path.string() +
                         ": this snapshot is missing, and evaluate.ema_lengths needs it; --fresh trains anew");
    }
  }
  return out;
}

void say_error(const Snapshots& from, double length, double error) {
  constexpr double much = 0.15;
  if (error <= much) {
    return;
  }
  std::string lengths;
  for (const double known : from.lengths) {
    lengths += (lengths.empty() ? "" : ", ") + Value{known, {}}.text();
  }
  static std::set<std::string> said;  // each cell of a sweep finds the same
  const std::string line =
      "ema_length = " + Value{length, {}}.text() + " is only roughly made: its profile is missed by " +
      std::to_string(std::lround(100 * error)) + " % by " + std::to_string(from.steps.size()) + " snapshot(s) of " +
      lengths + "; more of them, or a length nearer to it in train.ema_lengths, represent it";
  if (said.insert(line).second) {
    log::done(line);
  }
}

// The mixture's tensors, in their own types; of buffers, what the last snapshot has of the length that is nearest.
std::map<std::string, Tensor> mixed(const Snapshots& from, const std::vector<double>& shares, double length) {
  const auto nearer = [&](double a, double b) { return std::fabs(a - length) < std::fabs(b - length); };
  const std::string nearest = prefix_of(*std::min_element(from.lengths.begin(), from.lengths.end(), nearer));
  std::map<std::string, Tensor> sums;
  std::map<std::string, at::ScalarType> types;
  size_t next = 0;
  for (const int64_t step : from.steps) {
    const TensorFile file = read_safetensors(snapshot_path(from.folder, step));
    for (const double known : from.lengths) {
      const std::string prefix = prefix_of(known);
      const double share = shares[next++];
      for (auto i = file.tensors.lower_bound(prefix); i != file.tensors.end() && i->first.starts_with(prefix); ++i) {
        const std::string name = i->first.substr(prefix.size());
        Tensor& sum = sums.try_emplace(name, at::zeros(i->second.sizes(), at::kDouble)).first->second;
        sum.add_(i->second.to(at::kDouble), share);
        types[name] = i->second.scalar_type();
      }
    }
    if (step == from.steps.back()) {
      const Json said = Json::parse(file.metadata.at("averages"));
      for (const std::string buffer : said.at("buffers")) {
        sums[buffer] = file.tensors.at(nearest + buffer);
      }
    }
  }
  for (auto& [name, sum] : sums) {
    sum = sum.to(types.at(name));
  }
  return sums;
}

}  // namespace

std::filesystem::path reconstruct_average(const std::filesystem::path& checkpoint, double length) {
  std::filesystem::path source = adapter_of(checkpoint);
  const bool adapter = std::filesystem::exists(source);
  if (!adapter) {
    source = checkpoint;
  }
  TensorFile out;
  out.metadata = read_metadata(source);
  Json retort = Json::parse(out.metadata.at("retort"));
  const Snapshots from = snapshots_of(checkpoint, retort);
  const PowerProfile wanted{power_exponent(length), static_cast<double>(from.steps.back() - from.begin)};
  const Mixture mixture = mix(from.profiles(), wanted);
  say_error(from, length, mixture.error);
  out.tensors = mixed(from, mixture.shares, length);
  retort["training"]["ema_length"] = length;
  out.metadata["retort"] = spell(retort);
  const std::string name = checkpoint.stem().string() + "_ema_" + Value{length, {}}.text() +
                           (adapter ? ".adapter.safetensors" : ".safetensors");
  write_safetensors(checkpoint.parent_path() / name, out);
  return checkpoint.parent_path() / name;
}

}  // namespace retort
