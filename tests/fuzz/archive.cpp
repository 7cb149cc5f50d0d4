// The reader of archives: a zip by its first byte, else a tar, compressed or not.
#include "shared/pictures/archive.h"

#include <filesystem>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string& zip = retort::as_file(data, size, ".zip");
  std::string path = zip;
  if (size == 0 || data[0] != 'P') {
    path.replace(path.size() - 4, 4, ".tar");
    std::filesystem::rename(zip, path);
  }
  retort::one_line_or_fine([&] {
    const retort::ArchiveContents contents = retort::read_archive(path, [](const std::string&) { return true; });
    for (const retort::ArchivedFile& file : contents.files) {
      if (file.path.empty() || contents.spool->read(file.offset, file.size).size() != file.size) {
        std::abort();
      }
    }
  });
  std::filesystem::remove(path);
  return 0;
}
