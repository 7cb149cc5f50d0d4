/// What files and folders hold, as hashes, each read once for as long as it stays as it is.
#pragma once

#include <filesystem>
#include <string>

namespace retort {

/// The SHA-256 of a file's content, or of a folder's: the names and contents of all its files, hidden ones left out.
/// Of a model that diffusers saved, as io/diffusers_request.h spells it, that of all that the path names.
/// A file is read again only where its size, time or inode has changed. Missing paths give "".
std::string content_hash(const std::filesystem::path& path);

/// Takes over what an earlier process learnt, from a file; a missing or damaged one is no error.
void load_hashes(const std::filesystem::path& file);
/// Keeps what this process has learnt, if it is more than the file holds; where it cannot be written, nothing is said.
void save_hashes(const std::filesystem::path& file);

}  // namespace retort
