/// A student as one TorchScript module: forward(x, t, …) is the student itself, with all that stands between it and its
/// network.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "export/outgoing.h"

namespace retort {

struct ScriptExport {
  std::vector<std::string> arguments;  // of forward: "x", "sigma", "labels", …
  std::string gives;                   // "f(x, sigma), the end of the way"
  double difference = 0;               // the largest from Retort's own model, over all that was tried
};

/// What the module is called with: x, then the time, the end of a jump, and the conditions in the order of their names.
/// `raw`: the network alone, called as `Network::forward` says.
ScriptExport script_signature(const Outgoing& model, bool raw);

/// Writes the module in float32 and holds it, as it is read back, against Retort's own model at two batch sizes. Throws
/// RequestError, and leaves no file, where they differ, or where the student has no such form.
ScriptExport write_torchscript(const Outgoing& model, bool raw, const std::filesystem::path& path);

/// The source of the module's methods in TorchScript, around its part `network`.
std::string script_source(const Outgoing& model);

}  // namespace retort
