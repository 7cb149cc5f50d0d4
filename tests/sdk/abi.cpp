#include <algorithm>

#include "retort/plugin.h"
#include "support/golden.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// The code of a header: without comments, and without blanks and the ends of lines, which formatting moves.
std::string code(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "//") == 0) {
      i = std::min(text.find('\n', i), text.size()) - 1;
    } else if (std::isspace(static_cast<unsigned char>(text[i])) != 0 || text[i] == '\\') {
      continue;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

// sdk/ABI.md says what to do when this fails.
TEST_CASE("public headers are those that the SDK ABI number stands for") {
  std::string text = "SDK ABI " + std::to_string(RETORT_SDK_ABI) + "\n";
  std::vector<fs::path> headers;
  for (const auto& entry : fs::directory_iterator(source_dir() + "/sdk/include/retort")) {
    headers.push_back(entry.path());
  }
  std::sort(headers.begin(), headers.end());
  Folder folder;
  for (const fs::path& header : headers) {
    if (header.filename() == "doctest.h" || header.filename() == "conformance.h") {
      continue;  // of tests, not of plugins
    }
    write_text(folder / "code", code(read_text(header)));
    text += header.filename().string() + " " + sha256_of_file(folder / "code") + "\n";
  }
  const std::string file = source_dir() + "/sdk/abi.txt";
  const std::string kept = fs::exists(file) ? read_text(file) : "";
  const std::string number = kept.substr(0, kept.find('\n'));
  if (number == text.substr(0, text.find('\n')) && kept != text) {
    // The number must be raised, or the writer must say that no built plugin can notice.
    CHECK_MESSAGE(std::getenv("RETORT_ABI_UNCHANGED") != nullptr,
                  "a public header changed under the old SDK ABI number; see sdk/ABI.md");
    if (std::getenv("RETORT_ABI_UNCHANGED") == nullptr) {
      return;
    }
  }
  check_golden(file, text);
}
