/// Rows of many safetensors files, the shards of one data set, counted through all of them in order of their names.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "safetensors_rows.h"

namespace retort {

/// Every shard has the same tensors, with rows of the same shapes; "latents" says how many rows a shard has. Tensors
/// whose names begin with "uncond_" have no rows: they belong to all samples.
class LatentShards {
 public:
  static constexpr const char *latents = "latents", *without = "uncond_";

  /// A folder, or a single file. Throws RequestError that names file and tensor.
  explicit LatentShards(const std::string& source) : source_(source) {
    namespace fs = std::filesystem;
    std::error_code error;
    std::vector<std::string> paths;
    if (fs::is_directory(source, error)) {
      for (fs::directory_iterator it(source, error), end; !error && it != end; it.increment(error)) {
        const bool is_shard =
            it->path().extension() == ".safetensors" && !it->path().filename().string().starts_with('.');
        is_shard ? paths.push_back(it->path().string()) : void(++others_);
      }
      if (error) {
        throw RequestError(source + ": cannot be read: " + error.message());
      }
    } else if (fs::exists(source, error)) {
      paths.push_back(source);
    } else {
      throw RequestError(source + ": does not exist; expected a folder of safetensors files with latents");
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      add(SafetensorsRows(path));
    }
    if (shards_.empty()) {
      throw RequestError(source + ": holds no file with tensor 'latents'; expected shards, .safetensors, of latents" +
                         (paths.empty() ? "" : ", and it has " + std::to_string(paths.size()) + " without"));
    }
  }

  int64_t size() const { return size_; }
  int64_t count() const { return static_cast<int64_t>(shards_.size()); }
  /// Entries of the folder that are no safetensors.
  int64_t others() const { return others_; }
  const std::string& source() const { return source_; }
  /// The tensors of the first shard that have rows.
  std::map<std::string, StoredTensor> layout() const { return layout_of(*shards_[0].file); }
  const SafetensorsRows& first() const { return *shards_[0].file; }
  /// What belongs to all samples, by the name that rows have: "prompt_embeds" for "uncond_prompt_embeds".
  const std::map<std::string, Tensor>& unconditional() const { return unconditional_; }

  /// A number that the metadata of all shards have; none where none has it.
  std::optional<double> number(const std::string& key) const {
    const auto text = [&](const Shard& shard) {
      const auto found = shard.file->metadata().find(key);
      return found == shard.file->metadata().end() ? "" : found->second;
    };
    const std::string first = text(shards_[0]);
    for (const Shard& shard : shards_) {
      if (text(shard) != first) {
        throw shard.file->error("has " + key + " '" + text(shard).substr(0, 40) + "' in its metadata, and " +
                                shards_[0].file->path() + " has '" + first.substr(0, 40) + "'; expected one for all");
      }
    }
    if (first.empty()) {
      return std::nullopt;
    }
    try {
      size_t used = 0;
      const double value = std::stod(first, &used);
      if (used == first.size()) {
        return value;
      }
    } catch (const std::logic_error&) {  // said below
    }
    throw shards_[0].file->error("has " + key + " '" + first.substr(0, 40) + "' in its metadata; expected a number");
  }

  /// Rows of these tensors, [B, …] each, as float32; whole numbers of one dimension are int64.
  /// index: [B] int64, through all shards
  std::map<std::string, Tensor> rows(const Tensor& index, const std::vector<std::string>& names) const {
    const Tensor order = at::argsort(index, /*stable=*/true, 0, /*descending=*/false);
    const Tensor sorted = index.index_select(0, order).contiguous();
    const auto* at = sorted.const_data_ptr<int64_t>();
    const int64_t n = sorted.size(0);
    if (n > 0 && (at[0] < 0 || at[n - 1] >= size_)) {
      throw Error(source_ + ": is asked for a sample beyond its " + std::to_string(size_));
    }
    std::map<std::string, Tensor> out;
    for (int64_t from = 0; from < n;) {
      const Shard& shard = *std::prev(std::upper_bound(shards_.begin(), shards_.end(), at[from],
                                                       [](int64_t i, const Shard& s) { return i < s.begin; }));
      const int64_t first = from;
      std::vector<int64_t> which;
      for (; from < n && at[from] < shard.begin + shard.size; ++from) {
        which.push_back(at[from] - shard.begin);
      }
      for (const std::string& name : names) {
        const Tensor rows = plain(shard.file->rows(name, which));
        Tensor& all = out[name];
        if (!all.defined()) {
          std::vector<int64_t> shape = rows.sizes().vec();
          shape[0] = n;
          all = at::empty(shape, rows.options());
        }
        all.index_copy_(0, order.narrow(0, first, from - first), rows);
      }
    }
    return out;
  }

  /// One tensor of one dimension through all shards.
  Tensor column(const std::string& name) const {
    std::vector<Tensor> parts;
    for (const Shard& shard : shards_) {
      parts.push_back(plain(shard.file->all(name)));
    }
    return at::cat(parts);
  }

  /// Throws unless `other` has the same tensors, with rows of the same shapes.
  void check_alike(const LatentShards& other) const { check_alike(first(), other.first()); }

 private:
  struct Shard {
    std::shared_ptr<const SafetensorsRows> file;
    int64_t begin, size;
  };

  static bool is_shared(const std::string& name) { return name.starts_with(without); }

  static std::map<std::string, StoredTensor> layout_of(const SafetensorsRows& file) {
    std::map<std::string, StoredTensor> out = file.tensors();
    std::erase_if(out, [](const auto& item) { return is_shared(item.first); });
    return out;
  }

  static at::ScalarType plain_type(at::ScalarType type, size_t dimensions) {
    return dimensions == 1 && at::isIntegralType(type, /*includeBool=*/false) ? at::kLong : at::kFloat;
  }

  static Tensor plain(const Tensor& rows) {
    return rows.to(plain_type(rows.scalar_type(), static_cast<size_t>(rows.dim())));
  }

  static std::string spell(const std::vector<int64_t>& shape) {
    std::string out = "[n";
    for (const int64_t n : shape) {
      out += ", " + std::to_string(n);
    }
    return out + "]";
  }

  // Both have the same tensors.
  static void check_alike(const SafetensorsRows& first, const SafetensorsRows& file) {
    const auto wanted = layout_of(first), has = layout_of(file);
    for (const auto& [name, tensor] : wanted) {
      const auto found = has.find(name);
      if (found == has.end()) {
        throw file.error("has no tensor '" + name + "', which " + first.path() + " has");
      }
      if (found->second.row_shape() != tensor.row_shape()) {
        throw file.error("tensor '" + name + "' is " + spell(found->second.row_shape()) + "; expected " +
                         spell(tensor.row_shape()) + ", as in " + first.path());
      }
      if (plain_type(found->second.type, tensor.shape.size()) != plain_type(tensor.type, tensor.shape.size())) {
        throw file.error("tensor '" + name + "' is of type " + c10::toString(found->second.type) + "; expected " +
                         c10::toString(tensor.type) + ", as in " + first.path());
      }
    }
    for (const auto& [name, tensor] : has) {
      if (!wanted.contains(name)) {
        throw file.error("has a tensor '" + name + "', which " + first.path() + " has not");
      }
    }
  }

  void add(SafetensorsRows file) {
    for (const auto& [name, tensor] : file.tensors()) {
      if (is_shared(name)) {
        add_shared(file, name);
      }
    }
    const auto layout = layout_of(file);
    if (layout.empty()) {
      return;  // such as a file of what belongs to all samples
    }
    const StoredTensor* x = file.find(latents);
    if (x == nullptr) {
      throw file.error("has no tensor 'latents'; expected latents [n, C, H, W]");
    }
    if (x->shape.size() < 2 || !at::isFloatingType(x->type)) {
      throw file.error("tensor 'latents' is " + spell(x->row_shape()) + " " + c10::toString(x->type) +
                       "; expected floats [n, C, H, W]");
    }
    for (const auto& [name, tensor] : layout) {
      if (tensor.shape.empty() || tensor.size() != x->size()) {
        throw file.error("tensor '" + name + "' has " + std::to_string(tensor.size()) + " rows; expected " +
                         std::to_string(x->size()) + ", as 'latents' has");
      }
    }
    if (!shards_.empty()) {
      check_alike(*shards_[0].file, file);
    }
    const int64_t size = x->size();
    shards_.push_back({std::make_shared<const SafetensorsRows>(std::move(file)), size_, size});
    size_ += size;
  }

  void add_shared(const SafetensorsRows& file, const std::string& name) {
    const std::string own = name.substr(std::string_view(without).size());
    const Tensor read = plain(file.all(name));
    const auto [it, fresh] = unconditional_.emplace(own, read);
    if (!fresh && !at::equal(it->second, read)) {
      throw file.error("tensor '" + name + "' is not that of the other files; expected one for all");
    }
  }

  std::string source_;
  std::vector<Shard> shards_;
  int64_t size_ = 0, others_ = 0;
  std::map<std::string, Tensor> unconditional_;
};

}  // namespace retort
