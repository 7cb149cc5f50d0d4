#include <sys/stat.h>

#include <fstream>

#include "io/files.h"
#include "plugin/elf.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

TEST_CASE("kind and name are read from the file") {
  const auto symbols = plugin_symbols(plugin_dir() + "/solvers/heun.so");
  CHECK(std::count(symbols.begin(), symbols.end(), "retort_plugin__solver__heun") == 1);
  CHECK(registry().find("solver", "heun").path.filename() == "heun.so");
}

TEST_CASE("what is no usable plugin is refused with a reason, and the others stay usable") {
  Folder folder;
  const std::string good = read_text(plugin_dir() + "/solvers/heun.so");
  const auto put = [&](const std::string& name, const std::string& bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
  };
  put("empty.so", "");
  put("text.so", std::string(100, 'x'));
  put("half.so", good.substr(0, good.size() / 2));
  std::string other = good;
  other[18] = 0x28;  // the machine field: 32-bit ARM
  put("arm.so", other);
  fs::create_directory(folder / "folder.so");
  fs::create_symlink("/no/such/file", folder / "dangling.so");
  for (const char* name : {"tomorrow", "plain", "toy"}) {
    fs::copy_file(test_plugin_dir() + "/" + name + ".so", folder / (std::string(name) + ".so"));
  }
  put("open.so", good);
  chmod((folder / "open.so").c_str(), 0666);
  const Registry found({folder.string()});
  REQUIRE(found.files().size() == 1);
  CHECK(found.files()[0].name == "toy");
  const auto reason = [&](const std::string& name) {
    for (const RejectedFile& file : found.rejected()) {
      if (file.path.filename() == name) {
        CHECK(file.reason.find('\n') == std::string::npos);
        return file.reason;
      }
    }
    return std::string("not refused");
  };
  CHECK(contains(reason("empty.so"), "is empty"));
  CHECK(contains(reason("text.so"), "no ELF header"));
  CHECK(contains(reason("half.so"), "is truncated or damaged"));
  CHECK(contains(reason("arm.so"), "for another processor"));
  CHECK(contains(reason("folder.so"), "is no regular file"));
  CHECK(contains(reason("dangling.so"), "cannot be found"));
  CHECK(contains(reason("plain.so"), "no Retort plugin"));
  CHECK(contains(reason("tomorrow.so"), "was built for SDK ABI 999"));
  CHECK(contains(reason("open.so"), "chmod o-w"));
  CHECK(contains(request_error([&] { found.find("solver", "tomorrow"); }), "was refused"));
}

TEST_CASE("a library truncated anywhere, or with any of its bytes wrong, never crashes the host") {
  Folder folder;
  const std::string good = read_text(plugin_dir() + "/solvers/ddim.so");
  const auto survives = [&](const std::string& bytes) {
    std::ofstream(folder / "x.so", std::ios::binary) << bytes;
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

TEST_CASE("a plugin from another folder is used like our own; a failing one is one line") {
  const std::string dir = " --plugin-dir '" + test_plugin_dir() + "' ";
  CHECK(contains(run_retort(dir + "list solver").output, "toy"));
  const Outcome inspect = run_retort(dir + "inspect toy");
  CHECK(contains(inspect.output, "A toy solver for the tests"));
  CHECK(contains(inspect.output, "gain = 1.0   number, > 0"));
  Folder folder;
  CHECK(run_retort("run " + mixture_config + small + dir +
                   " loss.type=cm solver.type=toy run.output=" + folder.string() + "/out")
            .code == 0);
  CHECK(one_line(run_retort("run " + mixture_config + dir + " solver.type=throws run.output=" + folder.string() + "/x"),
                 1, {"solver 'throws': no such luck"}));
  CHECK(one_line(run_retort("run " + mixture_config + " solver.type=toy"), 2, {"no solver plugin is called 'toy'"}));
}

TEST_CASE("without one plugin's library all else works") {
  Folder folder;
  fs::copy(plugin_dir(), folder / "plugins", fs::copy_options::recursive);
  fs::remove(folder / "plugins" / "solvers" / "heun.so");
  const Registry found({(folder / "plugins").string()});
  const auto names = found.names("solver");
  CHECK(std::find(names.begin(), names.end(), "heun") == names.end());
  CHECK(std::find(names.begin(), names.end(), "ddim") != names.end());
  CHECK(contains(request_error([&] { found.find("solver", "heun"); }), "no solver plugin is called 'heun'"));
}

TEST_CASE("two plugins of one kind and name are an error that shows both") {
  Folder folder;
  fs::copy_file(plugin_dir() + "/solvers/heun.so", folder / "other.so");
  const Registry found({folder.string(), plugin_dir()});
  const std::string message = request_error([&] { found.find("solver", "heun"); });
  CHECK(contains(message, "other.so"));
  CHECK(contains(message, "solvers/heun.so"));
}

TEST_CASE("the host links no plugin and names none") {
  const std::string needed = shell("readelf -d '" + program() + "' | grep NEEDED").output;
  CHECK(contains(needed, "libretort_sdk.so"));
  std::string sources;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(source_dir() + "/framework")) {
    if (entry.is_regular_file()) {
      sources += read_text(entry.path());
    }
  }
  for (const PluginFile& file : registry().files()) {
    CAPTURE(file.name);
    CHECK(needed.find("[" + file.path.filename().string() + "]") == std::string::npos);
    if (std::find(std::begin(plugin_kinds), std::end(plugin_kinds), file.name) ==
        std::end(plugin_kinds)) {  // "network" is a table too
      CHECK(sources.find("\"" + file.name + "\"") == std::string::npos);
    }
  }
}

TEST_CASE("the SDK knows nothing of the framework, and plugins know only the SDK") {
  for (const char* part : {"sdk", "plugins", "backends"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(source_dir() + "/" + part)) {
      if (!entry.is_regular_file()) {
        continue;
      }
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (line.starts_with("#include \"")) {
          CAPTURE(entry.path().string());
          CAPTURE(line);
          CHECK((line.starts_with("#include \"retort/") || line.find('/') == std::string::npos ||
                 line.starts_with("#include \"../shared/")));
        }
      }
    }
  }
}
