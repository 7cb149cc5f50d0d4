/// Data sets in the idx format of MNIST, plain or gzip-compressed.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>
#include <zlib.h>

#include <filesystem>
#include <map>
#include <memory>

namespace retort {

/// A file of unsigned bytes: magic 0x0000 08 RANK, then RANK big-endian sizes, then the bytes. Throws RequestError that
/// names the file and what is wrong with it.
inline Tensor read_idx_file(const std::string& path, size_t rank) {
  const auto fail = [&path](const std::string& what) { return RequestError(path + ": " + what); };
  if (!std::filesystem::is_regular_file(path)) {
    throw fail("no such file; expected an idx file");
  }
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) {
    throw fail("cannot be opened");
  }
  const auto read = [&](void* to, size_t count) {
    auto* out = static_cast<unsigned char*>(to);
    while (count > 0) {
      const auto part = static_cast<unsigned>(std::min<size_t>(count, 1U << 24));
      const int got = gzread(file.get(), out, part);
      if (got <= 0) {
        throw fail("is truncated or damaged; expected a whole idx file");
      }
      out += got;
      count -= static_cast<size_t>(got);
    }
  };
  unsigned char magic[4];
  read(magic, 4);
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || magic[3] != rank) {
    throw fail("is no idx file of unsigned bytes in " + std::to_string(rank) + " dimension(s)");
  }
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (size_t i = 0; i < rank; ++i) {
    unsigned char b[4];
    read(b, 4);
    shape.push_back(int64_t{b[0]} << 24 | b[1] << 16 | b[2] << 8 | b[3]);
    constexpr int64_t most = int64_t{1} << 33;
    if (shape.back() == 0 || shape.back() > most / count) {
      throw fail("declares an impossible size");
    }
    count *= shape.back();
  }
  // Read in pieces, so that a false size fails at the file's end and not in an enormous allocation.
  std::vector<unsigned char> bytes;
  constexpr int64_t piece = 1 << 22;
  while (static_cast<int64_t>(bytes.size()) < count) {
    const size_t old = bytes.size();
    bytes.resize(static_cast<size_t>(std::min<int64_t>(count, static_cast<int64_t>(old) + piece)));
    read(bytes.data() + old, bytes.size() - old);
  }
  return at::from_blob(bytes.data(), shape, at::TensorOptions().dtype(at::kByte)).clone();
}

/// The same, each file once in a process: the cells of a sweep share their data.
inline Tensor read_idx(const std::string& path, size_t rank) {
  static std::map<std::pair<std::string, std::filesystem::file_time_type>, Tensor> known;
  std::error_code missing;
  Tensor& entry = known[{path, std::filesystem::last_write_time(path, missing)}];
  if (!entry.defined() || entry.dim() != static_cast<int64_t>(rank)) {
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
  int64_t size(Split split) const override { return pictures_[part(split)].size(0); }

  Batch batch(Split split, const Tensor& index) const override {
    Tensor bytes = pictures_[part(split)].index_select(0, index).unsqueeze(1);
    if (pad_ > 0) {
      bytes = at::constant_pad_nd(bytes, {pad_, pad_, pad_, pad_});
    }
    const Tensor& labels = labels_[part(split)];
    return {(bytes.to(at::kFloat) / 255 - mean_) / std_, {labels.defined() ? labels.index_select(0, index) : Tensor()}};
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
