/// What a prediction is conditioned on: named tensors with a row for each sample.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/tensor.h"

namespace retort {

/// The inputs that the host itself knows of; others are called as diffusers calls them ("prompt_embeds",
/// "pooled_prompt_embeds", "time_ids", "attention_mask", …) or as a plugin likes.
namespace inputs {
/// Class labels [B] int64. The label one past the last class means "no class".
inline constexpr std::string_view labels = "labels";
/// Weights w [B] float64 of classifier-free guidance.
inline constexpr std::string_view guidance = "guidance";
/// The second time s [B] float64 of a flow map u(x, t, s): where the jump from t ends.
inline constexpr std::string_view end_time = "end_time";
}  // namespace inputs

class RETORT_API Conditioning {
 public:
  Conditioning() = default;
  Conditioning(std::initializer_list<std::pair<std::string_view, Tensor>> given);

  /// The input of that name, [B, …]; undefined where it is not given.
  Tensor operator[](std::string_view name) const;
  bool has(std::string_view name) const;
  bool empty() const { return given_.empty(); }

  /// Gives an input; an undefined tensor takes it away.
  void set(std::string_view name, Tensor rows);
  /// The same with one more, or another, input.
  Conditioning with(std::string_view name, Tensor rows) const;

  /// Those of some rows, or the first ones. index: [b] int64.
  Conditioning select(const Tensor& index) const;
  Conditioning first(int64_t count) const;
  /// Every input on that device.
  Conditioning to(c10::Device device) const;
  /// The rows of one behind those of the other; both have the same inputs.
  static Conditioning cat(const Conditioning& one, const Conditioning& other);

  /// Name and tensor of each, in the order of their names.
  auto begin() const { return given_.begin(); }
  auto end() const { return given_.end(); }

 private:
  std::map<std::string, Tensor, std::less<>> given_;
};

/// Clean samples and their conditions.
struct Batch {
  Tensor x;  // [B, …]
  Conditioning condition;
};

/// One named input of a network, of a data set, or of a teacher.
struct Input {
  std::string name;
  std::vector<int64_t> shape = {};  // of one row; empty: a number for each row
  at::ScalarType dtype = at::ScalarType::Float;
  int64_t classes = 0;  // of labels: 0 … classes - 1, and `classes` for none; 0: the input holds no labels
  double null = 0;      // what each of its numbers is where there is no condition (of labels: `classes`)

  bool operator==(const Input&) const = default;
};

/// What a network is built for: the shape of a sample, and what else it is given.
struct RETORT_API ModelSpec {
  std::vector<int64_t> shape;  // of one sample
  std::vector<Input> inputs = {};
  /// How many samples' worth of numbers a denoiser's network gives for a row; more than 1 for policies.
  int64_t outputs = 1;

  /// Null where the model has no such input.
  const Input* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Of its class labels; 0 where it has none.
  int64_t classes() const;
  bool operator==(const ModelSpec&) const = default;
};

/// The inputs of a class-conditional model: none for 0 classes.
RETORT_API std::vector<Input> label_inputs(int64_t classes);
/// A guidance weight for each row.
RETORT_API Input guidance_input();

/// The same rows without condition: every number of the listed inputs is its null value, but for guidance weights and
/// end times. drop: [B] bool on the CPU, the rows that lose theirs; undefined: all.
RETORT_API Conditioning without_condition(const Conditioning& condition, const std::vector<Input>& inputs,
                                          const Tensor& drop = {});

}  // namespace retort
