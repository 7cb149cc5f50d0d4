/// A trained text encoder as the conditions of a data set's captions, each encoded once.
///
/// Such an encoder is a network that reads `input_ids`, [L] numbers of words with 0 behind the last. Given these alone,
/// without samples, it returns [B, L + 1, D]: what became of each word, and behind them the embedding of the text.
#pragma once

#include <retort/host.h>
#include <retort/params.h>

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "texts.h"

namespace retort {

inline constexpr const char* ids_of_words = "input_ids";

class EncodedTexts final : public Texts {
 public:
  /// ids: [texts, L] int64, 0 or one of `words` words. The key `text_encoder` holds the path of the checkpoint.
  EncodedTexts(const Params& p, const std::string& path, const Tensor& ids, int64_t words) : ids_(ids) {
    constexpr const char* key = "text_encoder";
    Host& host = p.host();
    const Checkpoint checkpoint = host.checkpoint(path);
    check_vocabulary(p, key, path, checkpoint, words + 1);
    const ModelSpec spec = checkpoint.spec();
    const Input* input = spec.find(ids_of_words);
    if (input == nullptr || input->shape.size() != 1) {
      throw p.error(key, path + " is of a network that takes no input_ids; expected a text encoder");
    }
    if (input->shape[0] != ids.size(1)) {
      throw p.error("length", std::to_string(ids.size(1)) + " words are not what the encoder " + path +
                                  " was trained with; expected " + std::to_string(input->shape[0]));
    }
    const std::shared_ptr<Network> network = host.network(checkpoint, path);
    network->module()->eval();
    const at::NoGradGuard no_grad;
    constexpr int64_t at_once = 256;
    std::vector<Tensor> parts;
    for (const Tensor& part : ids.split(at_once)) {
      const Tensor out = network->forward({}, {}, {{ids_of_words, part.to(host.backend().device())}});
      if (out.dim() != 3 || out.size(1) != ids.size(1) + 1) {
        throw p.error(key, path + " is of a network that encodes no texts; expected a text encoder");
      }
      parts.push_back(out.to(at::kCPU, at::kFloat));
    }
    const Tensor all = at::cat(parts), mask = ids_ > 0;
    const int64_t length = ids.size(1);
    tokens_ = all.narrow(1, 0, length).mul(mask.unsqueeze(2)).contiguous();  // padding is zeros, as where nothing is
    pooled_ = all.select(1, length).contiguous();
  }

  std::vector<Input> inputs() const override {
    return {{.name = prompt_input, .shape = {tokens_.size(1), tokens_.size(2)}},
            {.name = mask_input, .shape = {tokens_.size(1)}, .dtype = at::kBool},
            {.name = pooled_input, .shape = {pooled_.size(1)}}};
  }

  void add(size_t, const Tensor& index, Conditioning& condition) const override {
    condition.set(prompt_input, tokens_.index_select(0, index));
    condition.set(mask_input, ids_.index_select(0, index) > 0);
    condition.set(pooled_input, pooled_.index_select(0, index));
  }

 private:
  // An encoder that was trained on another list numbers words otherwise.
  static void check_vocabulary(const Params& p, const char* key, const std::string& path, const Checkpoint& checkpoint,
                               int64_t wanted) {
    const Value* model = checkpoint.config.find("model");
    const Value* network = model != nullptr ? model->find("network") : nullptr;
    const Value* known = network != nullptr ? network->find("vocabulary") : nullptr;
    if (known != nullptr && known->text() != std::to_string(wanted)) {
      throw p.error(key, path + " knows a vocabulary of " + known->text() + ", and these captions have one of " +
                             std::to_string(wanted) + "; expected an encoder that was trained on them");
    }
  }

  Tensor ids_, tokens_, pooled_;
};

}  // namespace retort
