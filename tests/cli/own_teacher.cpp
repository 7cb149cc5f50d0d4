// The section "Your own teacher" of sdk/README.md: every command of it, as it stands there, with Python's diffusers.
#include <filesystem>

#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

TEST_CASE("a teacher of diffusers, a TorchScript file and a folder of pictures are distilled as the page says") {
  const std::string& python = python_that_imports("diffusers, PIL");
  if (python.empty()) {
    return;
  }
  Folder folder;
  const std::string page = read_text(source_dir() + "/sdk/README.md"), fence = "```bash\n";
  std::string script = "set -eu\n";
  size_t blocks = 0;
  for (size_t at = page.find(fence); at != std::string::npos; at = page.find(fence, at), ++blocks) {
    at += fence.size();
    script += page.substr(at, page.find("\n```", at) - at) + "\n";
  }
  CHECK(blocks >= 5);
  write_text(folder / "script.sh", script);
  // `python` and `retort` as a user has them: on the PATH.
  fs::create_directories(folder / "bin");
  write_text(folder / "bin/python", "#!/bin/sh\nexec '" + python + "' \"$@\"\n");
  fs::permissions(folder / "bin/python", fs::perms::owner_all);
  fs::create_symlink(program(), folder / "bin/retort");
  const Outcome out = shell("cd '" + folder.string() + "' && RETORT='" + source_dir() + "' PATH='" +
                            (folder / "bin").string() + "':$PATH sh script.sh");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const fs::path own = folder / "own";
  CHECK(fs::file_size(own / "first.png") > 100);
  CHECK(contains(out.output, "torch.Size([4, 3, 16, 16])"));
  for (const char* run : {"distil", "script", "pictures"}) {
    CAPTURE(std::string(run));
    CHECK(fs::exists(own / "runs" / run / "report.html"));
  }
}
