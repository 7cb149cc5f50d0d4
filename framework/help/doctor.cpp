#include "help/doctor.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sched.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "help/machine.h"
#include "retort/backend.h"
#include "retort/dataset.h"
#include "retort/plugin.h"

namespace retort {

namespace {

using State = Finding::State;
using Findings = std::vector<Finding>;

// LibTorch's releases that everything is built and tested with: sdk/cmake/LibTorch.cmake says them.
constexpr std::string_view tested_releases[] = {RETORT_TORCH_VERSIONS};

std::string release() { return std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR); }

std::filesystem::path library_of_torch() {
  Dl_info info{};
  const auto address = reinterpret_cast<void*>(&at::get_num_threads);
  return dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
}

void look_at_program(Findings& out) {
  out.push_back({"program", State::ok,
                 std::string("Retort " RETORT_VERSION ", SDK ABI ") + std::to_string(RETORT_SDK_ABI) + ", in " +
                     program_tree().string()});
  const bool tested =
      std::find(std::begin(tested_releases), std::end(tested_releases), release()) != std::end(tested_releases);
  Finding torch{"LibTorch", tested ? State::ok : State::note,
                std::string(TORCH_VERSION) + ", in " + library_of_torch().parent_path().string()};
  if (!tested) {
    torch.found += "; not among the releases that are tested";
    torch.mend = "pip install 'torch==" + std::string(tested_releases[0]) + ".*' in .venv, then ./retort build";
  }
  out.push_back(torch);
}

void look_at_processor(Findings& out) {
  const Machine machine = this_machine();
  std::string features;
  for (const char* feature : {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}) {
    features += machine.has(feature) ? std::string(features.empty() ? "" : ", ") + feature : "";
  }
  const bool bfloat16 = machine.has("avx512_bf16") || machine.has("amx_bf16") || machine.has("bf16");
  out.push_back({"processor", State::ok,
                 machine.model + ", " + std::to_string(machine.cores) + " core(s) for this program" +
                     (features.empty() ? "" : "; " + features) + "; bfloat16 " +
                     (bfloat16 ? "in hardware: precision = \"bfloat16\" is faster for networks"
                               : "is emulated: leave precision at float32")});
  const int threads = at::get_num_threads();
  Finding used{"threads", State::ok, std::to_string(threads)};
  const double quota = machine.quota > 0 ? machine.quota : machine.cores;
  if (threads < machine.cores && threads < quota) {
    const char* variable = std::getenv("OMP_NUM_THREADS");
    used.state = State::note;
    used.found += " of " + std::to_string(machine.cores) + " cores" +
                  (variable != nullptr ? std::string(", since OMP_NUM_THREADS=") + variable : "");
    used.mend = variable != nullptr ? "unset OMP_NUM_THREADS" : "backend.threads=" + std::to_string(machine.cores);
  } else if (threads > quota) {
    char text[40];
    std::snprintf(text, sizeof text, "%.1f", quota);
    used.state = State::note;
    used.found += std::string(", but this container may use ") + text + " core(s)";
    used.mend = "backend.threads=" + std::to_string(std::max(1, static_cast<int>(quota)));
  }
  if (double load = 0; getloadavg(&load, 1) == 1 && load > 1.5 * machine.cores) {
    char text[60];
    std::snprintf(text, sizeof text, "; other programs are busy, the load is %.1f", load);
    used.state = State::note;
    used.found += text;
  }
  out.push_back(used);
  constexpr double little = 2;
  char text[60];
  std::snprintf(text, sizeof text, "%.1f GiB free", machine.free_memory);
  out.push_back({"memory", machine.free_memory < little ? State::note : State::ok, text,
                 machine.free_memory < little ? "smaller train.batch and evaluate.batch" : ""});
}

// The backend that `type = "auto"` takes is the first of the build's list that can be made.
void look_at_backends(const Registry& registry, Findings& out) {
  std::vector<std::string> names;
  std::istringstream list(RETORT_AUTOMATIC_BACKENDS);
  for (std::string name; list >> name;) {
    names.push_back(name);
  }
  for (const std::string& name : registry.names(Backend::kind)) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  }
  std::string chosen, describes, others;
  bool on_a_card = false;
  for (const std::string& name : names) {
    std::string state;
    try {
      const PluginFile& file = registry.find(Backend::kind, name);
      const Value none;
      Params p(none, Backend::kind, nullptr);
      const auto made = std::static_pointer_cast<Backend>(registry.make(file, p));
      on_a_card = on_a_card || !made->device().is_cpu();
      state = "works";
      if (chosen.empty()) {
        chosen = name;
        describes = made->describe();
        continue;
      }
    } catch (const std::exception& e) {
      const std::vector<std::string> built = registry.names(Backend::kind);
      const bool is_built = std::find(built.begin(), built.end(), name) != built.end();
      const std::string what = e.what(), whose = std::string(Backend::kind) + " '" + name + "': ";
      state = !is_built ? "is not built here" : what.starts_with(whose) ? what.substr(whose.size()) : what;
    }
    others += (others.empty() ? "" : "; ") + name + ": " + state;
  }
  if (chosen.empty()) {
    out.push_back({"backend", State::wrong, "none works: " + others, "./retort build"});
  } else {
    out.push_back({"backend", State::ok,
                   "auto takes " + chosen + ", the first that works of " + RETORT_AUTOMATIC_BACKENDS + ": " +
                       describes + (others.empty() ? "" : " (" + others + ")")});
  }
  std::error_code none;
  const bool card = std::filesystem::exists("/dev/nvidia0", none);
  Finding graphics{"graphics card", State::ok, card ? "an NVIDIA card" : "none that is NVIDIA's"};
  if (card && !on_a_card) {
    graphics.state = State::note;
    graphics.found += ", which no backend here uses";
    graphics.mend = "install nvcc and a CUDA build of torch " + release() + ", then ./retort build";
  }
  out.push_back(graphics);
}

void look_at_plugins(const Catalog& catalog, Findings& out) {
  const Registry& registry = catalog.registry();
  std::set<std::string> folders;
  for (const PluginFile& file : registry.files()) {
    const std::filesystem::path folder = file.path.parent_path();
    folders.insert(folder.string());
  }
  out.push_back({"plugins", State::ok,
                 std::to_string(registry.files().size()) + " in " + std::to_string(folders.size()) + " folders below " +
                     (program_tree() / "lib/retort/plugins").string()});
  if (const char* variable = std::getenv("RETORT_PLUGIN_PATH")) {
    std::istringstream list(variable);
    for (std::string folder; std::getline(list, folder, ':');) {
      std::error_code none;
      if (!folder.empty() && !std::filesystem::is_directory(folder, none)) {
        out.push_back({"plugin folder", State::note, folder + " of RETORT_PLUGIN_PATH is no folder",
                       "take it out of RETORT_PLUGIN_PATH"});
      }
    }
  }
  for (const RejectedFile& file : registry.rejected()) {
    const size_t mend = file.reason.find("mend it with: ");
    out.push_back({"plugin refused", State::note, file.reason.substr(0, file.reason.find("; mend it with")),
                   mend == std::string::npos ? "" : file.reason.substr(mend + 14)});
  }
  std::set<std::string> seen;
  for (const PluginFile& file : registry.files()) {
    if (!seen.insert(file.kind + " " + file.name).second) {
      out.push_back({"plugin twice", State::note,
                     file.kind + " '" + file.name + "', the second time in " + file.path.string(),
                     "remove one of them, or choose by [plugins] prefer"});
    }
  }
  std::string missing;
  for (const std::string kind : plugin_kinds) {
    const std::vector<PluginDescription>& all = catalog.plugins(kind);
    for (const PluginDescription& plugin : all) {
      if (plugin.about.starts_with(cannot_be_described)) {
        out.push_back(
            {"plugin broken", State::note,
             kind + " '" + plugin.file.name + "': " + plugin.about.substr(std::string(cannot_be_described).size()),
             "retort check " + plugin.file.path.string()});
      }
    }
    // What every experiment has; the others are for some.
    const TableInfo* table = find_table(kind);
    if (all.empty() && table != nullptr && table->solves_alone) {
      missing += (missing.empty() ? "" : ", ") + kind;
    }
  }
  if (!missing.empty()) {
    out.push_back({"plugins missing", State::wrong, "none of kind " + missing, "./retort build"});
  }
}

// The first line that a command prints; nothing where it fails.
std::optional<std::string> answer_of(const std::string& command) {
  FILE* pipe = popen((command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) {
    return std::nullopt;
  }
  std::array<char, 256> line{};
  const bool read = std::fgets(line.data(), line.size(), pipe) != nullptr;
  const bool done = pclose(pipe) == 0;
  std::string out = read ? line.data() : "";
  out = out.substr(0, out.find('\n'));
  return read && done ? std::optional(out) : std::nullopt;
}

// The interpreter that plugins in Python run in: as they choose it.
void look_at_python(Findings& out) {
  std::filesystem::path python = library_of_torch();
  for (int i = 0; i < 6; ++i) {  // ENV/lib/python3.…/site-packages/torch/lib/libtorch_cpu.so
    python = python.parent_path();
  }
  python /= "bin/python3";
  std::string whose = "LibTorch's own";
  if (const char* environment = std::getenv("VIRTUAL_ENV")) {
    python = std::filesystem::path(environment) / "bin" / "python3";
    whose = "the active virtual environment's";
  }
  if (const char* chosen = std::getenv("RETORT_PYTHON")) {
    python = chosen;
    whose = "RETORT_PYTHON";
  }
  std::string quoted_path;
  for (const char c : python.string()) {
    quoted_path += c == '\'' ? "'\\''" : std::string(1, c);
  }
  const std::string mend = "RETORT_PYTHON=…, an interpreter that has torch " + release();
  const auto version = answer_of("'" + quoted_path +
                                 "' -c 'import importlib.metadata as m, platform; print(platform.python_version(), "
                                 "m.version(\"torch\"))'");
  if (!version) {
    out.push_back({"Python", State::missing,
                   python.string() + " (" + whose + ") cannot be run, or has no torch; plugins in Python need it",
                   mend});
    return;
  }
  const std::string torch = version->substr(version->find(' ') + 1);
  const bool same = torch.starts_with(release() + ".");
  out.push_back({"Python", same ? State::ok : State::missing,
                 version->substr(0, version->find(' ')) + " with torch " + torch + ", " + python.string() + " (" +
                     whose + ")" + (same ? "" : "; plugins in Python need torch " + release()),
                 same ? "" : mend});
}

// Data sets that come from a place of the system: those with a path that has a default.
void look_at_data(const Catalog& catalog, Findings& out) {
  for (const PluginDescription& plugin : catalog.plugins(Dataset::kind)) {
    for (const ParamInfo& p : plugin.params) {
      const std::string place = p.default_value.size() > 2 ? p.default_value.substr(1, p.default_value.size() - 2) : "";
      if (p.type != "path" || !place.starts_with('/')) {
        continue;
      }
      std::error_code none;
      Finding data{"data set " + plugin.file.name, State::ok, place};
      if (!std::filesystem::exists(place, none)) {
        data.state = State::missing;
        data.found += " is not there";
        try {
          const Value empty;
          Params params(empty, Dataset::kind, nullptr);
          catalog.registry().make(plugin.file, params);
        } catch (const std::exception& e) {  // which says what to do
          const std::string what = e.what();
          const size_t at = what.find("; ");
          data.mend = at == std::string::npos ? what : what.substr(at + 2);
        }
      }
      out.push_back(data);
    }
  }
}

bool on_the_path(const std::string& program) {
  std::istringstream list(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(list, folder, ':');) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) {
      return true;
    }
  }
  return false;
}

// What tests use, and no run does; the browser's driver and Node.js come with it by ./retort test.
void look_at_options(Findings& out) {
  std::error_code none;
  std::string packages;
  if (!on_the_path("chromium") && !on_the_path("chromium-browser")) {
    packages += " chromium";
  }
  const std::string font = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";
  const char* const unpacked = std::getenv("RETORT_PACKAGES");
  if (!std::filesystem::exists(font, none) &&
      (unpacked == nullptr || !std::filesystem::exists(unpacked + font, none))) {
    packages += " fonts-noto-color-emoji";
  }
  out.push_back({"optional packages", packages.empty() ? State::ok : State::missing,
                 packages.empty() ? "a browser and fonts are here, for tests of the report" : "not here:" + packages,
                 packages.empty() ? "" : "apt-get install" + packages});
}

void look_at_disk(const std::filesystem::path& store, Findings& out) {
  const std::filesystem::path whole = std::filesystem::absolute(store).lexically_normal();
  std::filesystem::path there = whole;  // the folder of it that exists
  std::error_code none;
  while (!std::filesystem::exists(there, none) && there.has_relative_path()) {
    there = there.parent_path();
  }
  const double gib = 1024.0 * 1024 * 1024;
  const double free = static_cast<double>(std::filesystem::space(there, none).available) / gib;
  const auto size = folder_size(whole);
  char text[120];
  std::snprintf(text, sizeof text, ", %.2f GiB in %lld file(s); %.1f GiB free on its disk",
                static_cast<double>(size.bytes) / gib, static_cast<long long>(size.files), free);
  Finding found{"shared store", State::ok, whole.string() + text};
  if (access(there.c_str(), W_OK) != 0) {
    found.state = State::wrong;
    found.found += "; " + there.string() + " may not be written to";
    found.mend = "cd to a folder of your own, or give run.output and run.cache";
  } else if (free < 1) {
    found.state = State::note;
    found.mend = size.files > 0 ? "rm -r '" + whole.string() + "', all of which can be made again"
                                : "give run.output on another disk";
  }
  out.push_back(found);
}

const char* word_of(State state) {
  switch (state) {
    case State::ok:
      return "ok";
    case State::note:
      return "note";
    case State::missing:
      return "missing";
    default:
      return "wrong";
  }
}

}  // namespace

std::vector<Finding> examine(const Catalog& catalog, const std::filesystem::path& store) {
  Findings out;
  look_at_program(out);
  look_at_backends(catalog.registry(), out);
  look_at_processor(out);
  look_at_plugins(catalog, out);
  look_at_python(out);
  look_at_data(catalog, out);
  look_at_options(out);
  look_at_disk(store, out);
  return out;
}

bool runs_are_possible(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.state == State::wrong; });
}

Json to_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& f : findings) {
    Json item = {{"name", f.name}, {"state", word_of(f.state)}, {"found", f.found}};
    if (!f.mend.empty()) {
      item["mend"] = f.mend;
    }
    list.push_back(item);
  }
  return {{"runs_are_possible", runs_are_possible(findings)}, {"findings", list}};
}

std::string to_text(const std::vector<Finding>& findings) {
  size_t widest = 0;
  for (const Finding& f : findings) {
    widest = std::max(widest, f.name.size());
  }
  std::string out;
  for (const Finding& f : findings) {
    const std::string word = word_of(f.state);
    out += word + std::string(9 - word.size(), ' ') + f.name + std::string(widest - f.name.size() + 2, ' ') + f.found +
           "\n";
    if (!f.mend.empty()) {
      out += std::string(widest + 11, ' ') + "→ " + f.mend + "\n";
    }
  }
  return out;
}

}  // namespace retort
