/// ONNX, by way of Python: torch's own exporter reads the TorchScript file.
#pragma once

#include <filesystem>
#include <string>

#include "export/outgoing.h"

namespace retort {

/// Converts `script`, which `write_torchscript` wrote, to `out`, with a free batch size, and, where onnxruntime is
/// installed, holds the two against each other. Python is $RETORT_PYTHON, or python3. Throws RequestError, which says
/// what to install, where Python, torch or onnx is missing. Returns its word on the outcome.
std::string write_onnx(const Outgoing& model, bool raw, const std::filesystem::path& script,
                       const std::filesystem::path& out);

}  // namespace retort
