/// Files that are checked in as a program writes them.
#pragma once

#include <cstdlib>
#include <string>

#include "io/files.h"
#include "support/support.h"

namespace retort::test {

/// Compares `text` with the file; where RETORT_UPDATE is set, writes the file instead.
inline void check_golden(const std::string& file, const std::string& text) {
  if (std::getenv("RETORT_UPDATE") != nullptr) {
    write_text(file, text);
  }
  const std::string kept = std::filesystem::exists(file) ? read_text(file) : "";
  if (kept != text) {
    size_t at = 0;
    while (at < kept.size() && at < text.size() && kept[at] == text[at]) {
      ++at;
    }
    const size_t line = kept.rfind('\n', at == 0 ? 0 : at - 1);
    const size_t from = line == std::string::npos ? 0 : line + 1;
    FAIL_CHECK(file << " is not up to date (RETORT_UPDATE=1 ./retort test writes it anew); it says\n"
                    << kept.substr(from, kept.find('\n', from) - from) << "\nbut now it is\n"
                    << text.substr(from, text.find('\n', from) - from));
  }
}

}  // namespace retort::test
