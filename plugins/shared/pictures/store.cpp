#include "store.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>

#include "parallel.h"

namespace retort {

namespace {

std::string spell_size(int64_t height, int64_t width) {
  return std::to_string(width) + " x " + std::to_string(height) + " pixels";
}

bool is_archive(const std::string& source) {
  std::error_code error;
  return is_archive_name(source) && !std::filesystem::is_directory(source, error);
}

std::vector<PictureTree> scan(const std::vector<std::string>& sources) {
  std::vector<PictureTree> out;
  for (const std::string& source : sources) {
    if (is_archive(source)) {  // read only if nothing is known of it
      out.emplace_back();
      out.back().name = source;
      out.back().identity = archive_identity(source);
    } else {
      out.push_back(scan_folder(source));
    }
  }
  return out;
}

std::string spell_key(const std::vector<PictureTree>& trees, const PictureReading& r) {
  std::string out;
  for (const PictureTree& tree : trees) {
    out += tree.name + '\n' + tree.identity;
    if (r.captions) {
      out += tree.text_identity;
    }
  }
  if (r.captions) {
    out += std::to_string(static_cast<int>(r.captions->form)) + '\n' + r.captions->file_key + '\n';
    for (const std::string& key : r.captions->text_keys) {
      out += key + '\n';
    }
  }
  for (const int64_t n : {int64_t{r.grey}, int64_t{r.background.has_value()}, r.size, static_cast<int64_t>(r.resize),
                          int64_t{r.by_folders}, int64_t{r.skip_damaged}}) {
    out += std::to_string(n) + ' ';
  }
  const Colour c = r.background.value_or(Colour{});
  return out + std::to_string(c.red) + ' ' + std::to_string(c.green) + ' ' + std::to_string(c.blue) + ' ' +
         std::to_string(r.memory);
}

}  // namespace

std::shared_ptr<const PictureStore> PictureStore::open(const std::vector<std::string>& sources,
                                                       const PictureReading& reading) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const PictureStore>> known;
  const std::lock_guard lock(mutex);
  std::vector<PictureTree> trees = scan(sources);
  const std::string key = spell_key(trees, reading);
  if (auto store = known[key].lock()) {
    return store;
  }
  for (size_t i = 0; i < trees.size(); ++i) {
    if (is_archive(sources[i])) {
      trees[i] = scan_archive(sources[i], reading.captions.has_value());
    }
    if (reading.captions) {
      CaptionFinder(trees[i], *reading.captions, reading.skip_damaged).find();
    }
  }
  const std::shared_ptr<PictureStore> store(
      new PictureStore(list_pictures(std::move(trees), reading.by_folders), reading));
  if (store->size() > 0) {
    store->fix_shape();
    // Decoding as bytes stops at the first deep picture.
    if (!(store->fits(false) && store->decode_all(false)) && !(store->fits(true) && store->decode_all(true))) {
      store->probe_all();
    }
  }
  std::erase_if(known, [](const auto& item) { return item.second.expired(); });
  known[key] = store;
  return store;
}

// By the first picture that can be read; those before it are damaged.
void PictureStore::fix_shape() {
  const int64_t channels = reading_.grey ? 1 : 3;
  if (reading_.size > 0) {
    shape_ = {channels, reading_.size, reading_.size};
    return;
  }
  for (const PictureEntry& entry : listing_.entries) {
    try {
      shape_ = read(entry).sizes().vec();
      first_ = entry.name;
      return;
    } catch (const RequestError&) {
      if (!reading_.skip_damaged || &entry == &listing_.entries.back()) {
        throw;
      }
    }
  }
}

bool PictureStore::fits(bool deep) const {
  double bytes = static_cast<double>(size()) * (deep ? 4 : 1);
  for (const int64_t n : shape_) {
    bytes *= static_cast<double>(n);
  }
  return bytes <= reading_.memory * static_cast<double>(int64_t{1} << 30);
}

std::string PictureStore::other_size(const std::string& name, int64_t height, int64_t width) const {
  return name + ": is " + spell_size(height, width) + "; the first picture, " + first_ + ", has " +
         spell_size(shape_[1], shape_[2]) + "; 'size = N' resizes all of them to N x N";
}

// False where one is deep, but was not expected to be.
bool PictureStore::decode_all(bool deep) {
  const int64_t n = size();
  std::vector<int64_t> shape = shape_;
  shape.insert(shape.begin(), n);
  Tensor all = at::empty(shape, deep ? at::kFloat : at::kByte);
  std::vector<std::string> errors(static_cast<size_t>(n)), fatal(static_cast<size_t>(n));
  std::atomic<bool> met_deep{false};
  in_parallel(n, [&](int64_t i) {
    const PictureEntry& entry = listing_.entries[static_cast<size_t>(i)];
    try {
      const Tensor x = read(entry);
      if (x.sizes() != at::IntArrayRef(shape_)) {
        throw OtherSize(other_size(entry.name, x.size(1), x.size(2)));
      }
      const bool bytes = x.scalar_type() == at::kByte;
      if (!bytes && !deep) {
        met_deep = true;
        return false;
      }
      all[i].copy_(deep && bytes ? x.to(at::kFloat).div_(255) : x);
    } catch (const OtherSize& e) {
      fatal[static_cast<size_t>(i)] = e.what();
      return false;
    } catch (const RequestError& e) {
      (reading_.skip_damaged ? errors : fatal)[static_cast<size_t>(i)] = e.what();
      return reading_.skip_damaged;
    }
    return true;
  });
  if (met_deep) {
    return false;
  }
  std::vector<int64_t> good;
  for (int64_t i = 0; i < n; ++i) {
    if (!fatal[static_cast<size_t>(i)].empty()) {
      throw RequestError(fatal[static_cast<size_t>(i)]);
    }
    if (errors[static_cast<size_t>(i)].empty()) {
      good.push_back(i);
    }
  }
  all_ = static_cast<int64_t>(good.size()) == n ? all : all.index_select(0, at::tensor(good, at::kLong));
  drop(errors);
  for (PictureEntry& entry : listing_.entries) {
    entry.spool.reset();  // the encoded pictures are needed no more
  }
  return true;
}

// What the heads say, where the pictures are only read later.
void PictureStore::probe_all() {
  const int64_t n = size();
  std::vector<std::string> errors(static_cast<size_t>(n));
  std::vector<PictureSize> sizes(static_cast<size_t>(n));
  in_parallel(n, [&](int64_t i) {
    const PictureEntry& entry = listing_.entries[static_cast<size_t>(i)];
    const auto at = static_cast<size_t>(i);
    constexpr uint64_t head = uint64_t{1} << 16;
    try {
      std::vector<uint8_t> bytes = read_entry(entry, head);
      // The orientation stands in the head of a JPEG, but maybe behind the pixels in other formats.
      if (reading_.size == 0 && bytes.size() == head && bytes[0] != 0xff) {
        bytes = read_entry(entry);
      }
      try {
        sizes[at] = probe_picture(bytes, entry.name);
      } catch (const RequestError&) {
        if (bytes.size() != head) {
          throw;
        }
        bytes = read_entry(entry);  // the head is longer, or stands at the end, as in many TIFF
        sizes[at] = probe_picture(bytes, entry.name);
      }
    } catch (const RequestError& e) {
      errors[at] = e.what();
      return reading_.skip_damaged;
    }
    return true;
  });
  for (size_t i = 0; i < errors.size(); ++i) {
    if (!errors[i].empty()) {
      if (!reading_.skip_damaged) {
        throw RequestError(errors[i]);
      }
    } else if (reading_.size == 0 && (sizes[i].height != shape_[1] || sizes[i].width != shape_[2])) {
      throw OtherSize(other_size(listing_.entries[i].name, sizes[i].height, sizes[i].width));
    }
  }
  drop(errors);
}

// Leaves those with errors out.
void PictureStore::drop(const std::vector<std::string>& errors) {
  std::vector<PictureEntry> good;
  for (size_t i = 0; i < errors.size(); ++i) {
    if (errors[i].empty()) {
      good.push_back(std::move(listing_.entries[i]));
    } else {
      skipped_.push_back(listing_.entries[i].name);
    }
  }
  listing_.entries = std::move(good);
}

}  // namespace retort
