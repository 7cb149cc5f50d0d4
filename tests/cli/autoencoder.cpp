// An autoencoder as users have it: trained, measured, read again as a plugin, and exported for diffusers.
#include <cstdlib>
#include <fstream>

#include "io/json.h"
#include "support/autoencoders.h"
#include "support/program.h"
#include "support/python_process.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

Outcome done(const std::string& arguments) {
  Outcome out = run_retort(arguments);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  return out;
}

struct Kind {
  const char *network, *toml;
};
const Kind kinds[] = {
    {"autoencoder_kl",
     "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlatent_channels = 2\nscaling_factor = 0.5\n"
     "down_block_types = [\"DownEncoderBlock2D\", \"AttnDownEncoderBlock2D\"]\n"
     "up_block_types = [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]\n"},
    {"autoencoder_tiny",
     "encoder_block_out_channels = [8, 8]\ndecoder_block_out_channels = [8, 8]\nnum_encoder_blocks = [1, 1]\n"
     "num_decoder_blocks = [1, 1]\nlatent_channels = 2\n"}};

fs::path trained(const Folder& folder, const Kind& kind) {
  const std::string name = kind.network;
  write_text(folder / (name + ".toml"), "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"image_folder\"\nfolder = \"" +
                                            source_dir() + "/tests/fixtures/picture_sets/plain\"\nsize = 8\n" +
                                            "[network]\ntype = \"" + name + "\"\n" + kind.toml +
                                            "[loss]\ntype = \"autoencoding\"\n"
                                            "[train]\nsteps = 12\nbatch = 4\nlearning_rate = 1e-3\n"
                                            "[evaluate]\nmetrics = [\"reconstruction\"]\n");
  done("run " + (folder / (name + ".toml")).string() + " run.output=" + (folder / name).string());
  return folder / name;
}

fs::path last_checkpoint(const fs::path& run) {
  fs::path last;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
    if (entry.path().filename().string().starts_with("step_") && entry.path() > last) {
      last = entry.path();
    }
  }
  return last;
}

std::string key(const char* name, const fs::path& path) { return std::string(name) + " = \"" + path.string() + "\"\n"; }

}  // namespace

TEST_CASE("an autoencoder is trained, measured, read from its checkpoint, exported, and read from that folder") {
  Folder folder;
  for (const Kind& kind : kinds) {
    const std::string name = kind.network;
    CAPTURE(name);
    const fs::path run = trained(folder, kind);
    const Json results = Json::parse(read_text(run / "results.json"));
    const Json& metrics = results["students"][0]["metrics"];
    CHECK(metrics["mse"].get<double>() > 0);
    CHECK(metrics["latent_std"].get<double>() > 0);
    FileHost host;
    const std::string of_checkpoint = key("checkpoint", last_checkpoint(run));
    const auto coder = host.autoencoder(name, of_checkpoint);
    CHECK(coder->scaling_factor() == (coder->shift() == 0 && name.ends_with("kl") ? 0.5 : 1));
    const Tensor x = hashed({3, 3, 8, 8}, 1).to(at::kFloat) * 2;
    const Tensor z = coder->encode(x), y = coder->decode(z);
    CHECK(z.sizes() == at::IntArrayRef({3, 2, 4, 4}));
    CHECK(y.sizes() == x.sizes());
    const std::string other = name.ends_with("kl") ? "autoencoder_tiny" : "autoencoder_kl";
    CHECK(contains(request_error([&] { host.autoencoder(other, of_checkpoint); }),
                   "holds network '" + name + "'; expected '" + other + "'; use type = \"" + name + "\""));

    const fs::path out = folder / (name + "_exported");
    done("export " + run.string() + " --format diffusers --out " + out.string());
    const Json config = Json::parse(read_text(out / "config.json"));
    CHECK(config["_class_name"] == (name.ends_with("kl") ? "AutoencoderKL" : "AutoencoderTiny"));
    CHECK(contains(read_text(out / "README.md"), "An autoencoder made by Retort"));
    const auto again = host.autoencoder(name, key("folder", out));
    CHECK(at::equal(again->encode(x), z));
    CHECK(at::equal(again->decode(z), y));
    done("export " + run.string() + " --format diffusers --force --out " + out.string());

    // Half as large, with the factor that its latents were measured to need.
    const fs::path half = folder / (name + "_half");
    done("export " + run.string() + " --format diffusers --half --scaling-factor 0.25 --out " + half.string());
    CHECK(Json::parse(read_text(half / "config.json"))["scaling_factor"] == 0.25);
    const char* const weights = "diffusion_pytorch_model.safetensors";
    CHECK(fs::file_size(half / weights) < 0.7 * static_cast<double>(fs::file_size(out / weights)));
    const auto smaller = host.autoencoder(name, key("folder", half));
    CHECK(smaller->scaling_factor() == 0.25);
    CHECK(at::allclose(smaller->encode(x) / 0.25, z / coder->scaling_factor(), 1e-2, 1e-2));

    const char* python = std::getenv("RETORT_PYTHON");
    if (python == nullptr) {
      MESSAGE("skipped: RETORT_PYTHON names no Python");
      continue;
    }
    write_safetensors(folder / "given.safetensors", {{{"x", x}, {"z", z}, {"y", y}}, {}});
    const Outcome there = ask_python(python, source_dir() + "/tests/cli/export.py",
                                     "autoencoder " + out.string() + " " + (folder / "given.safetensors").string());
    CAPTURE(there.output);
    REQUIRE(there.code == 0);
    const size_t at = there.output.rfind("difference ");
    REQUIRE(at != std::string::npos);
    CHECK(std::stod(there.output.substr(at + 11)) < 1e-5);
  }
}

TEST_CASE("a classifier has no reconstruction, and an autoencoder no samples: a line says so before the work") {
  Folder folder;
  const fs::path run = trained(folder, kinds[1]);
  const std::string again = "run " + (folder / "autoencoder_tiny.toml").string() + " run.output=" + run.string() + "2 ";
  const Outcome samples = run_retort(again + "evaluate.metrics=[\\\"sliced_wasserstein\\\"]");
  CHECK(samples.code == 2);
  CHECK(contains(samples.output, "error: evaluate.metrics: 'sliced_wasserstein': asks for samples"));
  const Outcome classifier = run_retort(again + "loss.type=cross_entropy network.type=convnet");
  CHECK(classifier.code == 2);
  CHECK(contains(classifier.output, "error: evaluate.metrics: 'reconstruction': is of autoencoders"));
}
