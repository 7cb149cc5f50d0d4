/// A text encoder, exported from Python as TorchScript, and the token ids that it is given.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "config/settings.h"
#include "retort/backend.h"
#include "retort/conditioning.h"
#include "retort/dataset.h"

namespace retort {

class TextEncoder {
 public:
  /// Throws RequestError where file and tokens do not go together with each other or with the data.
  TextEncoder(const EncodeSettings& settings, const Dataset& data, const Backend& backend);
  ~TextEncoder();

  /// `prompt_embeds` [B, L, D], and `pooled_prompt_embeds` [B, P] and `attention_mask` [B, L] where there are such, of
  /// samples of the data set. index: [B] int64; `given` is what the data set gives beside them.
  Conditioning operator()(Split split, const Tensor& index, const Conditioning& given) const;
  /// The same of an empty prompt, one row; nothing where the tokens have none.
  Conditioning unconditional() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace retort
