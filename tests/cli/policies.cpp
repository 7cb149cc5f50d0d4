// A policy from TOML to samples, begun at a trained teacher, whose network has one sample's worth of outputs.
#include <fstream>

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::string points =
    "[backend]\ntype = \"cpu\"\n[process]\ntype = \"rectified_flow\"\n"
    "[dataset]\ntype = \"gaussian_mixture\"\n[solver]\ntype = \"heun\"\n"
    "[schedule]\ntype = \"uniform\"\nsteps = 16\n";

}  // namespace

TEST_CASE("a policy begins at a teacher as DDIM, is trained, sampled and measured, and is known by its outputs") {
  Folder folder;
  const std::string at = folder.string(), checkpoint = at + "/s/checkpoints/step_000150.safetensors";
  std::ofstream(folder / "teacher.toml")
      << points
      << "[network]\ntype = \"mlp\"\nwidth = 32\n[student]\nparametrisation = \"flow\"\n[loss]\ntype = \"denoising\"\n"
         "[train]\nsteps = 200\nlearning_rate = 3e-3\n[evaluate]\nsamples = 200\nmetrics = [\"fd\"]\n";
  std::ofstream(folder / "student.toml")
      << points
      << "[teacher]\ntype = \"network\"\ncheckpoint = \"t/checkpoints/step_000200.safetensors\"\n"
         "[student]\ninit = \"teacher\"\n[loss]\ntype = \"pi_flow\"\noutputs = 4\nsegments = [2]\nsubsteps = 32\n"
         "[train]\nsteps = 150\nlearning_rate = 1e-3\n[evaluate]\nat = [1]\nsamples = 200\nstudent_steps = [2]\n"
         "metrics = [\"ode_error\", \"fd\"]\n[metric.ode_error]\nexact_samples = 2\n";
  const Outcome teacher = run_retort("run " + at + "/teacher.toml run.output=" + at + "/t");
  CAPTURE(teacher.output);
  REQUIRE(teacher.code == 0);
  const std::string run = "run " + at + "/student.toml run.output=" + at + "/s ";
  CHECK(one_line(run_retort(run + "student.adapter=lora"), 2, {"student.adapter", "a network of 4"}));
  const Outcome student = run_retort(run);
  CAPTURE(student.output);
  REQUIRE(student.code == 0);
  const Json progress = Json::parse(read_text(folder / "s" / "results.json"))["progress"];
  const auto error = [&](size_t i) { return progress[i]["metrics"]["ode_error"].get<double>(); };
  REQUIRE(progress.size() == 2);
  CHECK(error(1) < 0.5 * error(0));

  const auto sample = [&](const std::string& more) {
    return run_retort("sample " + at + "/student.toml --checkpoint " + checkpoint + " --steps 2 --count 5 --out " + at +
                      "/x.safetensors " + more);
  };
  const Outcome sampled = sample("");
  CAPTURE(sampled.output);
  REQUIRE(sampled.code == 0);
  CHECK(read_safetensors(folder / "x.safetensors").tensors.at("x").sizes().vec() == std::vector<int64_t>{5, 1});
  CHECK(one_line(sample("loss.outputs=3"), 2, {"outputs = 4", "amounts to 3"}));
  CHECK(one_line(sample("loss={type=\\\"cm\\\"}"), 2, {"is a policy"}));
  CHECK(
      one_line(run_retort("run " + at + "/student.toml teacher.checkpoint=" + checkpoint + " run.output=" + at + "/u"),
               2, {"is a policy", "a diffusion model"}));
}
