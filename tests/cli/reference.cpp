#include <set>

#include "support/golden.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

// The kept page without the parts on plugins that this machine cannot build (those of nvcc and oneDNN).
std::string without_missing(const std::string& kept, const std::string& here) {
  const std::string mark = "\n## ";
  std::string out = kept.substr(0, kept.find(mark));
  for (size_t at = kept.find(mark); at != std::string::npos;) {
    const size_t next = kept.find(mark, at + 1);
    const std::string part = kept.substr(at, next == std::string::npos ? next : next - at);
    if (here.find(part.substr(0, part.find('\n', 1) + 1)) != std::string::npos) {
      out += part;
    }
    at = next;
  }
  return out;
}

}  // namespace

TEST_CASE("the reference is what the program says of itself") {
  Folder folder;
  REQUIRE(run_retort("inspect --all --markdown --output " + folder.string()).code == 0);
  std::set<std::string> pages;
  for (const auto& entry : std::filesystem::directory_iterator(folder.string())) {
    const std::string name = entry.path().filename().string();
    pages.insert(name);
    const std::string file = source_dir() + "/sdk/reference/" + name, here = read_text(entry.path());
    if (const std::string kept = std::filesystem::exists(file) ? read_text(file) : "";
        without_missing(kept, here) != kept) {
      CHECK(without_missing(kept, here) == here);
    } else {
      check_golden(file, here);
    }
  }
  CHECK(pages.size() == 11);
  CHECK(one_line(run_retort("inspect --all"), 2, {"needs --markdown"}));
  CHECK(one_line(run_retort("inspect"), 2, {"needs a NAME"}));
}
