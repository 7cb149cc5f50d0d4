/// The text conditions of a data set's samples: of captions by a fixed encoder, or made elsewhere and kept in a file.
#pragma once

#include <retort/dataset.h>

#include <ATen/ATen.h>

#include <array>
#include <set>

#include "caption_file.h"
#include "mapped_tensors.h"

namespace retort {

inline constexpr const char *prompt_input = "prompt_embeds", *mask_input = "attention_mask",
                            *pooled_input = "pooled_prompt_embeds";

class Texts {
 public:
  virtual ~Texts() = default;
  virtual std::vector<Input> inputs() const = 0;
  /// Sets the conditions of samples. index: [B] int64
  virtual void add(Split split, const Tensor& index, Conditioning& condition) const = 0;
  virtual std::string notes() const { return ""; }

 protected:
  static size_t part(Split split) { return split == Split::train ? 0 : 1; }
};

/// The captions of one split: texts, and which of them each sample has. [size] int64
struct Captioned {
  std::vector<std::string> texts;
  Tensor text_of;
};

/// Each word a vector: no language is understood, but equal texts are equal, and texts that share words are alike.
class WordTexts final : public Texts {
 public:
  WordTexts(const std::array<Captioned, 2>& splits, int64_t length, int64_t width) : length_(length), width_(width) {
    WordVectors vectors(width);
    for (size_t i = 0; i < 2; ++i) {
      rows_[i] = rows_of(splits[i].texts, vectors);
      text_of_[i] = splits[i].text_of;
    }
    vectors_ = vectors.table();
  }

  std::vector<Input> inputs() const override {
    return {{.name = prompt_input, .shape = {length_, width_}},
            {.name = mask_input, .shape = {length_}, .dtype = at::kBool},
            {.name = pooled_input, .shape = {width_}}};
  }

  void add(Split split, const Tensor& index, Conditioning& condition) const override {
    const Tensor text = text_of_[part(split)].index_select(0, index);
    const Tensor rows = rows_[part(split)].index_select(0, text);  // [B, length]
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
  Tensor vectors_;     // [words + 1, width]
  Tensor rows_[2];     // [texts, length] int64
  Tensor text_of_[2];  // [size] int64
  std::set<std::string> cut_;
};

/// Embeddings of a text encoder, in a safetensors file: "train.prompt_embeds" [N, L, D], and perhaps
/// "train.attention_mask" [N, L] and "train.pooled_prompt_embeds" [N, P]; the same for "test".
class EmbeddedTexts final : public Texts {
 public:
  EmbeddedTexts(std::string path, int64_t train, int64_t test) : path_(std::move(path)) {
    const std::map<std::string, Tensor> file = map_safetensors(path_);
    tensors_[0] = take(file, "train.", train);
    tensors_[1] = take(file, "test.", test);
    check_alike();
  }

  std::vector<Input> inputs() const override {
    std::vector<Input> out;
    for (const auto& [name, rows] : tensors_[0]) {
      out.push_back({.name = name, .shape = rows.sizes().slice(1).vec(), .dtype = type_of(name)});
    }
    return out;
  }

  void add(Split split, const Tensor& index, Conditioning& condition) const override {
    for (const auto& [name, rows] : tensors_[part(split)]) {
      condition.set(name, rows.index_select(0, index).to(type_of(name)));
    }
  }

 private:
  static at::ScalarType type_of(const std::string& name) { return name == mask_input ? at::kBool : at::kFloat; }

  RequestError error(const std::string& what) const { return RequestError(path_ + ": " + what); }

  // The tensors of a split of that size.
  std::map<std::string, Tensor> take(const std::map<std::string, Tensor>& file, const std::string& split,
                                     int64_t size) const {
    std::map<std::string, Tensor> out;
    for (const auto& [name, rank] :
         {std::pair(prompt_input, 3), std::pair(mask_input, 2), std::pair(pooled_input, 2)}) {
      const auto found = file.find(split + name);
      if (found == file.end()) {
        continue;
      }
      const Tensor& rows = found->second;
      if (rows.dim() != rank || rows.size(0) != size) {
        throw error("tensor '" + split + name + "' has " + std::to_string(rows.dim()) + " dimensions and " +
                    std::to_string(rows.dim() > 0 ? rows.size(0) : 0) + " rows; expected " + std::to_string(rank) +
                    ", and a row for each of the " + std::to_string(size) + " samples");
      }
      out.emplace(name, rows);
    }
    if (!out.contains(prompt_input)) {
      throw error("has no tensor '" + split + prompt_input + "'");
    }
    return out;
  }

  void check_alike() const {
    for (const char* name : {prompt_input, mask_input, pooled_input}) {
      const auto train = tensors_[0].find(name), test = tensors_[1].find(name);
      const bool in_train = train != tensors_[0].end(), in_test = test != tensors_[1].end();
      if (in_train != in_test || (in_train && train->second.sizes().slice(1) != test->second.sizes().slice(1))) {
        throw error("train and test have different '" + std::string(name) + "', or one has none");
      }
    }
    const auto mask = tensors_[0].find(mask_input);
    if (mask != tensors_[0].end() && mask->second.size(1) != tensors_[0].at(prompt_input).size(1)) {
      throw error("has prompt_embeds and attention_mask of different numbers of tokens");
    }
  }

  std::string path_;
  std::map<std::string, Tensor> tensors_[2];
};

}  // namespace retort
