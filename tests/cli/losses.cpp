// Losses with networks, stages and samplers of their own, from TOML to samples, and on from where they were killed.
#include <fstream>

#include "io/json.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

struct Kind {
  const char* name;
  const char* overrides;
  const char* steps;  // that the student is sampled in
};

// The mixture's configuration with another loss, small.
const Kind kinds[] = {
    {"ict",
     "loss.type=ict loss.distance=pseudo_huber_vector schedule.type=ict schedule.s1=40 schedule.sigma_max=20.0 "
     "student.boundary=sigma_shifted",
     "[1, 2]"},
    {"meanflow", "loss.type=meanflow process.type=rectified_flow student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"meanflow by differences",
     "loss.type=meanflow loss.derivative=difference loss.velocity=teacher process.type=rectified_flow "
     "student.parametrisation=flow schedule.type=uniform",
     "[1, 4]"},
    {"dmd2", "loss.type=dmd2 loss.gan_weight=0.01 loss.discriminator=mlp loss.student_every=3", "[1]"},
    {"dmd2, in parts", "loss.type=dmd2 loss.student_every=3 train.gradient_accumulation=3", "[1]"},
    {"diff-instruct", "loss.type=diff_instruct loss.student_every=2", "[1]"},
    {"score identity distillation", "loss.type=sid loss.student_every=2", "[1]"},
    {"f-distill", "loss.type=f_distill loss.student_every=3", "[1]"},
    {"drifting", "loss.type=drifting", "[1]"},
    {"trajectory distribution matching", "loss.type=tdm loss.steps=2 loss.student_every=2", "[2]"},
    {"adversarial alone", "loss.type=gan loss.discriminator=mlp loss.form=hinge loss.student_every=2", "[1]"},
    {"consistency trajectories before a discriminator",
     "process.type=rectified_flow student.parametrisation=flow schedule.type=uniform "
     "'loss=[{type = \"ctm\", solver_steps = 3}, {type = \"gan\", weight = 0.1, discriminator = \"mlp\"}]'",
     "[1, 2]"},
    {"knowledge distillation", "loss.type=knowledge_distillation", "[1]"},
    {"policies", "loss.type=pi_flow loss.outputs=3 loss.segments=[2] loss.mixing_steps=12", "[2]"},
    {"policies that are told their end",
     "loss.type=pi_flow loss.outputs=3 loss.segments=[1,2] loss.window=3 process.type=rectified_flow "
     "student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"reflow", "loss.type=reflow process.type=rectified_flow student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"reflow at pure noise", "loss.type=reflow loss.times=steps", "[1]"},
    {"shortcut", "loss.type=shortcut process.type=rectified_flow student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"latent consistency", "loss.type=lcm loss.skip=2", "[1, 2]"},
    {"phased consistency", "loss.type=pcm loss.phases=2 loss.gan_weight=0.1 loss.discriminator=mlp", "[2]"},
    {"consistency trajectories",
     "loss.type=ctm loss.solver_steps=3 process.type=rectified_flow student.parametrisation=flow "
     "schedule.type=uniform",
     "[1, 2]"},
    {"consistency flow matching",
     "loss.type=consistency_fm process.type=rectified_flow student.parametrisation=flow schedule.type=uniform", "[2]"},
    {"moment matching", "loss.type=imm process.type=rectified_flow student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"horizon", "loss.type=horizon loss.steps=3 loss.random=true loss.target=ema", "[1, 2]"},
    {"easy consistency tuning", "loss.type=ect", "[1, 2]"},
    {"truncated consistency", "loss.type=tcm", "[1]"},
    {"continuous consistency with a learned variance",
     "loss.type=scm loss.velocity=teacher loss.variance=learned loss.derivative=jvp", "[1, 2]"},
    {"progressive distillation", "loss.type=progressive_distillation loss.stages=2 schedule.steps=8", "[1, 2]"},
    {"align your flow",
     "loss.type=align_your_flow loss.velocity=teacher process.type=rectified_flow student.parametrisation=flow "
     "schedule.type=uniform",
     "[1, 2]"},
    {"align your flow, lagrangian",
     "loss.type=align_your_flow loss.form=lagrangian loss.velocity=teacher process.type=rectified_flow "
     "student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"terminal velocity matching",
     "loss.type=tvm process.type=rectified_flow student.parametrisation=flow schedule.type=uniform", "[1, 2]"},
    {"flow-anchored consistency",
     "loss.type=facm process.type=rectified_flow student.parametrisation=flow schedule.type=uniform", "[1]"},
    {"flow-anchored consistency in one time",
     "loss.type=facm loss.anchor=expanded_time process.type=rectified_flow student.parametrisation=flow "
     "schedule.type=uniform",
     "[1, 2]"},
    {"transition models",
     "loss.type=tim process.type=rectified_flow student.parametrisation=flow schedule.type=uniform", "[1, 2]"},
    {"anyflow", "loss.type=anyflow process.type=rectified_flow student.parametrisation=flow schedule.type=uniform",
     "[1, 2]"},
    {"improved meanflow",
     "loss.type=imeanflow process.type=rectified_flow student.parametrisation=flow schedule.type=uniform", "[1, 2]"},
    {"self-distillation",
     "loss.type=self_distillation loss.target_ema=0.9 process.type=rectified_flow student.parametrisation=flow "
     "schedule.type=uniform",
     "[1, 2]"},
    {"a sum",
     "process.type=rectified_flow student.parametrisation=flow schedule.type=uniform "
     "'loss=[{type = \"meanflow\"}, {type = \"dmd2\", weight = 0.5}]'",
     "[1, 2]"},
};

std::string command(const Kind& kind, const std::string& output) {
  return "run " + mixture_config + small + " sweep={} " + kind.overrides + " 'evaluate.student_steps=" + kind.steps +
         "' train.steps=24 train.batch=32 evaluate.at=[12] evaluate.metrics='[\"fd\"]' train.save_every=1e-9 "
         "run.output=" +
         output + " ";
}

// metrics.jsonl, less the times.
std::string lines_of(const std::string& folder) {
  std::ifstream in(folder + "/metrics.jsonl");
  std::string out;
  for (std::string line; std::getline(in, line);) {
    Json json = Json::parse(line);
    json.erase("seconds");
    out += json.dump() + "\n";
  }
  return out;
}

bool same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  const TensorFile x = read_safetensors(a), y = read_safetensors(b);
  if (x.tensors.size() != y.tensors.size()) {
    return false;
  }
  for (const auto& [name, tensor] : x.tensors) {
    const auto found = y.tensors.find(name);
    if (found == y.tensors.end() || !at::equal(tensor, found->second)) {
      MESSAGE(name << " differs");
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("losses with networks, stages and samplers of their own run, and go on to the bit") {
  for (const Kind& kind : kinds) {
    CAPTURE(kind.name);
    Folder folder;
    const std::string whole = folder / "whole", cut = folder / "cut";
    const Outcome out = run_retort(command(kind, whole));
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    const Json results = Json::parse(read_text(std::filesystem::path(whole) / "results.json"));
    CHECK(!results["students"].empty());
    for (const Json& row : results["students"]) {
      CHECK(std::isfinite(row["metrics"]["fd"].get<double>()));
    }
    Outcome first{0, ""};
    for (int attempt = 0; attempt < 5 && first.code == 0; ++attempt) {  // it may end before the signal comes
      std::filesystem::remove_all(cut);
      first = shell("'" + program() + "' " + command(kind, cut) + " & p=$!; while [ ! -e '" + cut +
                    "/checkpoints/state.safetensors' ]; do sleep 0.005; done; kill -INT $p; wait $p");
    }
    CAPTURE(first.output);
    CHECK(contains(first.output, "interrupted at step"));
    REQUIRE(run_retort(command(kind, cut)).code == 0);
    CHECK(lines_of(whole) == lines_of(cut));
    for (const char* name : {"step_000012", "step_000024", "state"}) {
      const std::string file = std::string("checkpoints/") + name + ".safetensors";
      CHECK(same_file(std::filesystem::path(whole) / file, std::filesystem::path(cut) / file));
    }
  }
}

TEST_CASE("what a loss needs and lacks is refused before any work") {
  Folder folder;
  const std::string run = "run " + mixture_config + small + " sweep={} run.output=" + (folder / "out").string() + " ";
  CHECK(one_line(run_retort(run + "loss.type=meanflow"), 2, {"student.parametrisation", "predicts 'flow'"}));
  CHECK(one_line(run_retort(run + "loss.type=dmd2 evaluate.student_steps=[2]"), 2, {"makes samples in one"}));
  CHECK(one_line(run_retort(run + "loss.type=progressive_distillation loss.stages=4 schedule.steps=18"), 2,
                 {"mixture.toml:", "stages = 4", "cannot be halved", "a multiple of 16"}));
  CHECK(one_line(run_retort(run + "'loss=[{type = \"cm\"}, {type = \"denoising\"}]'"), 2,
                 {"loss.terms", "different kinds of models"}));
  CHECK(one_line(run_retort(run + "'loss=[{type = \"cm\", weight = -1}]'"), 2, {"loss.terms.0.weight", "at least 0"}));
  CHECK(one_line(run_retort(run + "'loss=[{weight = 1}]'"), 2, {"loss.terms.0.type", "missing"}));
  CHECK(one_line(run_retort(run + "'loss=[{type = \"cmm\"}]'"), 2, {"'cmm'", "'cm'"}));
  CHECK(!std::filesystem::exists(folder / "out"));
}
