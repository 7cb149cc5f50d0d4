/// Pictures in archives: .zip, .tar, .tar.gz and .tgz.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace retort {

/// Bytes in a temporary file that has no name any more, so that nothing is left of it whatever happens.
class Spool {
 public:
  Spool();
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  /// Appends and returns where. Throws Error where the disk is full.
  uint64_t append(const std::vector<uint8_t>& bytes);
  std::vector<uint8_t> read(uint64_t offset, uint64_t size) const;

 private:
  int file_ = -1;
  uint64_t end_ = 0;
};

struct ArchivedFile {
  std::string path;  // within the archive, without "./"
  bool is_folder = false;
  uint64_t offset = 0, size = 0;  // of a picture, in the spool
  std::string damage;             // what is wrong with it alone, such as a checksum
};

struct ArchiveContents {
  std::shared_ptr<Spool> spool;
  std::vector<ArchivedFile> files;
};

/// By the ending, in any letter case.
bool is_archive_name(const std::filesystem::path& path);

/// Reads an archive to its end, and keeps those files that `wanted` picks by their path. Throws RequestError where the
/// archive as a whole is damaged or cut off.
ArchiveContents read_archive(const std::string& path, bool (*wanted)(const std::string&));

}  // namespace retort
