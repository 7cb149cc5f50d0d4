// The JSON Schema of configurations: kept as the program writes it, true of all that is shipped, false of mistakes.
#include <cstdlib>
#include <filesystem>

#include "help/schema.h"
#include "support/golden.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

Json here() {
  const Outcome out = run_retort("schema");
  REQUIRE(out.code == 0);
  return Json::parse(out.output);
}

// Of a backend that is not built, the schema knows the name alone.
bool is_open(const Json& definition) { return json_at(definition, "properties").is_null(); }

const std::string& python() {
  static const std::string found = [] {
    const char* chosen = std::getenv("RETORT_PYTHON");
    const std::string one = chosen != nullptr ? chosen : "python3";
    return shell("'" + one + "' -c 'import jsonschema; jsonschema.Draft202012Validator'").code == 0 ? one : "";
  }();
  if (found.empty()) {
    MESSAGE("left out: RETORT_PYTHON names no Python with jsonschema");
  }
  return found;
}

Outcome validate(const std::string& files) {
  return shell("'" + python() + "' '" + source_dir() + "/tests/cli/schema.py' '" + source_dir() +
               "/configs/schema.json' " + files);
}

std::vector<fs::path> shipped() {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(source_dir() + "/configs")) {
    if (entry.path().extension() == ".toml") {
      out.push_back(entry.path());
    }
  }
  return out;
}

}  // namespace

TEST_CASE("the schema beside the configurations is what the program says, for the backends that are built here") {
  const std::string file = source_dir() + "/configs/schema.json";
  const Json now = here(), kept = fs::exists(file) ? Json::parse(read_text(file)) : Json::object();
  bool same_backends = true;
  for (const auto& [name, definition] : now["$defs"].items()) {
    const Json& before = json_at(json_at(kept, "$defs"), name);
    same_backends = same_backends && (!name.starts_with("backend.") || before.is_null() || name == "backend.name" ||
                                      is_open(before) == is_open(definition));
  }
  if (same_backends) {
    check_golden(file, spell_schema(now));
    return;
  }
  for (const auto& [name, definition] : now["$defs"].items()) {
    CAPTURE(name);
    if (!name.starts_with("backend") && !name.starts_with("sweep")) {
      CHECK(json_at(json_at(kept, "$defs"), name) == definition);
    }
  }
}

TEST_CASE("every shipped configuration names the schema in its first line, and fits it") {
  std::string files;
  for (const fs::path& path : shipped()) {
    CAPTURE(path);
    const std::string text = read_text(path), first = text.substr(0, text.find('\n')), mark = "#:schema ";
    REQUIRE(first.starts_with(mark));
    CHECK(fs::equivalent(path.parent_path() / first.substr(mark.size()), source_dir() + "/configs/schema.json"));
    files += " '" + path.string() + "'";
  }
  CHECK(shipped().size() > 20);
  if (!python().empty()) {
    const Outcome out = validate(files);
    CAPTURE(out.output);
    CHECK(out.code == 0);
  }
}

TEST_CASE("what `init` and `new` write, and what pages show, fits the schema") {
  if (python().empty()) {
    return;
  }
  Folder folder;
  const std::string at = folder.string();
  REQUIRE(run_retort("init --out " + at + "/my.toml").code == 0);
  // By a name that the shipped schema knows: a new one is in none but a schema of one's own.
  REQUIRE(run_retort("new solver heun --in " + at).code == 0);
  write_text(folder / "list.toml",
             "loss = [{ type = \"meanflow\", weight = 1.0 }, { type = \"dmd2\", weight = 0.5 }]\n"
             "[metric.ode_error]\nreference = \"heun\"\n");
  write_text(folder / "loss.toml",
             "[loss]\ntype = \"cm\"\n[loss.cm]\ndistance = \"l1\"\n[loss.direct_cm]\ndistance = \"l2\"\n"
             "[backend]\ntype = \"auto\"\nthreads = 2\n[backend.teacher]\ntype = \"cpu\"\n"
             "[metric.ode_error.reference]\ntype = \"rk45\"\nrtol = 1e-4\n"
             "[schedule]\ntype = \"karras\"\nevaluations = 20\n[train]\nclip = 1.0\n"
             "[evaluate]\nmetrics = [\"fd\", \"ode_error\"]\nfeatures = { file = \"f.pt\", size = 32 }\n");
  write_text(folder / "features.toml",
             "[loss]\ntype = \"cm\"\ndistance = \"features\"\ndistance_features = { file = \"f.pt\" }\n"
             "[sweep]\n\"train.clip\" = [1.0, 2.0]\n");
  write_text(folder / "sweep.toml",
             "extends = \"other.toml\"\n[loss]\ndistance = \"l2\"\n[sweep]\n\"loss.type\" = [\"cm\", \"direct_cm\"]\n"
             "\"solver.type\" = [\"heun\", { type = \"dpm_solver\", order = 3 }]\nseeds = 8\ntrain.batch = [8, 16]\n"
             "zip = [{ \"train.steps\" = [100, 400], \"train.learning_rate\" = [1e-4, 2e-5] }]\n"
             "cells = [{ \"student.adapter\" = \"lora\", \"student.rank\" = 4 }, { \"student.adapter\" = \"none\" }]\n"
             "exclude = [{ \"loss.type\" = \"direct_cm\", \"train.steps\" = 100 }]\n"
             "[sweep.tune]\n\"train.learning_rate\" = [3e-4, 1e-3]\nseeds = [9]\nby = \"fd\"\nstudent_steps = 1\n");
  const Outcome out = validate(at + "/*.toml " + at + "/heun/heun.toml");
  CAPTURE(out.output);
  CHECK(out.code == 0);
}

TEST_CASE("mistakes do not fit the schema") {
  if (python().empty()) {
    return;
  }
  const char* mistakes[] = {
      "[train]\nstepz = 5\n",
      "[trian]\nsteps = 5\n",
      "[train]\nsteps = \"many\"\n",
      "[train]\nsteps = 0\n",
      "[train]\nsteps = 1.5\n",
      "[train]\nlearning_rate = -1\n",
      "[train]\nema = 1.0\n",
      "[train]\noptimizer = \"lion\"\n",
      "[solver]\ntype = \"huen\"\n",
      "[solver]\ntype = \"euler\"\norder = 3\n",
      "[solver]\norder = \"three\"\n",
      "[solver]\nordre = 3\n",
      "[loss]\ntype = \"cm\"\ndistance = \"l3\"\n",
      "[loss.cn]\ndistance = \"l2\"\n",
      "[loss]\ntype = \"cm\"\n[loss.direct_cm]\ndistanse = \"l2\"\n",
      "loss = \"cm\"\n",
      "loss = [{ type = \"cn\", weight = 1 }]\n",
      "[metric.od_error]\nexact_samples = 3\n",
      "[metric.ode_error]\nreference = \"rk46\"\n",
      "[evaluate]\nstudent_steps = 1\n",
      "[evaluate]\nmetrics = [1]\n",
      "[evaluate]\nmetrics = [\"fdd\"]\n",
      "[track]\ntrackers = [\"csw\"]\n",
      "loss = []\n",
      "[loss]\ntype = \"cm\"\ndistance_features = 3\n",
      "[backend]\ntype = \"gpu\"\n",
      "[backend.teacher]\ntheads = 1\n",
      "[process]\ntype = \"vp\"\n",
      "run = 3\n",
      "extends = 3\n",
      "[sweep]\n\"train.steps\" = 100\n",
      "[sweep]\n\"train.steps\" = [\"many\"]\n",
      "[sweep]\n\"train.stepz\" = [100]\n",
      "[sweep]\n\"solver.type\" = [\"huen\"]\n",
      "[sweep]\nseeds = \"8\"\n",
      "[sweep]\nzip = [{ \"train.steps\" = 100 }]\n",
      "[sweep]\ncells = [{ \"train.stepz\" = 100 }]\n",
      "[sweep.tune]\nbye = \"fd\"\n",
      "[sweep.tune]\n\"train.learning_rate\" = [3e-4, 1e-3]\nseeds = [9]\n",
      "[sweep]\nseeds = [-1]\n",
      "[sweep]\nseeds = []\n",
      "[sweep]\n\"train.batch\" = []\n",
  };
  Folder folder;
  std::string files;
  int count = 0;
  for (const char* text : mistakes) {
    const std::string name = "mistake_" + std::to_string(100 + count++) + ".toml";
    write_text(folder / name, text);
    files += " " + (folder / name).string();
  }
  const Outcome out = validate(files);
  CAPTURE(out.output);
  for (int i = 0; i < count; ++i) {
    CAPTURE(std::string(mistakes[i]));
    CHECK(contains(out.output, "mistake_" + std::to_string(100 + i) + ".toml: "));
  }
  CHECK(out.output.find("disagree") == std::string::npos);
}

TEST_CASE("the schema goes where it is asked to, and has plugins from elsewhere") {
  Folder folder;
  CHECK(run_retort("--plugin-dir '" + test_plugin_dir() + "' schema --out " + folder.string() + "/schema.json").code ==
        0);
  const Json schema = Json::parse(read_text(folder / "schema.json"));
  CHECK(schema["$defs"]["solver.toy"]["properties"]["gain"]["exclusiveMinimum"] == 0);
  CHECK(schema["$defs"]["train"]["properties"]["steps"]["minimum"] == 1);
  CHECK(schema["$defs"]["train"]["properties"]["ema"]["exclusiveMaximum"] == 1);
  CHECK(schema["$defs"]["train"]["properties"]["optimizer"]["enum"][0] == "adam");
  CHECK(one_line(run_retort("schema --out /no/such/folder/schema.json"), 1, {"/no/such/folder"}));
}
