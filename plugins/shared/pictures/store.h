/// The pictures of folders and archives, decoded once where memory allows it, and when they are asked for otherwise.
#pragma once

#include <retort/error.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "captions.h"
#include "listing.h"
#include "resize.h"

namespace retort {

struct PictureReading {
  bool grey = false;
  std::optional<Colour> background = {};  // behind transparency and in bars
  int64_t size = 0;                       // 0: all pictures have one size
  Resize resize = Resize::crop;
  bool by_folders = true;                       // sub-folders are classes
  bool skip_damaged = false;                    // leave damaged pictures out
  double memory = 2;                            // GiB of decoded pictures that are kept
  std::optional<CaptionReading> captions = {};  // pictures without one are then left out
};

/// A picture that is sound, but not of the size of the others.
class OtherSize final : public RequestError {
 public:
  using RequestError::RequestError;
};

class PictureStore {
 public:
  /// Lists and, where they fit into memory, decodes all pictures of `sources`: folders and archives. The same ones,
  /// read in the same way, are kept once in a process. Throws RequestError, as for pictures of different sizes.
  static std::shared_ptr<const PictureStore> open(const std::vector<std::string>& sources,
                                                  const PictureReading& reading);

  int64_t size() const { return static_cast<int64_t>(listing_.entries.size()); }
  /// [C, height, width] of each.
  const std::vector<int64_t>& shape() const { return shape_; }
  const std::vector<std::string>& classes() const { return listing_.classes; }
  /// [size] int64.
  Tensor labels() const;
  /// Of each, where captions are read.
  std::vector<std::string> captions() const;
  /// The path of each within its folder or archive, with '/'.
  std::vector<std::string> paths() const;
  bool in_memory() const { return all_.defined(); }

  /// [n, C, height, width] floats: bytes over 255, deep pictures as they are. `which`: [n] int64. A picture that turns
  /// out to be damaged is replaced by the one that `instead` names for it, if damaged ones are to be skipped, and is an
  /// error otherwise. `used`, if it is wanted, is [n] int64: which picture each is in the end.
  Tensor pictures(const Tensor& which, const std::function<int64_t(int64_t)>& instead, Tensor* used = nullptr) const;

  /// What was left out, on one line.
  std::string notes() const;

 private:
  PictureStore(Listing listing, PictureReading reading) : listing_(std::move(listing)), reading_(std::move(reading)) {}
  Tensor read(const PictureEntry& entry) const;
  void fix_shape();
  bool decode_all(bool deep);
  void probe_all();
  void drop(const std::vector<std::string>& errors);
  std::string other_size(const std::string& name, int64_t height, int64_t width) const;
  bool fits(bool deep) const;
  // `index` becomes that of the picture which is read in the end.
  Tensor read_or_replace(int64_t& index, const std::function<int64_t(int64_t)>& instead) const;

  Listing listing_;
  PictureReading reading_;
  std::vector<int64_t> shape_;
  std::string first_;  // the picture that the shape is from
  Tensor all_;         // [n, C, height, width] bytes, or floats if any is deep; undefined where they do not fit

  mutable std::mutex mutex_;
  mutable std::map<int64_t, Tensor> kept_;  // decoded on demand, first come
  mutable int64_t kept_bytes_ = 0;
  mutable std::map<int64_t, std::string> damaged_later_;
  std::vector<std::string> skipped_;  // the names of those found damaged at first
};

}  // namespace retort
