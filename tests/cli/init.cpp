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
    "metric.ode_error.exact_samples=2 metric.ode_error.noise_levels=1 schedule.steps=4 ";

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
  const fs::path picture = pictures + "/ant/2.jpeg";
  for (int label = 0; label < 10; ++label) {  // the teacher has ten classes
    const fs::path of_class = folder / ("photos/" + std::to_string(label));
    fs::create_directories(of_class);
    for (const char* name : {"a", "b"}) {
      fs::copy_file(picture, of_class / (name + picture.extension().string()));
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

TEST_CASE("what a loss needs its student to predict, student and teacher do") {
  Folder folder;
  fs::create_directory_symlink(pictures, folder / "photos");
  for (const std::string how : {"--out my.toml", "--pictures photos --size 16 --out own.toml"}) {
    const Outcome out = in(folder, "init --loss meanflow " + how);
    CAPTURE(out.output);
    CHECK(out.code == 0);
  }
  for (const char* file : {"my.toml", "own_teacher.toml"}) {
    CHECK(contains(read_text(folder / file), "parametrisation = \"flow\""));
    CHECK(contains(read_text(folder / file), "type = \"rectified_flow\""));
  }
  const Outcome run = in(folder, "run my.toml" + few);
  CAPTURE(run.output);
  CHECK(run.code == 0);
  // A teacher that is trained first, and whose network predicts something else.
  REQUIRE(in(folder, "init --pictures photos --size 16 --out edm.toml").code == 0);
  const Outcome other =
      in(folder, "init --pictures photos --size 16 --teacher edm_teacher.toml --loss meanflow --out s.toml");
  CHECK(other.code == 2);
  CHECK(contains(other.output, "trains what predicts 'flow' (nothing is left of s.toml)"));
  CHECK(!fs::exists(folder / "s.toml"));
}

TEST_CASE("the commands that init shows are as a shell reads them") {
  Folder folder;
  const Outcome out = in(folder, "init --out \"it's mine.toml\"");
  CHECK(contains(out.output, "retort run 'it'\\''s mine.toml' "));
}

TEST_CASE("what init is asked for and cannot be is one line, and leaves nothing") {
  Folder folder;
  fs::create_directory_symlink(pictures, folder / "photos");
  for (const std::string loss : {"contrastive", "autoencoding", "cross_entropy"}) {
    CHECK(one_line(in(folder, "init --loss " + loss), 2, {loss.c_str(), "makes no samples"}));
    CHECK(one_line(in(folder, "init --pictures photos --loss " + loss), 2, {loss.c_str(), "makes no samples"}));
  }
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
