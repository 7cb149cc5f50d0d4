/// Files that are written beside their place and then renamed, so that a reader never sees half of one.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>

namespace retort {

/// Calls `write` with a stream to a temporary file beside `path`, then renames it into place. Throws Error with one
/// line (disk full, read-only folder, …) and leaves what stood at `path` as it was.
void write_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);
void write_text(const std::filesystem::path& path, const std::string& text);

/// Removes what writers that were killed have left beside their files. Only for a folder that nobody writes to now.
void remove_half_written(const std::filesystem::path& folder);

/// Makes a folder with its parents. Throws Error with one line.
void make_folder(const std::filesystem::path& path);

std::string read_text(const std::filesystem::path& path);

/// Lower-case hexadecimal SHA-256 of a file.
std::string sha256_of_file(const std::filesystem::path& path);
/// The same, read once in a process: for libraries, which are large, and of which a process has loaded one version.
const std::string& sha256_of_library(const std::filesystem::path& path);
std::string sha256_of_text(const std::string& text);

}  // namespace retort
