#include "export/folder.h"

#include <unistd.h>

#include <string>
#include <system_error>

#include "io/files.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

void write_folder(const fs::path& out, const std::function<void(const fs::path&)>& write) {
  // "out/" names no file to put something beside.
  const fs::path place = out.filename().empty() ? out.parent_path() : out;
  const std::string mine = std::to_string(getpid());
  const fs::path beside = place.string() + ".part" + mine, old = place.string() + ".old" + mine;
  std::error_code error, ignored;
  fs::remove_all(beside, ignored);
  try {
    make_folder(beside);
    write(beside);
    if (fs::exists(place)) {
      fs::rename(place, old);
    }
    fs::rename(beside, place, error);
    if (error) {
      if (fs::exists(old)) {
        fs::rename(old, place, ignored);
      }
      throw Error(place.string() + ": cannot be written: " + error.message());
    }
    fs::remove_all(old, ignored);
  } catch (const fs::filesystem_error& e) {
    fs::remove_all(beside, ignored);
    throw Error(place.string() + ": cannot be written: " + e.code().message());
  } catch (...) {
    fs::remove_all(beside, ignored);
    throw;
  }
}

}  // namespace retort
