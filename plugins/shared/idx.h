/// Data sets in the idx format of MNIST, plain or gzip-compressed.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <map>
#include <tuple>

#include "idx_file.h"

namespace retort {

/// A file of unsigned bytes as a tensor.
inline Tensor read_idx_file(const std::string& path, size_t rank) {
  IdxFile file = parse_idx_file(path, rank);
  return at::from_blob(file.bytes.data(), file.shape, at::TensorOptions().dtype(at::kByte)).clone();
}

/// The same, each file once in a process: the cells of a sweep share their data. A file that was written anew or
/// replaced is another one.
inline Tensor read_idx(const std::string& path, size_t rank) {
  using File = std::tuple<std::string, dev_t, ino_t, off_t, int64_t, int64_t, size_t>;
  static std::map<File, Tensor> known;
  struct stat status = {};
  stat(path.c_str(), &status);  // what is missing is said by the reader
  Tensor& entry =
      known[{path, status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, rank}];
  if (!entry.defined()) {
    entry = read_idx_file(path, rank);
  }
  return entry;
}

/// Pictures and labels in idx files, with a black border where `pad` asks for one. x = (pixel / 255 - mean) / std.
class IdxPictures : public Dataset {
 public:
  std::vector<int64_t> shape() const override {
    return {1, pictures_[0].size(1) + 2 * pad_, pictures_[0].size(2) + 2 * pad_};
  }
  int64_t classes() const override { return classes_; }
  Tensor labels(Split split) const override { return labels_[part(split)]; }
  int64_t size(Split split) const override { return pictures_[part(split)].size(0); }

  Batch batch(Split split, const Tensor& index) const override {
    Tensor bytes = pictures_[part(split)].index_select(0, index).unsqueeze(1);
    if (pad_ > 0) {
      bytes = at::constant_pad_nd(bytes, {pad_, pad_, pad_, pad_});
    }
    Batch out{(bytes.to(at::kFloat) / 255 - mean_) / std_, {}};
    if (const Tensor& labels = labels_[part(split)]; labels.defined()) {
      out.condition.set(inputs::labels, labels.index_select(0, index));
    }
    return out;
  }

  Tensor pictures(const Tensor& x) const override { return (x.to(at::kFloat) * std_ + mean_).clamp(0, 1); }

 protected:
  IdxPictures(Params& p, double mean, double std)
      : mean_(p.get("mean", mean, "subtracted from pixels in [0, 1]")),
        std_(p.get("std", std, "what the rest is divided by", more_than(0))),
        pad_(p.get("pad", 0, "black pixels added on every side; 2 makes 28 x 28 to 32 x 32", at_least(0))) {}

  /// Empty label paths: no labels. Empty test paths: the training files serve as test set too.
  void read(const std::string& train, const std::string& train_labels, const std::string& test,
            const std::string& test_labels) {
    pictures_[0] = read_idx(train, 3);
    pictures_[1] = test.empty() ? pictures_[0] : read_idx(test, 3);
    if (pictures_[0].sizes().slice(1) != pictures_[1].sizes().slice(1)) {
      throw RequestError(test + ": has pictures of another size than " + train);
    }
    if (!train_labels.empty()) {
      labels_[0] = read_labels(train_labels, pictures_[0], train);
      labels_[1] = test.empty() ? labels_[0] : read_labels(test_labels, pictures_[1], test);
      classes_ = std::max(labels_[0].max().item<int64_t>(), labels_[1].max().item<int64_t>()) + 1;
    }
  }

 private:
  static size_t part(Split split) { return split == Split::train ? 0 : 1; }

  static Tensor read_labels(const std::string& path, const Tensor& pictures, const std::string& picture_path) {
    const Tensor labels = read_idx(path, 1).to(at::kLong);
    if (labels.size(0) != pictures.size(0)) {
      throw RequestError(path + ": has " + std::to_string(labels.size(0)) + " labels for the " +
                         std::to_string(pictures.size(0)) + " pictures of " + picture_path);
    }
    return labels;
  }

  double mean_, std_;
  int64_t pad_;
  int64_t classes_ = 0;
  Tensor pictures_[2];  // [n, height, width] bytes, of the training and the test split
  Tensor labels_[2];    // [n] int64, or undefined
};

}  // namespace retort
