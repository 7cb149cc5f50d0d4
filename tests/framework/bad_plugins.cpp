#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "io/files.h"
#include "support/golden.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

std::string good_library() { return read_text(plugin_dir() + "/solvers/heun.so"); }

void put(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

void put_test_plugin(const fs::path& folder, const std::string& name) {
  fs::copy_file(test_plugin_dir() + "/" + name + ".so", folder / (name + ".so"));
}

// One row of the table: a file "bad.so" (or a plugin by name), and the command that meets it.
struct Case {
  std::string what;
  std::function<void(const fs::path& folder)> prepare;
  std::string command;  // after `retort --plugin-dir FOLDER`; FOLDER is replaced
  int code;
};

std::string ask = "inspect bad";

std::vector<Case> cases() {
  const auto bytes = [](const std::string& content) {
    return [content](const fs::path& folder) { put(folder / "bad.so", content); };
  };
  const auto ours = [](const std::string& name) {
    return [name](const fs::path& folder) { put_test_plugin(folder, name); };
  };
  const std::string good = good_library();
  std::string arm = good, not_shared = good;
  arm[18] = 0x28;
  not_shared[16] = 2;
  at::Tensor noise = at::randint(0, 256, {5000}, seeded(0, "noise"), at::kByte);
  const std::string random(static_cast<const char*>(noise.data_ptr()), 5000);
  return {
      {"an empty file", bytes(""), ask, 2},
      {"a text file named .so", bytes("#!/bin/sh\necho hello\n"), ask, 2},
      {"random bytes", bytes(random), ask, 2},
      {"random bytes behind an ELF header", bytes(good.substr(0, 64) + random), ask, 2},
      {"half a library", bytes(good.substr(0, good.size() / 2)), ask, 2},
      {"another architecture's", bytes(arm), ask, 2},
      {"an executable", bytes(not_shared), ask, 2},
      {"a library that is no plugin", ours("plain"), "inspect plain", 2},
      {"the ABI number of tomorrow", ours("tomorrow"), "inspect tomorrow", 2},
      {"another LibTorch", ours("other_torch"), "inspect other_torch", 2},
      {"a stamp without a factory", ours("no_factory"), "inspect no_factory", 2},
      {"two factories in one file", ours("two_factories"), "inspect two_factories", 2},
      {"an unknown kind", ours("unknown_kind"), "inspect unknown_kind", 2},
      {"an endless name", ours("long_name"), "inspect long_name", 2},
      {"a solver's name where a loss is wanted", ours("toy"), "run MIXTURE loss.type=toy run.output=FOLDER/out", 2},
      {"a solver that exports itself as a loss", ours("forged_kind"), "inspect forged_kind", 2},
      {"a factory of the wrong type", ours("wrong_signature"), "inspect wrong_signature", 2},
      {"undefined symbols", ours("undefined"), "inspect undefined", 2},
      {"two of one kind and name",
       [](const fs::path& folder) {
         put_test_plugin(folder, "toy");
         fs::copy_file(folder / "toy.so", folder / "bad.so");
       },
       "run MIXTURE solver.type=toy run.output=FOLDER/out", 2},
      {"a dangling link", [](const fs::path& folder) { fs::create_symlink("/no/such/file", folder / "bad.so"); }, ask,
       2},
      {"a folder named .so", [](const fs::path& folder) { fs::create_directory(folder / "bad.so"); }, ask, 2},
      {"a file that anyone may write to",
       [](const fs::path& folder) {
         put_test_plugin(folder, "toy");
         chmod((folder / "toy.so").c_str(), 0666);
       },
       "inspect toy", 2},
      {"a folder that anyone may write to",
       [](const fs::path& folder) {
         fs::create_directory(folder / "open");
         put_test_plugin(folder / "open", "toy");
         chmod((folder / "open").c_str(), 0777);
       },
       "inspect toy", 2},
      {"a static constructor that throws", ours("static_throws"), "inspect static_throws", 1},
      {"a constructor that throws", ours("throws"), "inspect throws", 1},
      {"a constructor that throws a number", ours("fails"),
       "run MIXTURE solver.type=fails solver.how=throw_number run.output=FOLDER/out", 1},
      {"a factory that returns null", ours("returns_null"), "inspect returns_null", 1},
      {"a failed assertion", ours("fails"), "run MIXTURE solver.type=fails solver.how=assert run.output=FOLDER/out", 1},
      {"a step that throws", ours("fails"),
       "run MIXTURE solver.type=fails loss.type=cm solver.how=step run.output=FOLDER/out train.steps=1 evaluate.at=[]",
       1},
      {"a step that throws a number", ours("fails"),
       "run MIXTURE solver.type=fails loss.type=cm solver.how=step_number run.output=FOLDER/out train.steps=1 "
       "evaluate.at=[]",
       1},
      {"a parameter of the wrong type", ours("toy"),
       "run MIXTURE solver.type=toy solver.gain=true run.output=FOLDER/out", 2},
#ifndef __SANITIZE_ADDRESS__
      {"a call of abort()", ours("fails"), "run MIXTURE solver.type=fails solver.how=abort run.output=FOLDER/out", 1},
      {"a segmentation fault", ours("fails"), "run MIXTURE solver.type=fails solver.how=segfault run.output=FOLDER/out",
       1},
#endif
  };
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

TEST_CASE("each bad plugin gets one line and the right exit code, and the others stay usable") {
  std::string table =
      "# What a bad plugin gets\n\nWritten by a test (`framework/bad_plugins`), which also sees that the other plugins "
      "stay "
      "usable.\n\n| plugin | exit code | the line |\n| --- | --- | --- |\n";
  for (const Case& c : cases()) {
    CAPTURE(c.what);
    Folder folder;
    c.prepare(folder.string());
    fs::create_directory(folder / "more");
    put_test_plugin(folder / "more", "twin");
    const Outcome out = run_retort("--plugin-dir " + folder.string() + " " +
                                   replaced(replaced(c.command, "MIXTURE", mixture_config), "FOLDER", folder.string()));
    // A run says what it begins to do before the line of its end.
    const std::string last =
        replaced(out.output.substr(out.output.find("error: ") == std::string::npos ? 0 : out.output.find("error: ")),
                 folder.string(), "FOLDER");
    CHECK(out.code == c.code);
    CHECK(last.starts_with("error: "));
    CHECK(std::count(last.begin(), last.end(), '\n') == 1);
    CHECK(out.output.find("terminate called") == std::string::npos);
    const Registry found({folder.string(), plugin_dir()});
    CHECK(found.find("solver", "twin").name == "twin");
    CHECK(found.find("solver", "heun").name == "heun");
    // An assertion's path is relative where the compiler's cache is used.
    std::string line = replaced(replaced(last.substr(7, last.size() - 8), source_dir(), "."), "(../../", "(./");
    line = replaced(line, "|", "\\|");
    table += "| " + c.what + " | " + std::to_string(out.code) + " | " + line + " |\n";
  }
#ifndef __SANITIZE_ADDRESS__
  check_golden(source_dir() + "/sdk/reference/bad_plugins.md", table);
#endif
}

TEST_CASE("a library truncated anywhere, or with any of its bytes wrong, never crashes the host") {
  Folder folder;
  const std::string good = read_text(plugin_dir() + "/solvers/ddim.so");
  const auto survives = [&](const std::string& bytes) {
    put(folder / "x.so", bytes);
    const Registry found({folder.string()});
    return found.files().size() + found.rejected().size() == 1;
  };
  for (size_t size = 0; size < good.size(); size += 4096) {
    REQUIRE(survives(good.substr(0, size)));
  }
  at::Generator generator = seeded(1, "bytes");
  const size_t table = good.size() - 40 * 64;  // the section table lies at the end
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    for (int j = 0; j < 8; ++j) {
      const auto at = static_cast<size_t>(at::randint(0, 1 << 30, {1}, generator, at::kLong).item<int64_t>());
      bad[i % 2 == 0 ? at % 64 : table + at % (good.size() - table)] = static_cast<char>(at >> 8);
    }
    REQUIRE(survives(bad));
  }
}

TEST_CASE("a file that the user may not read is refused, with the reason") {
  Folder folder;
  put(folder / "bad.so", good_library());
  chmod((folder / "bad.so").c_str(), 0);
  chmod(folder.string().c_str(), 0755);
  // Root may read everything, so somebody else looks.
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) {
      _exit(3);
    }
    const Registry found({folder.string()});
    _exit(found.rejected().size() == 1 && contains(found.rejected()[0].reason, "cannot be read") ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

TEST_CASE("a library that is removed between listing and loading is an error of one line") {
  Folder folder;
  put_test_plugin(fs::path(folder.string()), "toy");
  const Registry found({folder.string()});
  const PluginFile file = found.find("solver", "toy");
  fs::remove(file.path);
  const std::string message = request_error([&] { found.describe(file); });
  CHECK(contains(message, "cannot be loaded"));
  CHECK(message.find('\n') == std::string::npos);
}
