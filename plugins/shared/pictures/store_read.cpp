// Pictures of a store as tensors.
#include <ATen/ATen.h>

#include <algorithm>

#include "parallel.h"
#include "store.h"

namespace retort {

Tensor PictureStore::labels() const {
  std::vector<int64_t> out;
  for (const PictureEntry& entry : listing_.entries) {
    out.push_back(entry.label);
  }
  return at::tensor(out, at::kLong);
}

std::vector<std::string> PictureStore::captions() const {
  std::vector<std::string> out;
  for (const PictureEntry& entry : listing_.entries) {
    out.push_back(entry.caption);
  }
  return out;
}

std::vector<std::string> PictureStore::paths() const {
  std::vector<std::string> out;
  for (const PictureEntry& entry : listing_.entries) {
    out.push_back(entry.within);
  }
  return out;
}

// [C, height, width], of the size that is asked for: bytes, or floats of a deep picture.
Tensor PictureStore::read(const PictureEntry& entry) const {
  const std::vector<uint8_t> file = read_entry(entry);
  const Picture picture = decode_picture(file, entry.name);
  const std::vector<int64_t> shape = {reading_.grey ? 1 : 3, picture.height, picture.width};
  Tensor out;
  if (picture.deep) {
    std::vector<float> values = picture_values(picture, reading_.grey, reading_.background);
    out = at::from_blob(values.data(), shape, at::kFloat).clone();
  } else {
    std::vector<uint8_t> bytes = picture_bytes(picture, reading_.grey, reading_.background);
    out = at::from_blob(bytes.data(), shape, at::kByte).clone();
  }
  return reading_.size > 0 ? resized(out, reading_.size, reading_.resize, reading_.background) : out;
}

Tensor PictureStore::read_or_replace(int64_t& index, const std::function<int64_t(int64_t)>& instead) const {
  const int64_t first = index;
  for (int64_t& at = index;;) {
    std::string error;
    {
      const std::lock_guard lock(mutex_);
      if (const auto it = kept_.find(at); it != kept_.end()) {
        return it->second;
      }
      if (const auto it = damaged_later_.find(at); it != damaged_later_.end()) {
        error = it->second;
      }
    }
    if (error.empty()) {
      const PictureEntry& entry = listing_.entries[static_cast<size_t>(at)];
      try {
        const Tensor x = read(entry);
        if (x.sizes() != at::IntArrayRef(shape_)) {
          throw OtherSize(other_size(entry.name, x.size(1), x.size(2)));
        }
        const auto bytes = static_cast<int64_t>(x.nbytes());
        const std::lock_guard lock(mutex_);
        if (static_cast<double>(kept_bytes_ + bytes) <= reading_.memory * static_cast<double>(int64_t{1} << 30) &&
            kept_.emplace(at, x).second) {
          kept_bytes_ += bytes;
        }
        return x;
      } catch (const OtherSize&) {
        throw;
      } catch (const RequestError& e) {
        if (!reading_.skip_damaged) {
          throw;
        }
        error = e.what();
        const std::lock_guard lock(mutex_);
        damaged_later_[at] = error;
      }
    }
    at = instead(at);
    if (at == first) {
      throw RequestError(error);  // no other is left
    }
  }
}

Tensor PictureStore::pictures(const Tensor& which, const std::function<int64_t(int64_t)>& instead, Tensor* used) const {
  if (used != nullptr) {
    *used = which;
  }
  if (all_.defined()) {
    const Tensor x = all_.index_select(0, which);
    return x.scalar_type() == at::kByte ? x.to(at::kFloat).div_(255) : x;
  }
  const int64_t n = which.size(0);
  std::vector<int64_t> shape = shape_;
  shape.insert(shape.begin(), n);
  Tensor out = at::empty(shape, at::kFloat);
  Tensor indices = which.clone(at::MemoryFormat::Contiguous);
  auto* index = indices.mutable_data_ptr<int64_t>();
  std::vector<std::string> errors(static_cast<size_t>(n));
  in_parallel(n, [&](int64_t i) {
    try {
      const Tensor x = read_or_replace(index[i], instead);
      out[i].copy_(x.scalar_type() == at::kByte ? x.to(at::kFloat).div_(255) : x);
    } catch (const RequestError& e) {
      errors[static_cast<size_t>(i)] = e.what();
      return false;
    }
    return true;
  });
  for (const std::string& error : errors) {
    if (!error.empty()) {
      throw RequestError(error);
    }
  }
  if (used != nullptr) {
    *used = indices;
  }
  return out;
}

std::string PictureStore::notes() const {
  std::vector<std::string> names = skipped_;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [index, error] : damaged_later_) {
      names.push_back(listing_.entries[static_cast<size_t>(index)].name);
    }
  }
  std::string out = listing_.left_out;
  if (!names.empty()) {
    out += (out.empty() ? "" : "; ") + std::to_string(names.size()) +
           (names.size() == 1 ? " damaged picture was skipped: " : " damaged pictures were skipped, the first: ") +
           *std::min_element(names.begin(), names.end());
  }
  return out;
}

}  // namespace retort
