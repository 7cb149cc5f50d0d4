/// A folder of PNG pictures; sub-folders, if there are any, are the classes.
///
/// All pictures must have one size. x = (pixel / 255 - mean) / std. One in `test_every` pictures, in order of name, is
/// kept for the test split.
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>
#include <png.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

using namespace retort;
namespace fs = std::filesystem;

namespace {

std::vector<fs::path> sorted_entries(const fs::path& folder, bool folders) {
  std::vector<fs::path> out;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (folders ? entry.is_directory() : entry.is_regular_file() && entry.path().extension() == ".png") {
      out.push_back(entry.path());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// [C, H, W] bytes
Tensor read_png(const fs::path& path, bool grey) {
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  const auto fail = [&](const std::string& what) {
    png_image_free(&image);
    return RequestError(path.string() + ": " + what);
  };
  if (png_image_begin_read_from_file(&image, path.c_str()) == 0) {
    throw fail(std::string("is no readable PNG: ") + image.message);
  }
  constexpr png_uint_32 most = 1 << 14;
  if (image.width > most || image.height > most) {
    throw fail("is larger than " + std::to_string(most) + " pixels a side");
  }
  image.format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  const Tensor pixels = at::empty({image.height, image.width, grey ? 1 : 3}, at::TensorOptions().dtype(at::kByte));
  const png_color black = {0, 0, 0};  // behind transparent pixels
  if (png_image_finish_read(&image, &black, pixels.data_ptr(), 0, nullptr) == 0) {
    throw fail(std::string("is a damaged PNG: ") + image.message);
  }
  return pixels.permute({2, 0, 1}).contiguous();
}

}  // namespace

class ImageFolder final : public Dataset {
 public:
  explicit ImageFolder(Params& p)
      : mean_(p.get("mean", 0.5, "subtracted from pixels in [0, 1]")),
        std_(p.get("std", 0.5, "what the rest is divided by", more_than(0))) {
    const std::string folder = p.path("folder", "", "holds PNG files, or one sub-folder of them per class");
    const bool grey = p.get("grey", false, "read as one channel");
    const int64_t test_every = p.get("test_every", 10, "every so many-th picture is for testing", at_least(2));
    if (p.is_describing()) {
      return;
    }
    if (folder.empty() || !fs::is_directory(folder)) {
      throw p.error("folder", folder.empty() ? "missing; expected a folder of PNG files" : folder + " is no folder");
    }
    std::vector<Tensor> pictures;
    std::vector<int64_t> labels;
    const auto read_all = [&](const fs::path& from, int64_t label) {
      for (const fs::path& path : sorted_entries(from, false)) {
        pictures.push_back(read_png(path, grey));
        labels.push_back(label);
        if (pictures.back().sizes() != pictures[0].sizes()) {
          throw RequestError(path.string() + ": is " + std::to_string(pictures.back().size(2)) + " x " +
                             std::to_string(pictures.back().size(1)) + " pixels; the first picture has " +
                             std::to_string(pictures[0].size(2)) + " x " + std::to_string(pictures[0].size(1)));
        }
      }
    };
    for (const fs::path& sub : sorted_entries(folder, true)) {
      read_all(sub, static_cast<int64_t>(names_.size()));
      names_.push_back(sub.filename().string());
    }
    if (names_.empty()) {
      read_all(folder, 0);
    }
    if (pictures.size() < 2) {
      throw p.error("folder",
                    folder + " holds " + std::to_string(pictures.size()) + " PNG file(s); expected two or more");
    }
    const Tensor index = at::arange(static_cast<int64_t>(pictures.size()), at::kLong);
    const Tensor test = at::remainder(index, test_every) == test_every - 1;
    index_[0] = at::nonzero(test.logical_not()).view({-1});
    index_[1] = test.any().item<bool>() ? at::nonzero(test).view({-1}) : index_[0];
    pixels_ = at::stack(pictures);
    labels_ = names_.empty() ? Tensor() : at::tensor(labels, at::kLong);
  }

  std::vector<int64_t> shape() const override { return pixels_.sizes().slice(1).vec(); }
  int64_t classes() const override { return static_cast<int64_t>(names_.size()); }
  std::vector<std::string> class_names() const override { return names_; }
  int64_t size(Split split) const override { return index_[split == Split::train ? 0 : 1].size(0); }

  Batch batch(Split split, const Tensor& index) const override {
    const Tensor at = index_[split == Split::train ? 0 : 1].index_select(0, index);
    return {(pixels_.index_select(0, at).to(at::kFloat) / 255 - mean_) / std_,
            {labels_.defined() ? labels_.index_select(0, at) : Tensor()}};
  }

  Tensor pictures(const Tensor& x) const override { return (x.to(at::kFloat) * std_ + mean_).clamp(0, 1); }

 private:
  double mean_, std_;
  std::vector<std::string> names_;
  Tensor pixels_;    // [n, C, H, W] bytes
  Tensor labels_;    // [n], or undefined
  Tensor index_[2];  // which of them belong to the training and the test split
};

RETORT_PLUGIN(ImageFolder, dataset, image_folder)
