// A text-to-image model, from captions to a student of few steps, as configs/captions.toml has it.
#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::string config = "'" + source_dir() + "/configs/captions.toml'";
const std::string tiny =
    " backend.type=cpu train.batch=4 evaluate.samples=12 network.widths=[8,16] network.embedding=16 network.heads=2 ";

Json students(const std::filesystem::path& folder) {
  return Json::parse(read_text(folder / "results.json"))["students"];
}

}  // namespace

TEST_CASE("captions end to end: a teacher that reads text, and a student distilled from it under guidance") {
  Folder folder;
  const std::string at = folder.string();
  const Outcome teacher = run_retort("run " + config + tiny + "train.steps=6 run.output=" + at + "/t");
  CAPTURE(teacher.output);
  REQUIRE(teacher.code == 0);
  REQUIRE(students(folder / "t").size() == 1);
  CHECK(students(folder / "t")[0]["metrics"]["fd"].get<double>() > 0);
  write_text(folder / "student.toml",
             "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"captions\"\nlength = 6\nwidth = 32\n"
             "[teacher]\ntype = \"network\"\ncheckpoint = \"t/checkpoints/step_000006.safetensors\"\nguidance = 3.0\n"
             "[student]\ninit = \"teacher\"\n[loss]\ntype = \"direct_cm\"\n[solver]\ntype = \"euler\"\n"
             "[schedule]\ntype = \"karras\"\nsteps = 5\n[train]\nsteps = 3\nbatch = 4\n"
             "[evaluate]\nsamples = 6\nstudent_steps = [1, 2]\nmetrics = [\"ode_error\"]\n"
             "[metric.ode_error]\nexact_samples = 0\n");
  const Outcome student = run_retort("run " + at + "/student.toml run.output=" + at + "/s");
  CAPTURE(student.output);
  REQUIRE(student.code == 0);
  CHECK(students(folder / "s").size() == 2);
}

TEST_CASE("a teacher that reads text and data without any, or of another length, are refused in one line") {
  Folder folder;
  const std::string at = folder.string();
  const Outcome teacher =
      run_retort("train " + config + tiny + "train.steps=1 evaluate.metrics=[] run.output=" + at + "/t");
  CAPTURE(teacher.output);
  REQUIRE(teacher.code == 0);
  const auto with = [&](const std::string& data) {
    write_text(folder / "student.toml",
               "[backend]\ntype = \"cpu\"\n[dataset]\n" + data +
                   "[teacher]\ntype = \"network\"\ncheckpoint = \"t/checkpoints/step_000001.safetensors\"\n"
                   "[student]\ninit = \"teacher\"\n[loss]\ntype = \"direct_cm\"\n[solver]\ntype = \"euler\"\n"
                   "[schedule]\ntype = \"karras\"\nsteps = 5\n[train]\nsteps = 1\nbatch = 2\n");
    return run_retort("run " + at + "/student.toml run.output=" + at + "/s");
  };
  CHECK(
      one_line(with("type = \"fashion_mnist\"\n"), 2, {"teacher: is conditioned on '", "which the data set does not"}));
  CHECK(one_line(with("type = \"captions\"\nlength = 7\nwidth = 32\n"), 2,
                 {"teacher: is given 'prompt_embeds' of 6 x 32, but the data set has 7 x 32"}));
}
