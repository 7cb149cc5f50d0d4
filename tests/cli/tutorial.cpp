#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

// The commands of a page: its blocks that are marked as `sh`, in order.
std::string commands(const std::string& page) {
  std::string out;
  const std::string begin = "\n```sh\n", end = "\n```\n";
  for (size_t at = 0; (at = page.find(begin, at)) != std::string::npos;) {
    at += begin.size();
    const size_t to = page.find(end, at);
    REQUIRE(to != std::string::npos);
    out += page.substr(at, to - at) + "\n";
    at = to;
  }
  return out;
}

}  // namespace

TEST_CASE("every command of the tutorial works, with the installed tree alone") {
  Folder folder;
  const std::string build = std::filesystem::path(program()).parent_path().parent_path().string();
  const Outcome installed = shell("cmake --install " + build + " --prefix " + folder.string() + "/first");
  REQUIRE(installed.code == 0);
  std::filesystem::rename(folder / "first", folder / "tree");  // it can be moved
  const std::string script = commands(read_text(source_dir() + "/sdk/README.md"));
  CHECK(contains(script, "retort new solver"));
  write_text(folder / "tutorial.sh", "set -eu\n" + script);
  const Outcome out = shell("mkdir " + folder.string() + "/empty && cd " + folder.string() +
                            "/empty && PATH=" + folder.string() + "/tree/bin:$PATH sh ../tutorial.sh");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(out.output, "0 of them failed"));
}
