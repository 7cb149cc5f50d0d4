// A text-to-image model, from captions to a student of few steps, as configs/captions.toml has it.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "io/safetensors.h"
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

namespace {

const std::string small_text_model =
    "[backend]\ntype = \"cpu\"\n[process]\ntype = \"ve\"\n[network]\ntype = \"unet_text\"\nwidths = [8, 16]\n"
    "groups = 4\nattention = [1]\nheads = 2\nembedding = 16\n[student]\nparametrisation = \"edm\"\n"
    "[loss]\ntype = \"denoising\"\nlabel_dropout = 0.1\n[solver]\ntype = \"euler\"\n[schedule]\ntype = \"karras\"\n"
    "steps = 3\n[train]\nsteps = 6\nbatch = 5\nlog_every = 1\n[evaluate]\nsamples = 4\n"
    "metrics = [\"sliced_wasserstein\"]\n";

// The loss of each step so far.
std::vector<double> losses_of(const std::filesystem::path& folder) {
  std::vector<double> out;
  std::ifstream in(folder / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("loss")) {
      out.push_back(json["loss"].get<double>());
    }
  }
  return out;
}

void write_latents(const Folder& folder) {
  std::filesystem::create_directories(folder / "shards");
  for (const int64_t i : {0, 1, 2}) {
    const int64_t n = 5 + i;
    const auto seed = static_cast<uint64_t>(i);
    TensorFile file;
    file.tensors = {{"latents", normal({n, 4, 8, 8}, seed).to(i == 1 ? at::kBFloat16 : at::kHalf)},
                    {"prompt_embeds", normal({n, 5, 12}, seed + 10).to(at::kHalf)},
                    {"pooled_prompt_embeds", normal({n, 7}, seed + 20).to(at::kFloat)},
                    {"time_ids", at::full({n, 6}, 64.0F)},
                    {"uncond_prompt_embeds", at::full({5, 12}, 0.5F)},
                    {"uncond_pooled_prompt_embeds", at::full({7}, -0.5F)}};
    write_safetensors(folder / ("shards/" + std::to_string(i) + ".safetensors"), file);
  }
}

}  // namespace

TEST_CASE("a text-to-image model learns from latents in shards, and goes on where it was stopped, to the bit") {
  Folder folder;
  write_latents(folder);
  write_text(folder / "run.toml",
             "[dataset]\ntype = \"latents\"\nfolder = \"shards\"\nunconditional_every = 3\n" + small_text_model);
  const std::string at = folder.string();
  const Outcome whole = run_retort("run " + at + "/run.toml run.output=" + at + "/whole");
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  CHECK(students(folder / "whole").size() == 1);
  CHECK(losses_of(folder / "whole").size() == 6);
}

TEST_CASE("a training on latents that is killed goes on at the sample where it was, to the bit") {
  Folder folder;
  write_latents(folder);
  const std::string at = folder.string();
  write_text(folder / "run.toml",
             "[dataset]\ntype = \"latents\"\nfolder = \"shards\"\nunconditional_every = 3\n" + small_text_model);
  const std::string options =
      "train " + at + "/run.toml train.steps=80 train.save_every=1e-9 evaluate.metrics=[] run.output=" + at + "/";
  REQUIRE(run_retort(options + "whole").code == 0);
  kill_when(options + "killed", [&] { return losses_of(folder / "killed").size() >= 10; });
  const std::string last = "checkpoints/step_000080.safetensors";
  REQUIRE(!std::filesystem::exists(folder / ("killed/" + last)));
  const Outcome resumed = run_retort(options + "killed");
  CAPTURE(resumed.output);
  REQUIRE(resumed.code == 0);
  CHECK(contains(resumed.output, "goes on from step"));
  CHECK(losses_of(folder / "killed") == losses_of(folder / "whole"));
  const TensorFile one = read_safetensors(folder / ("whole/" + last)),
                   other = read_safetensors(folder / ("killed/" + last));
  REQUIRE(one.tensors.size() == other.tensors.size());
  for (const auto& [name, tensor] : one.tensors) {
    CAPTURE(name);
    CHECK(at::equal(tensor, other.tensors.at(name)));
  }
}

TEST_CASE("latents that are damaged, or of another model, end a run in one line") {
  Folder folder;
  write_latents(folder);
  write_text(folder / "run.toml", "[dataset]\ntype = \"latents\"\nfolder = \"shards\"\n" + small_text_model);
  const std::string at = folder.string(), shard = at + "/shards/1.safetensors";
  const auto run = [&](const std::string& more = "") {
    return run_retort("run " + at + "/run.toml run.output=" + at + "/out " + more);
  };
  CHECK(one_line(run("network.type=unet"), 2, {"takes no input '", "which the model is given"}));
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
  CHECK(one_line(run(), 2, {"1.safetensors: is a damaged safetensors file: tensor '", "reach beyond the file"}));
  std::filesystem::remove_all(folder / "shards");
  std::filesystem::create_directories(folder / "shards");
  CHECK(one_line(run(), 2, {"shards: holds no file with tensor 'latents'"}));
}

TEST_CASE("a folder of own pictures with their captions trains a model, and says what it left out") {
  Folder folder;
  std::filesystem::create_directories(folder / "photos");
  for (int i = 0; i < 8; ++i) {
    const std::string name = (folder / ("photos/" + std::to_string(i))).string();
    write_text(name + ".png", encode_png(at::full({3, 9, 8}, 20 * i, at::kByte)));
    if (i > 0) {
      write_text(name + ".txt", "a picture of number " + std::to_string(i));
    }
  }
  write_text(folder / "run.toml",
             "[dataset]\ntype = \"captions\"\nfolder = \"photos\"\nsize = 8\nlength = 4\n" + small_text_model);
  const std::string at = folder.string();
  const Outcome outcome = run_retort("run " + at + "/run.toml run.output=" + at + "/out");
  CAPTURE(outcome.output);
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.output, "1 picture without a caption was left out; 7 caption(s) cut to 4 words"));
  CHECK(students(folder / "out").size() == 1);
  CHECK(std::filesystem::exists(folder / "out/report.html"));
}
