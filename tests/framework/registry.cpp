#include <sys/stat.h>

#include <fstream>

#include "io/files.h"
#include "io/json.h"
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

TEST_CASE("a folder that is named twice holds its plugins once") {
  const Registry found({plugin_dir(), plugin_dir() + "/../plugins", plugin_dir()});
  CHECK(found.find("solver", "heun").name == "heun");
  CHECK(found.names("solver") == registry().names("solver"));
}

TEST_CASE("two plugins of one kind and name are an error that shows both, unless one is preferred") {
  Folder folder;
  fs::copy_file(plugin_dir() + "/solvers/heun.so", folder / "other.so");
  const Registry found({folder.string(), plugin_dir()});
  const std::string message = request_error([&] { found.find("solver", "heun"); });
  CHECK(contains(message, "other.so"));
  CHECK(contains(message, "solvers/heun.so"));
  CHECK(found.find("solver", "heun", folder / "other.so").path == folder / "other.so");
  CHECK(found.find("solver", "heun", folder.string()).path == folder / "other.so");
  CHECK(found.find("solver", "heun", plugin_dir()).path == plugin_dir() + "/solvers/heun.so");
  CHECK(found.find("solver", "ddim", folder.string()).name == "ddim");
  const std::string command = "run " + mixture_config + small + " --plugin-dir " + folder.string() +
                              " loss.type=cm run.output=" + folder.string() + "/out ";
  CHECK(one_line(run_retort(command), 2, {"two plugins are called solver 'heun'", "[plugins] prefer"}));
  CHECK(run_retort(command + "plugins.prefer=" + folder.string()).code == 0);
  CHECK(contains(read_text(folder / "out" / "plugins.json"), "other.so"));
}

TEST_CASE("plugins keep to themselves") {
  const Registry found({test_plugin_dir(), plugin_dir()});
  const auto make = [&](const std::string& name) {
    const Value empty;
    Params p(empty, "solver", nullptr);
    return std::static_pointer_cast<Solver>(found.make("solver", name, p));
  };
  // Both have a class Toy and a function helper().
  const auto toy = make("toy"), twin = make("twin");
  CHECK(toy->order() == 1);
  CHECK(toy->evaluations() == 1);
  CHECK(twin->order() == 7);
  CHECK(twin->evaluations() == 2);
  // A library of its own is found beside it, and is not taken for a plugin.
  CHECK(make("leans")->order() == 1);
  for (const RejectedFile& file : found.rejected()) {
    CHECK(file.path.filename() != "libleaned_on.so");
  }
}

TEST_CASE("a frozen run loads the recorded libraries and no others") {
  Folder folder;
  fs::create_directory(folder / "plugins");
  fs::copy_file(test_plugin_dir() + "/toy.so", folder / "plugins" / "toy.so");
  const std::string command = "run " + mixture_config + small + " loss.type=cm solver.type=toy --plugin-dir " +
                              folder.string() + "/plugins run.output=" + folder.string() + "/out ";
  CHECK(one_line(run_retort(command + "--frozen"), 2, {"--frozen needs the plugins.json of an earlier run"}));
  CHECK(run_retort(command).code == 0);
  const Json results = Json::parse(read_text(folder / "out" / "results.json"));
  const auto recorded = [&](const char* list, const std::string& path) {
    return std::any_of(results[list].begin(), results[list].end(), [&](const Json& item) {
      return fs::path(item["path"].get<std::string>()).filename() == path &&
             item["sha256"].get<std::string>().size() == 64;
    });
  };
  CHECK(recorded("plugins", "toy.so"));
  for (const char* library : {"retort", "libretort_sdk.so", "libtorch_cpu.so"}) {
    CAPTURE(std::string(library));
    CHECK(recorded("libraries", library));
  }
  CHECK(run_retort(command + "--frozen --fresh").code == 0);
  // Aside by now; the list lies beside the configuration of the run that was moved.
  const std::string moved = "run " + folder.string() + "/out~1/config.toml --plugin-dir " + folder.string() +
                            "/plugins --frozen --fresh run.output=" + folder.string() + "/again ";
  CHECK(run_retort(moved).code == 0);
  CHECK(one_line(run_retort(moved + "solver.type=heun run.output=" + folder.string() + "/b"), 2,
                 {"solver 'heun' is not among the frozen libraries"}));
  std::string changed = read_text(folder / "plugins" / "toy.so");
  changed += "one more byte";
  write_text(folder / "plugins" / "toy.so", changed);
  CHECK(one_line(run_retort(moved), 2, {"toy.so: is another library than the frozen one", "SHA-256"}));
}

TEST_CASE("two hundred plugins are listed without running any of them") {
  Folder folder;
  const std::string good = read_text(test_plugin_dir() + "/toy.so");
  std::string bytes = good;
  for (int i = 0; i < 200; ++i) {
    // Each under a name of its own, in every place where the name stands.
    std::string name = std::to_string(1000 + i).substr(1);
    for (size_t at = 0; (at = bytes.find("solver__", at)) != std::string::npos; at += 8) {
      bytes.replace(at + 8, 3, name);
    }
    write_text(folder / (name + ".so"), bytes);
  }
  const Outcome out = run_retort("--plugin-dir " + folder.string() + " list solver --json");
  CHECK(out.code == 0);
  const Json list = Json::parse(out.output);
  CHECK(std::count_if(list["plugins"].begin(), list["plugins"].end(), [&](const Json& item) {
          return item["path"].get<std::string>().starts_with(folder.string());
        }) == 200);
}

TEST_CASE("the host links no plugin and names none") {
  const std::string needed = shell("readelf -d '" + program() + "' | grep NEEDED").output;
  CHECK(contains(needed, "libretort_sdk.so"));
  std::string sources;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(source_dir() + "/framework")) {
    const fs::path extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".h" || extension == ".cpp")) {  // pages show examples
      sources += read_text(entry.path());
    }
  }
  for (const PluginFile& file : registry().files()) {
    CAPTURE(file.name);
    CHECK(needed.find("[" + file.path.filename().string() + "]") == std::string::npos);
    // "network" is a table too, "identity" a word of diffusers' configurations, "latents" a folder.
    if (file.name != "identity" && file.name != "latents" &&
        std::find(std::begin(plugin_kinds), std::end(plugin_kinds), file.name) == std::end(plugin_kinds)) {
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
                 line.starts_with("#include \"../shared/") || line.starts_with("#include \"../common/")));
        }
      }
    }
  }
}
