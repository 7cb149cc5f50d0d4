/// The text conditions of a data set's samples: of captions by a fixed encoder, or made elsewhere and kept in a file.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "caption_file.h"
#include "safetensors_rows.h"

namespace retort {

inline constexpr const char *prompt_input = "prompt_embeds", *mask_input = "attention_mask",
                            *pooled_input = "pooled_prompt_embeds";

/// Of samples in sets of their own, such as the splits.
class Texts {
 public:
  virtual ~Texts() = default;
  virtual std::vector<Input> inputs() const = 0;
  /// Sets the conditions of samples of a set. index: [B] int64
  virtual void add(size_t set, const Tensor& index, Conditioning& condition) const = 0;
  virtual std::string notes() const { return ""; }
};

/// The captions of one set: texts, and which of them each sample has. [size] int64
struct Captioned {
  std::vector<std::string> texts;
  Tensor text_of;
};

/// Each word a vector: no language is understood, but equal texts are equal, and texts that share words are alike.
class WordTexts final : public Texts {
 public:
  WordTexts(const std::vector<Captioned>& sets, int64_t length, int64_t width) : length_(length), width_(width) {
    WordVectors vectors(width);
    for (const Captioned& set : sets) {
      rows_.push_back(rows_of(set.texts, vectors));
      text_of_.push_back(set.text_of);
    }
    vectors_ = vectors.table();
  }

  std::vector<Input> inputs() const override {
    return {{.name = prompt_input, .shape = {length_, width_}},
            {.name = mask_input, .shape = {length_}, .dtype = at::kBool},
            {.name = pooled_input, .shape = {width_}}};
  }

  void add(size_t set, const Tensor& index, Conditioning& condition) const override {
    const Tensor text = text_of_[set].index_select(0, index);
    const Tensor rows = rows_[set].index_select(0, text);  // [B, length]
    const Tensor tokens = vectors_.index_select(0, rows.flatten()).view({-1, length_, width_});
    const Tensor mask = rows > 0;
    condition.set(prompt_input, tokens);
    condition.set(mask_input, mask);
    condition.set(pooled_input, tokens.sum(1) / mask.sum(1, true).clamp_min(1));  // the others are zeros
  }

  std::string notes() const override {
    return cut_.empty() ? ""
                        : std::to_string(cut_.size()) + " caption(s) cut to " + std::to_string(length_) +
                              " words, such as \"" + cut_.begin()->substr(0, 60) + "\"";
  }

 private:
  // [texts, length] int64: the rows of their words, and 0 behind the last.
  Tensor rows_of(const std::vector<std::string>& texts, WordVectors& vectors) {
    Tensor out = at::zeros({static_cast<int64_t>(texts.size()), length_}, at::kLong);
    auto* at = out.mutable_data_ptr<int64_t>();
    for (const std::string& text : texts) {
      std::vector<std::string> words = words_of(text);
      if (static_cast<int64_t>(words.size()) > length_) {
        cut_.insert(text.substr(0, text.find('\n')));
        words.resize(static_cast<size_t>(length_));
      }
      for (size_t i = 0; i < words.size(); ++i) {
        at[i] = vectors.row(words[i]);
      }
      at += length_;
    }
    return out;
  }

  int64_t length_, width_;
  Tensor vectors_;               // [words + 1, width]
  std::vector<Tensor> rows_;     // [texts, length] int64
  std::vector<Tensor> text_of_;  // [size] int64
  std::set<std::string> cut_;
};

/// The captions as they are, for what encodes them itself: `caption`, bytes of UTF-8, and 0 behind the last.
class Letters final {
 public:
  explicit Letters(const std::vector<Captioned>& sets) {
    for (const Captioned& set : sets) {
      for (const std::string& text : set.texts) {
        longest_ = std::max(longest_, static_cast<int64_t>(text.size()));
      }
    }
    for (const Captioned& set : sets) {
      Tensor bytes = at::zeros({static_cast<int64_t>(set.texts.size()), longest_}, at::kByte);
      auto* at = bytes.mutable_data_ptr<uint8_t>();
      for (const std::string& text : set.texts) {
        std::copy(text.begin(), text.end(), at);
        at += longest_;
      }
      bytes_.push_back(bytes);
      text_of_.push_back(set.text_of);
    }
  }

  Input input() const { return {.name = "caption", .shape = {longest_}, .dtype = at::kByte}; }
  /// [B, longest]
  Tensor rows(size_t set, const Tensor& index) const {
    return bytes_[set].index_select(0, text_of_[set].index_select(0, index));
  }

 private:
  int64_t longest_ = 1;
  std::vector<Tensor> bytes_, text_of_;
};

/// Embeddings of a text encoder, in a safetensors file: `prompt_embeds` [N, L, D], and perhaps `attention_mask` [N, L]
/// and `pooled_prompt_embeds` [N, P].
class EmbeddedTexts final : public Texts {
 public:
  /// Two splits of these sizes: "train.prompt_embeds" and so on, and the same for "test".
  EmbeddedTexts(const std::string& path, int64_t train, int64_t test) : file_(path) {
    sets_ = {{"train.", take("train.", train), {}}, {"test.", take("test.", test), {}}};
    for (const char* name : {prompt_input, mask_input, pooled_input}) {
      const auto in_train = sets_[0].tensors.find(name), in_test = sets_[1].tensors.find(name);
      const bool one = in_train != sets_[0].tensors.end(), other = in_test != sets_[1].tensors.end();
      if (one != other || (one && in_train->second.row_shape() != in_test->second.row_shape())) {
        throw file_.error("train and test have different '" + std::string(name) + "', or one has none");
      }
    }
    check_mask();
  }

  /// One set, of files: the metadata's "file_names", a list in JSON, says which row belongs to which.
  EmbeddedTexts(const std::string& path, const std::vector<std::string>& names) : file_(path) {
    const std::map<std::string, int64_t> row_of = file_names();
    std::vector<int64_t> rows;
    for (const std::string& name : names) {
      const auto found = row_of.find(name);
      if (found == row_of.end()) {
        throw file_.error("has no row of '" + name.substr(0, 200) + "', which is one of the " +
                          std::to_string(names.size()) + " pictures");
      }
      rows.push_back(found->second);
    }
    sets_ = {{"", take("", static_cast<int64_t>(row_of.size())), at::tensor(rows, at::kLong)}};
    check_mask();
  }

  std::vector<Input> inputs() const override {
    std::vector<Input> out;
    for (const auto& [name, tensor] : sets_[0].tensors) {
      out.push_back({.name = name, .shape = tensor.row_shape(), .dtype = type_of(name)});
    }
    return out;
  }

  void add(size_t set, const Tensor& index, Conditioning& condition) const override {
    const Set& of = sets_[set];
    const Tensor rows = (of.row_of.defined() ? of.row_of.index_select(0, index) : index).contiguous();
    const std::vector<int64_t> which(rows.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>() + rows.numel());
    for (const auto& [name, tensor] : of.tensors) {
      condition.set(name, file_.rows(of.prefix + name, which).to(type_of(name)));
    }
  }

 private:
  struct Set {
    std::string prefix;
    std::map<std::string, StoredTensor> tensors;  // by input
    Tensor row_of;                                // [size] int64; undefined: the order is the samples'
  };

  static at::ScalarType type_of(const std::string& name) { return name == mask_input ? at::kBool : at::kFloat; }

  // The row of each file.
  std::map<std::string, int64_t> file_names() const {
    const auto text = file_.metadata().find("file_names");
    const nlohmann::json list = text == file_.metadata().end()
                                    ? nlohmann::json()
                                    : nlohmann::json::parse(text->second, nullptr, /*allow_exceptions=*/false);
    if (!list.is_array() ||
        !std::all_of(list.begin(), list.end(), [](const nlohmann::json& name) { return name.is_string(); })) {
      throw file_.error(
          "has no 'file_names' in its metadata; expected a list of texts in JSON, which says whose rows "
          "they are");
    }
    std::map<std::string, int64_t> out;
    for (const nlohmann::json& name : list) {
      if (!out.emplace(name.get<std::string>(), static_cast<int64_t>(out.size())).second) {
        throw file_.error("names '" + name.get<std::string>().substr(0, 200) + "' twice in its 'file_names'");
      }
    }
    return out;
  }

  // The tensors of a set of that size.
  std::map<std::string, StoredTensor> take(const std::string& prefix, int64_t size) const {
    std::map<std::string, StoredTensor> out;
    for (const auto& [name, rank] :
         {std::pair(prompt_input, size_t{3}), std::pair(mask_input, size_t{2}), std::pair(pooled_input, size_t{2})}) {
      const StoredTensor* tensor = file_.find(prefix + name);
      if (tensor == nullptr) {
        continue;
      }
      if (tensor->shape.size() != rank || tensor->size() != size) {
        throw file_.error("tensor '" + prefix + name + "' has " + std::to_string(tensor->shape.size()) +
                          " dimensions and " + std::to_string(tensor->size()) + " rows; expected " +
                          std::to_string(rank) + ", and a row for each of the " + std::to_string(size) + " samples");
      }
      out.emplace(name, *tensor);
    }
    if (!out.contains(prompt_input)) {
      throw file_.error("has no tensor '" + prefix + prompt_input + "'");
    }
    return out;
  }

  void check_mask() const {
    const auto mask = sets_[0].tensors.find(mask_input);
    if (mask != sets_[0].tensors.end() && mask->second.shape[1] != sets_[0].tensors.at(prompt_input).shape[1]) {
      throw file_.error("has prompt_embeds and attention_mask of different numbers of tokens");
    }
  }

  SafetensorsRows file_;
  std::vector<Set> sets_;
};

}  // namespace retort
