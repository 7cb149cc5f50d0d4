/// The data set of the pictures in folders and archives, which `image_folder` is and `captions` builds on.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../shared/pictures/store.h"

namespace retort {

/// The keys that say which pictures are read, and how.
struct PictureKeys {
  /// With `by_folders`, there is no key `labels`: it is said already whether sub-folders are classes.
  explicit PictureKeys(Params& p, std::optional<bool> by_folders = std::nullopt)
      : mean(p.get("mean", 0.5, "subtracted from values in [0, 1]")),
        std(p.get("std", 0.5, "what the rest is divided by", more_than(0))),
        sources(p.paths("folder", {}, "a folder, a .zip, .tar, .tar.gz or .tgz of pictures, or a list of them")) {
    reading.size = p.get("size", 0, "side of the square that pictures are resized to; 0: all have one size already",
                         between(0, most_pixels_a_side));
    reading.resize = parse_resize(p.choice(
        "resize", "crop", {"crop", "fit", "stretch"},
        "crop: shorter side to `size`, then the middle; fit: longer side to `size`, then bars; stretch: both"));
    flip = p.get("flip", false, "train on mirrored pictures too");
    reading.grey = p.get("grey", false, "read as one channel");
    reading.background = parse_colour(
        p, p.get("background", "",
                 "\"#rrggbb\", \"black\", \"white\" or \"grey\": behind transparency and in the bars of `fit`; empty: "
                 "transparency is dropped, bars are black"));
    reading.by_folders = by_folders ? *by_folders
                                    : p.choice("labels", "folders", {"folders", "none"},
                                               "folders: sub-folders that hold pictures are classes; none: all levels "
                                               "are read as pictures without labels") == "folders";
    reading.skip_damaged = p.choice("damaged", "stop", {"stop", "skip"},
                                    "what a damaged picture does: stop with an error, or be left out") == "skip";
    reading.memory = p.get("memory", 2.0, "GiB of decoded pictures that are kept", at_least(0));
    test_every = p.get("test_every", 10, "every so many-th picture is for testing", at_least(2));
  }

  /// A key that means nothing without `folder`, and is written in the configuration; empty where there is none.
  static std::string given(const Params& p) {
    for (const char* key : {"size", "resize", "flip", "grey", "background", "damaged", "memory", "test_every"}) {
      if (p.given(key)) {
        return key;
      }
    }
    return "";
  }

  double mean, std;
  std::vector<std::string> sources;
  PictureReading reading;
  bool flip = false;
  int64_t test_every = 0;

 private:
  static std::optional<Colour> parse_colour(Params& p, const std::string& text) {
    if (text.empty()) {
      return std::nullopt;
    }
    const std::map<std::string, Colour> words = {
        {"black", {0, 0, 0}}, {"white", {255, 255, 255}}, {"grey", {128, 128, 128}}, {"gray", {128, 128, 128}}};
    if (const auto it = words.find(text); it != words.end()) {
      return it->second;
    }
    if (text.size() != 7 || text[0] != '#' ||
        text.find_first_not_of("0123456789abcdefABCDEF", 1) != std::string::npos) {
      throw p.error("background",
                    "'" + text + "' is no colour; expected \"#rrggbb\", \"black\", \"white\" or \"grey\"");
    }
    const auto part = [&](size_t at) { return static_cast<uint8_t>(std::stoi(text.substr(at, 2), nullptr, 16)); };
    return Colour{part(1), part(3), part(5)};
  }

  static Resize parse_resize(const std::string& word) {
    return word == "crop" ? Resize::crop : word == "fit" ? Resize::fit : Resize::stretch;
  }
};

class PictureFolder : public Dataset {
 public:
  /// Reads nothing where the plugin is only described.
  PictureFolder(const Params& p, const PictureKeys& keys) : mean_(keys.mean), std_(keys.std), flip_(keys.flip) {
    if (p.is_describing()) {
      return;
    }
    check_sources(p, keys.sources);
    store_ = PictureStore::open(keys.sources, keys.reading);
    if (store_->size() < 2) {
      const std::string notes = store_->notes();
      throw p.error("folder", spell(keys.sources) + (keys.sources.size() == 1 ? " holds " : " hold ") +
                                  std::to_string(store_->size()) + " picture(s); expected two or more" +
                                  (notes.empty() ? "" : " (" + notes + ")"));
    }
    const Tensor index = at::arange(store_->size(), at::kLong);
    const Tensor test = at::remainder(index, keys.test_every) == keys.test_every - 1;
    index_[0] = at::nonzero(test.logical_not()).view({-1});
    index_[1] = test.any().item<bool>() ? at::nonzero(test).view({-1}) : index_[0];
    labels_ = store_->labels();
    find_neighbours();
  }

  const PictureStore& store() const { return *store_; }

  std::vector<int64_t> shape() const override { return store_->shape(); }
  int64_t classes() const override { return static_cast<int64_t>(store_->classes().size()); }
  std::vector<std::string> class_names() const override { return store_->classes(); }
  int64_t size(Split split) const override { return index_[part(split)].size(0) * (flips(split) ? 2 : 1); }
  std::string notes() const override { return store_->notes(); }

  Tensor labels(Split split) const override {
    if (classes() == 0) {
      return {};
    }
    const Tensor labels = labels_.index_select(0, index_[part(split)]);
    return flips(split) ? at::cat({labels, labels}) : labels;
  }

  Batch batch(Split split, const Tensor& index) const override { return read(split, index).first; }

  /// A batch, and which pictures of the store it has. [B] int64
  std::pair<Batch, Tensor> read(Split split, const Tensor& index) const {
    const Tensor& all = index_[part(split)];
    const Tensor mirrored = index >= all.size(0);
    const Tensor at = all.index_select(0, flips(split) ? at::where(mirrored, index - all.size(0), index) : index);
    const std::vector<int64_t>& next = next_[part(split)];
    Tensor used;
    Tensor x = store_->pictures(
        at, [&](int64_t i) { return next[static_cast<size_t>(i)]; }, &used);
    if (flips(split)) {
      x = at::where(mirrored.view({-1, 1, 1, 1}), x.flip({3}), x);
    }
    Batch out{(x - mean_) / std_, {}};
    if (classes() > 0) {
      out.condition.set(inputs::labels, labels_.index_select(0, at));
    }
    return {out, used};
  }

  Tensor pictures(const Tensor& x) const override { return (x.to(at::kFloat) * std_ + mean_).clamp(0, 1); }

 private:
  static size_t part(Split split) { return split == Split::train ? 0 : 1; }
  bool flips(Split split) const { return flip_ && split == Split::train; }

  static std::string spell(const std::vector<std::string>& sources) {
    std::string out;
    for (const std::string& source : sources) {
      out += (out.empty() ? "" : ", ") + source;
    }
    return out;
  }

  static void check_sources(const Params& p, const std::vector<std::string>& sources) {
    if (sources.empty() || sources[0].empty()) {
      throw p.error("folder", "missing; expected a folder or archive of pictures, or a list of them");
    }
    for (const std::string& source : sources) {
      std::error_code error;  // what cannot be looked at does not exist here
      if (!std::filesystem::is_directory(source, error) &&
          !(std::filesystem::is_regular_file(source, error) && is_archive_name(source))) {
        throw p.error("folder", source + (std::filesystem::exists(source, error)
                                              ? " is no folder, and no .zip, .tar, .tar.gz or .tgz"
                                              : " does not exist; expected a folder or archive of pictures"));
      }
    }
  }

  // For each picture the next one of its class and split, after the last the first.
  void find_neighbours() {
    for (size_t split = 0; split < 2; ++split) {
      next_[split].assign(static_cast<size_t>(store_->size()), 0);
      std::map<int64_t, std::pair<int64_t, int64_t>> ends;  // of each class: the first, and the latest
      for (int64_t i = 0; i < index_[split].size(0); ++i) {
        const auto at = index_[split][i].item<int64_t>(), label = labels_[at].item<int64_t>();
        const auto [it, fresh] = ends.try_emplace(label, at, at);
        next_[split][static_cast<size_t>(it->second.second)] = at;
        it->second.second = at;
        next_[split][static_cast<size_t>(at)] = it->second.first;
      }
    }
  }

  double mean_, std_;
  bool flip_;
  std::shared_ptr<const PictureStore> store_;
  Tensor labels_;                 // [n] of all pictures
  Tensor index_[2];               // which of them belong to the training and the test split
  std::vector<int64_t> next_[2];  // what a damaged picture is replaced by
};

}  // namespace retort
