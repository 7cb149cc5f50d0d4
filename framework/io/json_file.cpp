#include "io/json_file.h"

#include "io/files.h"

namespace retort {

Json read_json(const std::filesystem::path& file) {
  std::error_code missing;
  return std::filesystem::exists(file, missing) ? Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false)
                                                : Json();
}

}  // namespace retort
