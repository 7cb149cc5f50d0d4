// evaluate.features as a table: an exported encoder, as a part of an experiment and of its fingerprints, and a run.
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/module.h>

#include <filesystem>

#include "config/experiment.h"
#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

std::string fixture(const std::string& name) { return source_dir() + "/tests/fixtures/features/" + name; }

// Small pictures of two kinds.
const std::string data = "type = \"image_folder\"\nfolder = \"pictures\"\nsize = 8\n";

std::string job(const Folder& folder, const std::string& evaluate, const std::string& model) {
  for (int64_t i = 0; i < 24; ++i) {
    const fs::path place = folder / "pictures" / (i % 2 == 0 ? "a" : "b");
    make_folder(place);
    const Tensor picture = (normal({3, 8, 8}, static_cast<uint64_t>(i)) * 40 + (i % 2 == 0 ? 90 : 160)).clamp(0, 255);
    write_text(place / (std::to_string(i) + ".png"), encode_png(picture.to(at::kByte)));
  }
  return "[run]\noutput = \"out\"\ncache = \"cache\"\n[backend]\ntype = \"cpu\"\n[dataset]\n" + data + model +
         "[solver]\ntype = \"euler\"\n[schedule]\ntype = \"karras\"\nsteps = 3\n[evaluate]\nsamples = 8\n" + evaluate;
}

std::string job(const Folder& folder, const std::string& evaluate) {
  return job(folder, evaluate, "[teacher]\ntype = \"empirical\"\n[teacher.dataset]\n" + data);
}

std::unique_ptr<Experiment> experiment(const Folder& folder, const std::string& evaluate) {
  const Value root = parse_toml(job(folder, evaluate), (folder / "job.toml").string());
  return std::make_unique<Experiment>(root, "job", registry());
}

std::string refused(const Folder& folder, const std::string& evaluate) {
  return request_error([&] { experiment(folder, evaluate); });
}

const std::string conv = "features = { file = \"net.pt\", size = 16 }\nmetrics = [\"fd\"]\n";

}  // namespace

TEST_CASE("a table of evaluate.features is an encoder, whose keys and content decide the teacher's key") {
  Folder folder;
  fs::copy_file(fixture("conv.pt"), folder / "net.pt");
  const auto made = experiment(folder, conv);
  REQUIRE(made->feature_network != nullptr);
  const Tensor x = normal({2, 3, 8, 8}).to(at::kFloat) * 0.3;
  const at::NoGradGuard no_grad;
  const Tensor features = made->feature_network->features(x);
  CHECK(features.sizes() == at::IntArrayRef({2, 12}));
  CHECK(!made->feature_network->module()->is_training());

  const Value& table = *at_path(made->resolved(), "evaluate.features");
  REQUIRE(table.is_table());
  CHECK(table.find("size")->text() == "16");
  CHECK(table.find("interpolation")->text() == "\"bicubic\"");
  // A copy of the configuration elsewhere finds the file, and is the same experiment.
  const Value kept = made->resolved_for(folder / "out");
  CHECK(at_path(kept, "evaluate.features.file")->text() == "\"" + (folder / "net.pt").string() + "\"");
  fs::create_directories(folder / "out");
  write_text(folder / "out/config.toml", write_toml(kept));
  const Value again = parse_toml(read_text(folder / "out/config.toml"), (folder / "out/config.toml").string());
  CHECK(Experiment(again, "job", registry()).fingerprint() == made->fingerprint());
  CHECK(Experiment(again, "job", registry()).teacher_key() == made->teacher_key());

  const std::string key = made->teacher_key(), print = made->fingerprint();
  const auto larger = experiment(folder, "features = { file = \"net.pt\", size = 17 }\nmetrics = [\"fd\"]\n");
  CHECK(larger->teacher_key() != key);
  CHECK(larger->fingerprint() != print);
  CHECK(larger->training_fingerprint() == made->training_fingerprint());
  fs::rename(folder / "net.pt", folder / "same.pt");
  CHECK(experiment(folder, "features = { file = \"same.pt\", size = 16 }\nmetrics = [\"fd\"]\n")->teacher_key() == key);
  fs::copy_file(fixture("flat.pt"), folder / "net.pt");
  CHECK(experiment(folder, conv)->teacher_key() != key);
}

TEST_CASE("who looks at many cells loads an encoder once") {
  Folder folder;
  fs::copy_file(fixture("conv.pt"), folder / "net.pt");
  const Value root = parse_toml(job(folder, conv), (folder / "job.toml").string());
  PartsMemo memo;
  const Experiment one(root, "job", registry(), Parts::all, {}, &memo),
      two(root, "job", registry(), Parts::all, {}, &memo);
  CHECK(one.feature_network == two.feature_network);
  CHECK(one.fingerprint() == two.fingerprint());
  CHECK(one.teacher_key() == two.teacher_key());
  CHECK(one.resolved() == two.resolved());
}

TEST_CASE("what cannot be an encoder of the samples is refused in one line, before any work") {
  Folder folder;
  const std::string place = (folder / "job.toml").string() + ":";
  fs::copy_file(fixture("conv.pt"), folder / "net.pt");
  fs::copy_file(fixture("clip.pt"), folder / "clip.pt");
  CHECK(contains(refused(folder, "features = { file = \"no.pt\" }\n"), "evaluate.features.file: "));
  CHECK(contains(refused(folder, "features = { size = 5 }\n"),
                 "evaluate.features.file: missing; expected a TorchScript"));
  CHECK(contains(refused(folder, "features = { file = \"net.pt\", sizes = 5 }\n"),
                 "unknown key 'evaluate.features.sizes'; did you mean 'size'?"));
  CHECK(contains(refused(folder, "features = { type = \"picture_encode\", file = \"net.pt\" }\n"),
                 "evaluate.features.type: "));
  CHECK(contains(refused(folder, "features = 3\n"), "evaluate.features: is an integer, 3; expected a path"));
  CHECK(
      contains(refused(folder, "features = { file = \"clip.pt\", size = 9 }\n"), "evaluate.features: cannot serve: "));
  CHECK(refused(folder, "features = { file = \"clip.pt\", size = 9 }\n").find('\n') == std::string::npos);
  torch::jit::Module maps("maps");
  maps.define("def forward(self, x):\n    return x\n");
  maps.save((folder / "maps.pt").string());
  CHECK(contains(
      refused(folder, "features = { file = \"maps.pt\" }\n"),
      "evaluate.features: gives 1 x 3 x 8 x 8 for one sample of 3 x 8 x 8; expected a row of features, 1 x F"));
  CHECK(refused(folder, "features = { file = \"maps.pt\" }\n").starts_with(place));
}

TEST_CASE("a run measures in an encoder's features, against statistics, and by texts and taste") {
  Folder folder;
  fs::copy_file(fixture("conv.pt"), folder / "net.pt");
  write_text(
      folder / "job.toml",
      job(folder,
          "metrics = [\"fd\", \"clip_score\", \"aesthetic\"]\n[evaluate.features]\nfile = \"net.pt\"\n"
          "size = 16\n[metric.fd]\nstatistics = \"" +
              fixture("statistics.npz") + "\"\n[metric.clip_score]\ntext_features = \"" + fixture("texts.safetensors") +
              "\"\nencoder = { file = \"" + fixture("clip.pt") + "\", size = 12 }\n[metric.aesthetic]\nfile = \"" +
              fixture("predictor.pt") + "\"\nencoder = { file = \"" + fixture("clip.pt") + "\", size = 12 }\n",
          "[loss]\ntype = \"denoising\"\n[network]\ntype = \"unet\"\nwidths = [8, 16]\ngroups = 4\n"
          "[train]\nsteps = 1\nbatch = 4\n"));
  const Outcome out = run_retort("run " + (folder / "job.toml").string() + " run.output=" + (folder / "out").string());
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const Json row = Json::parse(read_text(folder / "out/results.json"))["students"][0]["metrics"];
  for (const char* key : {"fd", "clip_score", "clip_score_reference", "aesthetic", "aesthetic_reference"}) {
    CAPTURE(std::string(key));
    CHECK(row.contains(key));
  }
  CHECK(row["fd"].get<double>() > 0);
  // The file in the run's folder runs again, to the same numbers.
  const Outcome again =
      run_retort("run " + (folder / "out/config.toml").string() + " run.output=" + (folder / "two").string());
  CAPTURE(again.output);
  REQUIRE(again.code == 0);
  CHECK(Json::parse(read_text(folder / "two/results.json"))["students"][0]["metrics"] == row);
}

TEST_CASE("a metric sees through a network that Retort trained, by its checkpoint") {
  Folder folder;
  const std::string at = folder.string(), out = " run.output=" + at;
  write_text(folder / "classifier.toml",
             job(folder, "metrics = [\"accuracy\"]\n",
                 "[loss]\ntype = \"cross_entropy\"\n[network]\ntype = \"convnet\"\nfeatures = 8\n[train]\n"
                 "steps = 1\nbatch = 4\n"));
  const Outcome first = run_retort("run " + at + "/classifier.toml" + out + "/c");
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  const std::string teacher = "[teacher]\ntype = \"empirical\"\nconditional = true\n[teacher.dataset]\n" + data;
  write_text(folder / "job.toml",
             job(folder,
                 "metrics = [\"clip_score\"]\n[metric.clip_score]\ntext_features = \"" + fixture("texts.safetensors") +
                     "\"\nencoder_checkpoint = \"c/checkpoints/step_000001.safetensors\"\n",
                 teacher));
  const Outcome second = run_retort("run " + at + "/job.toml" + out + "/o");
  CAPTURE(second.output);
  REQUIRE(second.code == 0);
  CHECK(Json::parse(read_text(folder / "o/results.json"))["students"][0]["metrics"].contains("clip_score"));
}
