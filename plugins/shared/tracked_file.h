/// Files of trackers, in the folder of a training.
#pragma once

#include <retort/error.h>
#include <retort/tracker.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace retort {

/// "loss", "diagnostics/tangent"
inline std::string tag_of(const Scalar& scalar) {
  return scalar.group.empty() ? scalar.name : scalar.group + "/" + scalar.name;
}

/// The key `file`: a name within the folder of the training, with that word in it, so that it is none of the host's.
inline std::string file_name(Params& p, const char* fallback, const std::string& word) {
  const std::string name = p.get("file", fallback, "its name, in the folder of the training");
  const bool plain = std::none_of(name.begin(), name.end(), [](unsigned char c) { return c == '/' || c < ' '; });
  if (!plain || name.find(word) == std::string::npos) {
    throw p.error("file",
                  "is " + Value{name, {}}.text() + "; expected a name without folders, with \"" + word + "\" in it");
  }
  return name;
}

/// Puts a whole file in the place of another at once.
inline void replace_file(const std::filesystem::path& file, const std::string& content) {
  const std::string half = file.string() + ".new";
  {
    std::ofstream out(half, std::ios::binary);
    out << content << std::flush;
    if (!out) {
      throw Error(half + ": cannot be written");
    }
  }
  std::error_code failed;
  std::filesystem::rename(half, file, failed);
  if (failed) {
    throw Error(file.string() + ": cannot be written: " + failed.message());
  }
}

/// Opened each time, so that the file may be moved or replaced between two.
inline void append_to_file(const std::filesystem::path& file, const std::string& content) {
  std::ofstream out(file, std::ios::binary | std::ios::app);
  out << content << std::flush;
  if (!out) {
    throw Error(file.string() + ": cannot be written");
  }
}

}  // namespace retort
