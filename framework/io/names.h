/// Names of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace retort {

/// Eight hexadecimal digits of a text's SHA-256.
std::string short_hash(const std::string& text);

/// A text as a file's name of at most `longest` bytes. Text that is one stays as it is; else what a name cannot hold is
/// replaced, what is too long is cut at a character's end, and "~" with the text's short hash follows, so that names of
/// different texts differ.
std::string file_name(const std::string& text, size_t longest);

/// The number of a training step in a file's name: six digits or more, so that names sort as steps do.
std::string step_number(int64_t step);

/// Where a training leaves its low-rank change alone, beside the merged checkpoint; an adapter's file is its own.
std::filesystem::path adapter_of(const std::filesystem::path& checkpoint);

}  // namespace retort
