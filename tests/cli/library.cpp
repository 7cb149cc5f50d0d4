#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

// The block of that language in a page that begins with these words.
std::string block(const std::string& page, const std::string& language, const std::string& first) {
  const std::string fence = "```" + language + "\n" + first;
  const size_t from = page.find(fence);
  REQUIRE(from != std::string::npos);
  const size_t begin = from + language.size() + 4;
  return page.substr(begin, page.find("\n```", begin) - begin + 1);
}

}  // namespace

TEST_CASE("the manual's program builds against the library, and runs") {
  Folder folder;
  const std::string page = read_text(source_dir() + "/framework/README.md");
  write_text(folder / "mine.cpp", block(page, "cpp", "#include <retort/session.h>"));
  write_text(folder / "CMakeLists.txt", block(page, "cmake", "cmake_minimum_required"));
  const std::string tree = std::filesystem::path(program()).parent_path().parent_path().string();
  const Outcome built = shell("cd '" + folder.string() + "' && cmake -G Ninja -S . -B build -DRetort_DIR='" + tree +
                              "/lib/cmake/Retort' && cmake --build build");
  CAPTURE(built.output);
  REQUIRE(built.code == 0);
  const Outcome ran = shell("cd '" + folder.string() + "' && build/mine");
  CAPTURE(ran.output);
  CHECK(ran.code == 0);
  CHECK(contains(ran.output, "training: 200 steps"));
  CHECK(contains(ran.output, "sliced_wasserstein"));
  CHECK(std::filesystem::exists(folder / "mine" / "report.html"));
  // One line where it cannot be.
  const Outcome refused =
      shell("cd '" + folder.string() +
            "' && sed -i s/loss.type=cm/loss.type=cmm/ mine.cpp && cmake --build build && build/mine");
  CHECK(refused.code == 1);
  CHECK(contains(refused.output, "error: "));
  CHECK(contains(refused.output, "did you mean 'cm'"));
}
