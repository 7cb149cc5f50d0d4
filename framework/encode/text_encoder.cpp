#include "encode/text_encoder.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "retort/error.h"

namespace retort {

namespace {

namespace jit = torch::jit;

constexpr const char *ids_name = "input_ids", *mask_name = "attention_mask", *caption_name = "caption";
constexpr const char *prompt_name = "prompt_embeds", *pooled_name = "pooled_prompt_embeds";

// What an exception of the interpreter ends with, which is what went wrong; before it stands the script.
std::string reason_of(const std::exception& e) {
  std::istringstream in(e.what());
  std::string first, named;
  for (std::string line; std::getline(in, line);) {
    first = first.empty() ? line : first;
    if (const size_t at = line.find("Error: "); at != std::string::npos && named.empty()) {
      named = line.substr(at + 7);
    }
  }
  return named.empty() ? first : named;
}

}  // namespace

struct TextEncoder::Parts {
  // The token ids of a split, or of all texts: rows of whole numbers, and a mask if there is one.
  struct Tokens {
    Tensor ids, mask;  // [N, L] int64
  };

  std::string file, tokens_file;
  const Backend& backend;
  jit::Module script;
  size_t arguments = 0;
  Tokens tokens[2];                               // of both splits; where captions are looked up, the first is of all
  std::unordered_map<std::string, int64_t> rows;  // of captions in it
  Tokens none;                                    // of the empty prompt, one row

  Parts(const EncodeSettings& settings, const Backend& on)
      : file(settings.text_encoder), tokens_file(settings.tokens), backend(on) {
    if (!std::filesystem::is_regular_file(file)) {
      throw RequestError("encode.text_encoder: " + file + ": no such file; expected a TorchScript file");
    }
    try {
      script = jit::load(file, backend.device());
    } catch (const std::exception& e) {
      const std::string what = e.what(), line = what.substr(0, what.find('\n'));
      throw RequestError("encode.text_encoder: " + file + " cannot be read as TorchScript: " +
                         line.substr(0, line.find(". ")) + "; expected what torch.jit.save writes");
    }
    script.eval();
    const auto forward = script.find_method("forward");
    arguments = forward ? forward->function().getSchema().arguments().size() - 1 : 0;
    if (arguments == 0) {
      throw RequestError("encode.text_encoder: " + file +
                         " has no method forward(input_ids); expected one that makes embeddings of token ids");
    }
  }

  RequestError bad_tokens(const std::string& what) const {
    return RequestError("encode.tokens: " + tokens_file + " " + what);
  }

  // The tensors whose names begin so; none where there are no ids.
  Tokens take(const TensorFile& from, const std::string& before) const {
    Tokens out;
    if (const auto ids = from.tensors.find(before + ids_name); ids != from.tensors.end()) {
      out.ids = ids->second;
      if (out.ids.dim() == 1) {
        out.ids = out.ids.unsqueeze(0);
      }
      if (out.ids.dim() != 2 || !at::isIntegralType(out.ids.scalar_type(), /*includeBool=*/false)) {
        throw bad_tokens("has a tensor '" + before + ids_name + "' that is no table of whole numbers; expected [N, L]");
      }
      out.ids = out.ids.to(at::kLong);
    }
    if (const auto mask = from.tensors.find(before + mask_name); mask != from.tensors.end() && out.ids.defined()) {
      out.mask = (mask->second.dim() == 1 ? mask->second.unsqueeze(0) : mask->second).to(at::kLong);
      if (out.mask.sizes() != out.ids.sizes()) {
        throw bad_tokens("has '" + before + mask_name + "' of another shape than '" + before + ids_name +
                         "'; expected the same");
      }
    }
    return out;
  }

  void read_tokens(const Dataset& data) {
    const TensorFile from = read_safetensors(tokens_file);
    if (const auto texts = from.metadata.find("texts"); texts != from.metadata.end()) {
      tokens[0] = take(from, "");
      look_up(texts->second, data);
    } else {
      none = take(from, "uncond_");
      for (const Split split : {Split::train, Split::test}) {
        const std::string name = split == Split::train ? "train." : "test.";
        Tokens& own = tokens[split == Split::train ? 0 : 1] = take(from, name);
        const int64_t size = data.size(split);
        if (!own.ids.defined() || own.ids.size(0) != size) {
          throw bad_tokens((own.ids.defined() ? "has " + std::to_string(own.ids.size(0)) + " rows of '" : "has no '") +
                           name + ids_name + "'; expected " + std::to_string(size) +
                           ", one for each sample, or a list `texts` in its metadata");
        }
      }
    }
  }

  void look_up(const std::string& list, const Dataset& data) {
    const Json texts = Json::parse(list, nullptr, /*allow_exceptions=*/false);
    if (!texts.is_array() || !tokens[0].ids.defined() || static_cast<int64_t>(texts.size()) != tokens[0].ids.size(0) ||
        !std::all_of(texts.begin(), texts.end(), [](const Json& text) { return text.is_string(); })) {
      throw bad_tokens("has `texts` in its metadata that do not go with its '" + std::string(ids_name) +
                       "'; expected a list in JSON, a text for each row");
    }
    for (size_t i = 0; i < texts.size(); ++i) {
      rows.emplace(texts[i].get<std::string>(), static_cast<int64_t>(i));
    }
    if (const auto empty = rows.find(""); empty != rows.end()) {
      const Tensor row = at::tensor({empty->second}, at::kLong);
      none = select(tokens[0], row);
    }
    const std::vector<Input> inputs = data.inputs();
    if (std::none_of(inputs.begin(), inputs.end(), [](const Input& i) { return i.name == caption_name; })) {
      throw bad_tokens("names texts, and the data set gives no captions; expected dataset.letters = true");
    }
  }

  static Tokens select(const Tokens& from, const Tensor& index) {
    return {from.ids.index_select(0, index), from.mask.defined() ? from.mask.index_select(0, index) : Tensor()};
  }

  // captions: [B, …] bytes of UTF-8, with 0 behind
  Tensor rows_of(const Tensor& captions) const {
    const Tensor bytes = captions.to(at::kByte).contiguous();
    std::vector<int64_t> out;
    for (int64_t i = 0; i < bytes.size(0); ++i) {
      const auto* at = bytes[i].const_data_ptr<uint8_t>();
      const std::string text(at, std::find(at, at + bytes.size(1), 0));
      const auto found = rows.find(text);
      if (found == rows.end()) {
        throw bad_tokens("has no text '" + text + "' in its metadata; expected the captions of all samples");
      }
      out.push_back(found->second);
    }
    return at::tensor(out, at::kLong);
  }

  // Of a tuple, a list or a dictionary, prompt_embeds and pooled_prompt_embeds.
  std::pair<Tensor, Tensor> parts_of(const c10::IValue& answer) const {
    std::vector<c10::IValue> all;
    if (answer.isTensor()) {
      all = {answer};
    } else if (answer.isTuple()) {
      all = answer.toTupleRef().elements().vec();
    } else if (answer.isList()) {
      all = answer.toListRef().vec();
    } else if (answer.isGenericDict()) {
      for (const char* name : {prompt_name, pooled_name}) {
        if (const auto found = answer.toGenericDict().find(name); found != answer.toGenericDict().end()) {
          all.push_back(found->value());
        }
      }
    }
    const bool good = !all.empty() && all[0].isTensor() && all[0].toTensor().dim() == 3 &&
                      (all.size() == 1 || (all[1].isTensor() && all[1].toTensor().dim() == 2));
    if (!good) {
      throw RequestError(
          "encode.text_encoder: " + file +
          " gives something else than prompt_embeds [B, L, D], or these and pooled_prompt_embeds [B, P]");
    }
    return {all[0].toTensor(), all.size() > 1 ? all[1].toTensor() : Tensor()};
  }

  Conditioning encode(const Tokens& given) const {
    const at::NoGradGuard no_grad;
    const jit::GraphOptimizerEnabledGuard as_written(false);
    std::vector<c10::IValue> arguments_given = {given.ids.to(backend.device())};
    if (arguments > 1 && given.mask.defined()) {
      arguments_given.emplace_back(given.mask.to(backend.device()));
    }
    c10::IValue answer;
    try {
      answer = jit::Module(script).forward(std::move(arguments_given));
    } catch (const std::exception& e) {
      throw RequestError("encode.text_encoder: " + file + " cannot be given token ids of " +
                         std::to_string(given.ids.size(0)) + " x " + std::to_string(given.ids.size(1)) + ": " +
                         reason_of(e));
    }
    const auto [prompt, pooled] = parts_of(answer);
    Conditioning out;
    for (const auto& [name, tensor] : {std::pair(prompt_name, prompt), std::pair(pooled_name, pooled)}) {
      if (tensor.defined()) {
        if (tensor.size(0) != given.ids.size(0)) {
          throw RequestError("encode.text_encoder: " + file + " gives " + std::to_string(tensor.size(0)) + " rows of " +
                             name + " for " + std::to_string(given.ids.size(0)) + " texts");
        }
        out.set(name, tensor.to(at::kCPU, at::kFloat));
      }
    }
    if (given.mask.defined()) {
      out.set(mask_name, given.mask.to(at::kBool));
    }
    return out;
  }
};

TextEncoder::TextEncoder(const EncodeSettings& settings, const Dataset& data, const Backend& backend)
    : parts_(std::make_unique<Parts>(settings, backend)) {
  parts_->read_tokens(data);
}

TextEncoder::~TextEncoder() = default;

Conditioning TextEncoder::operator()(Split split, const Tensor& index, const Conditioning& given) const {
  const bool by_text = !parts_->rows.empty();
  const Parts::Tokens& from = parts_->tokens[by_text || split == Split::train ? 0 : 1];
  const Conditioning made = parts_->encode(Parts::select(from, by_text ? parts_->rows_of(given[caption_name]) : index));
  Conditioning out = given;
  for (const char* replaced : {prompt_name, pooled_name, mask_name, caption_name}) {
    out.set(replaced, Tensor());
  }
  for (const auto& [name, rows] : made) {
    out.set(name, rows);
  }
  return out;
}

Conditioning TextEncoder::unconditional() const {
  return parts_->none.ids.defined() ? parts_->encode(parts_->none) : Conditioning();
}

}  // namespace retort
