// `retort init`: what it writes can be run.
#include <algorithm>
#include <fstream>

#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

const std::string few =
    " train.steps=2 train.batch=2 evaluate.samples=4 evaluate.student_steps=[1] evaluate.at=[] "
    "metric.ode_error.exact_samples=2 metric.ode_error.noise_levels=1 schedule.steps=3 ";

Outcome in(const Folder& folder, const std::string& command) {
  return shell("cd " + folder.string() + " && '" + program() + "' " + command);
}

const std::string pictures = source_dir() + "/tests/fixtures/picture_sets/plain";

}  // namespace

TEST_CASE("without options and a terminal, init writes an example that runs") {
  Folder folder;
  const Outcome out = in(folder, "init </dev/null");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "retort run my.toml"));
  CHECK(in(folder, "sweep my.toml --dry-run").code == 0);
  const Outcome run = in(folder, "run my.toml" + few);
  CAPTURE(run.output);
  CHECK(run.code == 0);
  CHECK(one_line(in(folder, "init"), 2, {"my.toml: is there already"}));
}

TEST_CASE("pictures without a teacher: one is trained, then distilled") {
  Folder folder;
  fs::create_directory_symlink(pictures, folder / "photos");
  const Outcome out = in(folder, "init --pictures photos --loss cm --size 16 --out own.toml");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "own_teacher.toml"));
  CHECK(contains(read_text(folder / "own.toml"), "folder = \"photos\"\nsize = 16"));
  CHECK(contains(read_text(folder / "own.toml"), "type = \"cm\""));
  CHECK(in(folder, "sweep own.toml --dry-run").code == 0);
  std::string teacher = read_text(folder / "own_teacher.toml");
  for (const auto& [from, to] : {std::pair("steps = 8000", "steps = 2"), std::pair("batch = 64", "batch = 2"),
                                 std::pair("[32, 64]", "[8, 8]"), std::pair("samples = 1000", "samples = 4")}) {
    const size_t at = teacher.find(from);
    REQUIRE(at != std::string::npos);
    teacher.replace(at, std::string(from).size(), to);
  }
  write_text(folder / "own_teacher.toml", teacher);
  const Outcome run = in(folder, "run own.toml" + few);
  CAPTURE(run.output);
  CHECK(run.code == 0);
}

TEST_CASE("a teacher of diffusers on pictures") {
  Folder folder;
  const auto picture = std::find_if(fs::recursive_directory_iterator(pictures), {},
                                    [](const fs::directory_entry& entry) { return entry.is_regular_file(); });
  for (int label = 0; label < 10; ++label) {  // the teacher has ten classes
    const fs::path of_class = folder / ("photos/" + std::to_string(label));
    fs::create_directories(of_class);
    for (const char* name : {"a", "b"}) {
      fs::copy_file(picture->path(), of_class / (name + picture->path().extension().string()));
    }
  }
  fs::create_directory_symlink(source_dir() + "/tests/fixtures/diffusers/pixel", folder / "model");
  const Outcome out = in(folder, "init --pictures photos --teacher model --out student.toml");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(read_text(folder / "student.toml"), "folder = \"model\""));
  CHECK(in(folder, "sweep student.toml --dry-run").code == 0);
  const Outcome run = in(folder, "run student.toml" + few);
  CAPTURE(run.output);
  CHECK(run.code == 0);
}

TEST_CASE("what init is asked for and cannot be is one line, and leaves nothing") {
  Folder folder;
  fs::create_directory_symlink(pictures, folder / "photos");
  fs::create_directories(folder / "empty");
  write_text(folder / "model.pt", "");
  CHECK(one_line(in(folder, "init --loss direkt_cm"), 2,
                 {"no loss plugin is called 'direkt_cm'; did you mean 'direct_cm'?"}));
  CHECK(one_line(in(folder, "init --pictures nowhere"), 2,
                 {"nowhere: no such file or folder; expected a folder of pictures"}));
  CHECK(one_line(in(folder, "init --teacher empty"), 2, {"comes without --pictures"}));
  CHECK(one_line(in(folder, "init --pictures photos --teacher gone"), 2, {"gone: no such file or folder"}));
  CHECK(one_line(in(folder, "init --pictures photos --teacher model.pt"), 2,
                 {"model.pt: expected a folder of diffusers"}));
  CHECK(one_line(in(folder, "init --pictures photos --teacher empty"), 2, {"empty", "nothing is left of my.toml"}));
  CHECK(one_line(in(folder, "init --pictures empty"), 2, {"empty", "nothing is left of my.toml"}));
  CHECK(one_line(in(folder, "init --size 0"), 2, {"--size"}));
  CHECK(one_line(in(folder, "init --out my.yaml"), 2, {"expected a name that ends with .toml"}));
  CHECK(!fs::exists(folder / "my.toml"));
  CHECK(!fs::exists(folder / "my_teacher.toml"));
}
