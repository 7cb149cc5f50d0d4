/// Safetensors files that are read where they lie: mapped into memory, not copied.
#pragma once

#include <filesystem>

#include "io/safetensors.h"

namespace retort {

/// What `read_safetensors` gives, and the same errors, but the tensors' bytes are the file's own, read from the disk
/// when they are used first. Changes of them stay in this process. The mapping lives as long as any of its tensors.
/// Tensors that lie at no multiple of their elements' size are copied.
TensorFile map_safetensors(const std::filesystem::path& path);

/// Whether a tensor's bytes are those of such a file.
bool is_mapped(const Tensor& tensor);

}  // namespace retort
