/// Folders that appear whole or not at all.
#pragma once

#include <filesystem>
#include <functional>

namespace retort {

/// The key of a safetensors file's metadata that says that an export wrote it.
inline constexpr const char* export_mark = "retort_export";

/// Calls `write` with an empty folder beside `out`, then puts it in the place of what stands there. Where `write`
/// throws, nothing has changed.
void write_folder(const std::filesystem::path& out, const std::function<void(const std::filesystem::path&)>& write);

}  // namespace retort
