/// A LoRA student as the file that diffusers, PEFT or ComfyUI reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace retort {

enum class LoraKeys { diffusers, peft, kohya };

struct LoraExport {
  std::filesystem::path file;
  int64_t modules = 0, rank = 0;  // the largest
  /// The share of the change's square that is lost where the rank was made smaller.
  double lost = 0;
};

/// Writes the low-rank change of `adapter`, a file of `retort train`. `component` is the folder of the network within a
/// pipeline, as diffusers_component says. diffusers: a file's scale is 1, so that Retort's goes into B; kohya: it is in
/// `alpha`; peft: in adapter_config.json, beside the file. With a `rank` other than 0 the change of each layer is
/// replaced by the nearest one of that rank, by its singular values. `out` is a folder, or, but for PEFT, a
/// .safetensors file.
LoraExport write_lora(const std::filesystem::path& adapter, const std::string& component, LoraKeys keys, int64_t rank,
                      const std::filesystem::path& out);

}  // namespace retort
