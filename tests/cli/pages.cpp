// Every command that a page or a help text prints is run here, as it is printed. Configurations are made small in a
// copy of configs/, not by overrides, which could hide what a command lacks.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>

#include "config/toml.h"
#include "io/files.h"
#include "support/program.h"
#include "sweep/axes.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// Whose commands are run, in this order: what one makes, a later one may use.
const std::vector<std::string> pages = {
    "README.md",       "framework/README.md", "backends/README.md", "configs/paper/README.md",
    "CONTRIBUTING.md", "sdk/ABI.md",          "sdk/names.md"};

std::string build_dir() { return fs::path(program()).parent_path().parent_path().string(); }

// The installed tree, moved once after it was made.
const fs::path& installed_tree() {
  static const Folder folder;
  static const fs::path tree = [] {
    REQUIRE(shell("cmake --install " + build_dir() + " --prefix " + folder.string() + "/first").code == 0);
    fs::rename(folder / "first", folder / "tree");
    return folder / "tree";
  }();
  return tree;
}

// The blocks of a page that begin with ``` and this word.
std::vector<std::string> blocks(const std::string& page, const std::string& word) {
  std::vector<std::string> out;
  std::istringstream lines(page);
  bool within = false, wanted = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      within = !within;
      wanted = within && line == "```" + word;
      if (wanted) {
        out.emplace_back();
      }
    } else if (wanted) {
      out.back() += line + "\n";
    }
  }
  REQUIRE(!within);
  return out;
}

struct Command {
  std::string text;    // as printed, less its comment
  std::string answer;  // the line that the page shows behind it, or empty
};

std::string trimmed(const std::string& text) {
  const size_t from = text.find_first_not_of(' ');
  return from == std::string::npos ? "" : text.substr(from, text.find_last_not_of(' ') + 1 - from);
}

// Lines of a block that are commands.
void add_lines(const std::string& block, std::vector<Command>& out) {
  static const std::regex command(
      R"(^\s*(\$ )?((\./)?retort |torchrun |sbatch |cmake |podman |export PATH=|[A-Z_]+=\S+ (.*)\./retort ).*)");
  std::istringstream lines(block);
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, command)) {
      const std::string text = trimmed(line);
      const std::string plain = text.starts_with("$ ") ? text.substr(2) : text;
      std::string one = trimmed(plain.substr(0, plain.find(" #")));
      one = trimmed(one.substr(0, one.find(" … ")));
      // Two commands may stand side by side, and a description behind one, each after a wide gap.
      for (size_t gap; !one.empty(); one = gap == std::string::npos ? "" : trimmed(one.substr(gap))) {
        gap = one.find("    ");
        const std::string part = trimmed(one.substr(0, gap));
        if (std::regex_match(part + " ", command)) {
          out.push_back({part, ""});
        }
      }
      if (text.starts_with("$ ")) {
        std::getline(lines, out.back().answer);
      }
    }
  }
}

// `retort …` within running text.
void add_spans(const std::string& page, std::vector<Command>& out) {
  static const std::regex span(R"(`((\./)?retort [^`\n]+)`)");
  static const std::regex broken("\n");
  const std::string flat = std::regex_replace(page, broken, " ");
  for (std::sregex_iterator i(flat.begin(), flat.end(), span), end; i != end; ++i) {
    out.push_back({(*i)[1], ""});
  }
}

// Configurations that a page shows with their names, as "# NAME.toml: what it is" in the first line.
void write_named_configurations(const std::string& page, const fs::path& to) {
  static const std::regex named(R"(# (\w+\.toml): .*)");
  for (const std::string& block : blocks(page, "toml")) {
    const std::string first = block.substr(0, block.find('\n'));
    if (std::smatch found; std::regex_match(first, found, named)) {
      write_text(to / found[1].str(), block);
    }
  }
}

// Of a long axis, its first, its middle and its last value.
void shorten(Value& axis) {
  if (auto* all = std::get_if<Array>(&axis.data); all != nullptr && all->size() > 4) {
    axis = Value{Array{all->front(), (*all)[all->size() / 2], all->back()}, {}};
  }
}

// Axes made short, and without exclusions that speak of what is gone.
void shorten_sweep(Value& sweep) {
  for (auto& [axis, values] : sweep.table()) {
    if (axis != "cells" && axis != "exclude") {
      shorten(values);
    }
  }
  if (Value* exclude = sweep.find("exclude")) {
    const std::set<std::string> swept = keys_of(axes_of(flat_sweep(sweep)));
    auto& all = std::get<Array>(exclude->data);
    std::erase_if(all, [&](const Value& one) {
      return std::any_of(one.table().begin(), one.table().end(),
                         [&](const auto& e) { return !swept.contains(e.first); });
    });
    if (all.empty()) {
      sweep.erase("exclude");
    }
  }
}

// A copy of configs/ whose runs take seconds: fewer steps, samples, seeds and values of an axis; nothing else.
void small_configurations(const fs::path& to) {
  const fs::path from = source_dir() + "/configs";
  fs::create_directories(to);
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const fs::path place = to / fs::relative(entry.path(), from);
    if (entry.is_directory()) {
      fs::create_directories(place);
      continue;
    }
    if (entry.path().extension() != ".toml") {
      fs::create_symlink(entry.path(), place);
      continue;
    }
    Value config = read_toml(entry.path().string());
    const bool mixture = entry.path().filename() == "mixture.toml";
    const auto less = [&](const char* table, const char* key, Value value) {
      Value* found = config.find(table);
      if (found != nullptr && found->find(key) != nullptr) {
        (*found)[key] = std::move(value);
      }
    };
    less("network", "width", Value{int64_t{16}, {}});
    less("evaluate", "samples", Value{int64_t{16}, {}});
    less("sweep", "seeds", Value{int64_t{1}, {}});
    less("train", "batch", Value{int64_t{16}, {}});
    if (Value* sweep = config.find("sweep")) {
      shorten_sweep(*sweep);
    }
    if (Value* tune = at_path(config, "sweep.tune")) {  // on another seed than that one
      (*tune)["seeds"] = Value{Array{Value{int64_t{1}, {}}}, {}};
    }
    if (!mixture) {  // whose training is short, and whose commands speak of its length
      config["train"]["steps"] = Value{int64_t{3}, {}};
      config["train"]["batch"] = Value{int64_t{4}, {}};
      less("evaluate", "at", Value{Array{Value{int64_t{2}, {}}}, {}});
    }
    Value& metric = config["metric"];
    metric["ode_error"]["exact_samples"] = Value{int64_t{2}, {}};
    metric["ode_error"]["noise_levels"] = Value{int64_t{1}, {}};
    metric["ode_error"]["noise_level_samples"] = Value{int64_t{4}, {}};
    metric["consistency_error"]["samples"] = Value{int64_t{4}, {}};
    write_text(place, write_toml(config));
  }
}

// What `./retort` is in the tests' folder: the program, and in place of the wrapper's own work a look at whether it
// could be done.
std::string stand_in() {
  return "#!/bin/sh\ncase \"$1\" in\n"
         "  test) shift; [ \"$1\" = --preset ] && exit 0\n"
         "    ctest --test-dir '" +
         build_dir() +
         "' -N \"$@\" | tee /dev/stderr | grep -q 'Total Tests: [1-9]' ;;\n"
         "  build) [ $# -eq 1 ] || ninja -C '" +
         build_dir() +
         "' -t query \"$2\" >/dev/null ;;\n"
         "  package) exit 0 ;;\n"
         "  setup) [ $# -eq 1 ] || [ \"$2\" = --without-root ] || [ \"$2\" = --help ] ;;\n"
         "  wheel) RETORT_PREFIX='" +
         installed_tree().string() + "' python3 '" + source_dir() +
         "/sdk/python/wheel_of_tree.py' \"$2\" ;;\n"
         "  install) ln -s '" +
         installed_tree().string() +
         "' \"$3\" ;;\n"
         "  *) exec '" +
         program() + "' \"$@\" ;;\nesac\n";
}

bool needs_a_name_only(const std::string& text) {  // `retort check` in a sentence speaks of the command
  return std::regex_match(text, std::regex(R"((\./)?retort [a-z]+)"));
}

}  // namespace

TEST_CASE("every command of the tutorial works, with the installed tree alone") {
  Folder folder;
  std::string script;
  for (const std::string& block : blocks(read_text(source_dir() + "/sdk/README.md"), "sh")) {
    script += block + "\n";
  }
  CHECK(contains(script, "retort new solver"));
  write_text(folder / "tutorial.sh", "set -eu\n" + script);
  const Outcome out = shell("mkdir " + folder.string() + "/empty && cd " + folder.string() +
                            "/empty && PATH=" + installed_tree().string() + "/bin:$PATH sh ../tutorial.sh");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(out.output, "0 of them failed"));
}

TEST_CASE("what the pages link to is there, and their TOML can be read") {
  std::vector<std::string> all = pages;
  all.emplace_back("sdk/README.md");
  for (const std::string& name : all) {
    CAPTURE(name);
    const std::string page = read_text(source_dir() + "/" + name);
    static const std::regex link(R"(\]\(([^)\s#:]+)(#[^)]*)?\))");
    for (std::sregex_iterator i(page.begin(), page.end(), link), end; i != end; ++i) {
      const std::string to = (*i)[1];
      CAPTURE(to);
      CHECK(fs::exists(fs::path(source_dir()) / fs::path(name).parent_path() / to));
    }
    for (const std::string& block : blocks(page, "toml")) {
      CAPTURE(block);
      CHECK_NOTHROW(parse_toml(block, name));
    }
  }
}

TEST_CASE("every command that the pages and the help texts print works") {
  Folder folder;
  const fs::path place = folder / "project";
  small_configurations(place / "configs");
  write_text(place / "retort", stand_in());
  fs::permissions(place / "retort", fs::perms::owner_all);
  write_text(place / "points.csv", "1.0,0.5\n-2.0,3.0\n");
  fs::create_directory_symlink(source_dir() + "/tests/fixtures/picture_sets/plain", place / "photos");
  fs::create_directories(place /
                         "stubs");  // of what needs a cluster: sbatch runs the script, srun what follows its options
  write_text(place / "stubs" / "sbatch", "#!/bin/sh\nshift\nSLURM_SUBMIT_DIR=$PWD exec bash \"$@\"\n");
  write_text(place / "stubs" / "srun", "#!/bin/sh\nshift\nexec \"$@\"\n");
  // … and of a builder of containers, which has to find the recipe.
  write_text(place / "stubs" / "podman",
             "#!/bin/sh\n[ \"$1 $2\" = 'build -f' ] && grep -q '^FROM ' '" + source_dir() + "'/\"$3\"\n");
  for (const char* stub : {"sbatch", "srun", "podman"}) {
    fs::permissions(place / "stubs" / stub, fs::perms::owner_all);
  }
  std::vector<Command> commands;
  size_t in_blocks = 0;
  for (const std::string& name : pages) {
    const std::string page = read_text(source_dir() + "/" + name);
    write_named_configurations(page, place);
    const size_t before = commands.size();
    for (const std::string& block : blocks(page, "")) {
      add_lines(block, commands);
    }
    in_blocks += commands.size() - before;
    add_spans(page, commands);
  }
  add_lines(run_retort("--help").output, commands);
  add_lines(shell("'" + source_dir() + "/retort' --help").output, commands);
  for (const auto& entry : fs::directory_iterator(source_dir() + "/sdk/reference")) {
    add_spans(read_text(entry.path()), commands);
  }
  CHECK(in_blocks > 30);
  std::string path = (place / "stubs").string() + ":" + torch_programs() + ":" + place.string() + ":";
  std::set<std::string> done;
  for (Command& command : commands) {
    std::string text = command.text;
    for (const auto& [placeholder, value] :
         {std::pair(" [DIR]", " wheels"), std::pair("DIR", "tree"), std::pair(" COMMAND", ""),
          std::pair(" [CTEST ARGUMENTS]", ""), std::pair(" [ARGUMENTS]", ""), std::pair(" [TARGET]", ""),
          std::pair(" [--without-root]", ""), std::pair(" CONFIG", " configs/mixture.toml"),
          std::pair("AXIS", "distance")}) {
      for (size_t at; (at = text.find(placeholder)) != std::string::npos;) {
        text.replace(at, std::string(placeholder).size(), value);
      }
    }
    if (text == "./retort" || text == "retort" || !done.insert(text).second) {
      continue;
    }
    if (text.starts_with("export PATH=")) {
      path = (place / "tree/bin").string() + ":" + path;
      continue;
    }
    if (needs_a_name_only(text) && !text.ends_with(" list") && !text.ends_with(" test") && !text.ends_with(" build") &&
        !text.ends_with(" package")) {
      text += " --help";
    }
    text = text.substr(0, text.find(" && build/"));  // a benchmark's own output
    CAPTURE(text);
    const std::string plugins = fs::exists(place / "mine/build/mine.so") ? "mine/build" : "";
    const auto began = std::chrono::steady_clock::now();
    const Outcome out = shell("cd " + place.string() + " && export PATH=" + path +
                              "$PATH RETORT_PLUGIN_PATH=" + plugins + " && " + text);
    if (std::getenv("RETORT_TIMES") != nullptr) {
      MESSAGE(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() << " s: " << text);
    }
    CAPTURE(out.output);
    CHECK(out.code == (command.answer.empty() ? 0 : 2));
    CHECK(contains(out.output, command.answer));
  }
  CHECK(done.size() > 40);
}
