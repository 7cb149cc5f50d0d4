/// Data behind an autoencoder: pictures on one side, the latents that a model is trained on on the other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "retort/autoencoder.h"
#include "retort/backend.h"
#include "retort/dataset.h"

namespace retort {

/// Latents of pictures, or pictures of latents, a few rows at a time, as large pictures take much room on their way
/// through a network. On the backend, in its precision, and without gradients. Rows: [n, …]
Tensor encode_rows(const Autoencoder& autoencoder, const Backend& backend, const Tensor& pictures,
                   const Tensor& noise = {});
Tensor decode_rows(const Autoencoder& autoencoder, const Backend& backend, const Tensor& latents);

/// Pictures in about [-1, 1] as they are shown, in [0, 1]; undefined for what cannot be shown. x: [n, C, H, W]
Tensor in_unit_range(const Tensor& x);

/// What a model is trained on: the latents of a data set of pictures, each the mean of what its encoder says; or a data
/// set of latents as it is. Either is shown as pictures.
class LatentData final : public Dataset {
 public:
  /// Finds by the shapes whether `data` gives pictures or latents; where they may be either, they are pictures if the
  /// data set shows them as such. Throws RequestError where they can be neither.
  LatentData(std::shared_ptr<Dataset> data, std::shared_ptr<Autoencoder> autoencoder, const Backend& backend);

  /// Whether the data are pictures that are encoded.
  bool encodes() const { return encodes_; }
  /// Whether there are two things for each sample: its picture, and the latents that it is encoded to.
  bool has_both() const { return encodes_ && !same_shape_; }
  /// The data set itself.
  const Dataset& data() const { return *data_; }

  std::vector<int64_t> shape() const override { return shape_; }
  int64_t classes() const override { return data_->classes(); }
  std::vector<Input> inputs() const override { return data_->inputs(); }
  std::vector<std::string> class_names() const override { return data_->class_names(); }
  int64_t size(Split split) const override { return data_->size(split); }
  Batch batch(Split split, const Tensor& index) const override;
  Tensor pictures(const Tensor& x) const override;
  Tensor labels(Split split) const override { return data_->labels(split); }
  std::string notes() const override { return data_->notes(); }

 private:
  void check_range() const;

  std::shared_ptr<Dataset> data_;
  std::shared_ptr<Autoencoder> autoencoder_;
  const Backend& backend_;
  bool encodes_ = false;
  bool same_shape_ = false;  // of pictures and states, as where encoding changes nothing
  std::vector<int64_t> shape_;
};

}  // namespace retort
