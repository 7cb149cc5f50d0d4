#include "encode/latent_data.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "config/experiment.h"
#include "sample/conditions.h"

namespace retort {

namespace {

// So many of a picture's numbers are under way at once: two pictures of 512 x 512, some hundred megabytes of features.
constexpr int64_t numbers_at_once = 1 << 21;

int64_t rows_at_once(at::IntArrayRef picture) {
  return std::max<int64_t>(numbers_at_once / std::max<int64_t>(c10::multiply_integers(picture), 1), 1);
}

Tensor by_parts(const Tensor& x, int64_t rows, const std::function<Tensor(const Tensor& part, int64_t first)>& make) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> parts;
  for (int64_t first = 0; first == 0 || first < x.size(0); first += rows) {
    parts.push_back(make(x.narrow(0, first, std::min(rows, x.size(0) - first)), first));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

Tensor placed(const Backend& backend, const Tensor& x) { return x.to(backend.device(), backend.dtype()); }

// The other side's shape, or why there is none.
std::optional<std::vector<int64_t>> try_shape(const std::function<std::vector<int64_t>()>& ask, std::string& why) {
  try {
    return ask();
  } catch (const RequestError& e) {
    why = e.what();
    return std::nullopt;
  }
}

}  // namespace

Tensor encode_rows(const Autoencoder& autoencoder, const Backend& backend, const Tensor& pictures,
                   const Tensor& noise) {
  return by_parts(pictures, rows_at_once(pictures.sizes().slice(1)), [&](const Tensor& part, int64_t first) {
    const Tensor drawn = noise.defined() ? placed(backend, noise.narrow(0, first, part.size(0))) : noise;
    return autoencoder.encode(placed(backend, part), drawn);
  });
}

Tensor decode_rows(const Autoencoder& autoencoder, const Backend& backend, const Tensor& latents) {
  const std::vector<int64_t> picture = autoencoder.picture_shape(latents.sizes().slice(1).vec());
  return by_parts(latents, rows_at_once(picture),
                  [&](const Tensor& part, int64_t) { return autoencoder.decode(placed(backend, part)); });
}

Tensor in_unit_range(const Tensor& x) {
  if (x.dim() != 4 || (x.size(1) != 1 && x.size(1) != 3)) {
    return {};
  }
  return ((x.to(at::kFloat) + 1) / 2).clamp(0, 1);
}

LatentData::LatentData(std::shared_ptr<Dataset> data, std::shared_ptr<Autoencoder> autoencoder, const Backend& backend)
    : data_(std::move(data)), autoencoder_(std::move(autoencoder)), backend_(backend) {
  const std::vector<int64_t> given = data_->shape();
  std::string no_pictures, no_latents;
  const auto latent = try_shape([&] { return autoencoder_->latent_shape(given); }, no_pictures);
  const auto picture = try_shape([&] { return autoencoder_->picture_shape(given); }, no_latents);
  if (!latent && !picture) {
    throw RequestError("takes the data set's samples of " + spell(given) + " neither for pictures (" + no_pictures +
                       ") nor for latents (" + no_latents + ")");
  }
  std::vector<int64_t> with_row = given;
  with_row.insert(with_row.begin(), 1);
  encodes_ = latent && (!picture || data_->pictures(at::zeros(with_row)).defined());
  shape_ = encodes_ ? *latent : given;
  if (encodes_ && autoencoder_->picture_shape(shape_) != given) {
    throw RequestError("makes pictures of " + spell(autoencoder_->picture_shape(shape_)) +
                       " of the data set's, of which each is " + spell(given) + "; expected ones whose sides it keeps");
  }
  same_shape_ = autoencoder_->picture_shape(shape_) == shape_;
  check_range();
}

// An encoder has learnt from pictures in [-1, 1].
void LatentData::check_range() const {
  if (!has_both()) {
    return;
  }
  std::vector<Tensor> rows;
  for (const double level : {-1.0, 0.0, 1.0}) {
    rows.push_back(at::full(data_->shape(), level));
  }
  const Tensor levels = at::stack(rows), shown = data_->pictures(levels);
  if (shown.defined() && !at::allclose(shown.to(at::kFloat), (levels + 1) / 2, 0, 1e-3)) {
    throw RequestError(
        "takes pictures in [-1, 1], from black to white, and the data set gives others; expected one with mean = 0.5 "
        "and std = 0.5");
  }
}

Batch LatentData::batch(Split split, const Tensor& index) const {
  if (!encodes_) {
    return data_->batch(split, index);
  }
  std::vector<Conditioning> conditions;
  const auto make = [&](const Tensor& part, int64_t) {
    const Batch pictures = data_->batch(split, part);
    conditions.push_back(pictures.condition);
    return encode_rows(*autoencoder_, backend_, pictures.x).to(at::kCPU, at::kFloat);
  };
  const Tensor latents = by_parts(index, rows_at_once(data_->shape()), make);
  return {latents, joined(conditions)};
}

Tensor LatentData::pictures(const Tensor& x) const {
  const Tensor decoded = decode_rows(*autoencoder_, backend_, x);
  const Tensor shown = encodes_ || same_shape_ ? data_->pictures(decoded) : Tensor();
  return shown.defined() || same_shape_ ? shown : in_unit_range(decoded);
}

}  // namespace retort
