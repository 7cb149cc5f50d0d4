// Folders that are truncated, foreign, mixed or renamed: one line each, that says where and what was expected.
#include <cstdint>
#include <functional>

#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

fs::path fixture(const std::string& name) { return fs::path(source_dir()) / "tests/fixtures/diffusers" / name; }

void set(const fs::path& file, const std::string& key, const Json& value) {
  Json json = Json::parse(read_text(file));
  json[key] = value;
  write_text(file, spell(json, 1));
}

void change_weights(const fs::path& file, const std::function<void(std::map<std::string, Tensor>&)>& change) {
  TensorFile read = read_safetensors(file);
  change(read.tensors);
  write_safetensors(file, read);
}

void truncate(const fs::path& file, uintmax_t size) { fs::resize_file(file, size); }

struct Case {
  const char* what;
  const char* fixture;
  std::function<void(const fs::path&)> harm;
  std::vector<const char*> parts;
  std::string keys = {};  // behind the folder
};

const char* const weights = "unet/diffusion_pytorch_model.safetensors";
const char* const sharded_index = "diffusion_pytorch_model.safetensors.index.fp16.json";
const char* const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";

std::vector<Case> cases() {
  return {
      {"nothing in it",
       "pixel",
       [](const fs::path& f) {
         fs::remove_all(f);
         fs::create_directory(f);
       },
       {"has no config.json", "save_pretrained"}},
      {"a pipeline without a denoiser",
       "pixel",
       [](const fs::path& f) {
         set(f / "model_index.json", "unet", {nullptr, nullptr});
       },
       {"model_index.json", "neither 'unet' nor 'transformer'"}},
      {"no such subfolder", "pixel", [](const fs::path&) {}, {"has no folder 'prior'"}, "?subfolder=prior"},
      {"a subfolder of another kind", "pixel", [](const fs::path&) {}, {"has no config.json"}, "?subfolder=scheduler"},
      {"model_index.json is damaged",
       "pixel",
       [](const fs::path& f) { write_text(f / "model_index.json", "{"); },
       {"model_index.json", "is damaged"}},
      {"config.json is missing",
       "pixel",
       [](const fs::path& f) { fs::remove(f / "unet/config.json"); },
       {"unet", "has no config.json"}},
      {"config.json is truncated",
       "pixel",
       [](const fs::path& f) { truncate(f / "unet/config.json", 40); },
       {"config.json", "is damaged"}},
      {"config.json is a pointer of LFS",
       "pixel",
       [](const fs::path& f) { write_text(f / "unet/config.json", lfs); },
       {"config.json", "Git LFS"}},
      {"no class",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "_class_name", nullptr); },
       {"config.json: _class_name: missing"}},
      {"another class",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "_class_name", "UNet3DModel"); },
       {"config.json: _class_name: 'UNet3DModel' is not supported", "'unet_2d'"}},
      {"quantised",
       "pixel",
       [](const fs::path& f) {
         set(f / "unet/config.json", "quantization_config", {{"bits", 4}});
       },
       {"config.json: quantization_config"}},
      {"a key of nothing known",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "gated_blocks", true); },
       {"config.json: gated_blocks: is true", "'unet_2d' knows nothing"}},
      {"a block type of nothing known",
       "pixel",
       [](const fs::path& f) {
         set(f / "unet/config.json", "down_block_types", {"DownBlock2D", "WarpBlock2D"});
       },
       {"config.json", "down_block_types", "WarpBlock2D"}},
      {"channels that are no number",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "in_channels", "one"); },
       {"config.json: in_channels: is \"one\""}},
      {"a value beyond all that models have",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "layers_per_block", INT64_MAX); },
       {"config.json: layers_per_block: is 9223372036854775807; expected at most 1000"}},
      {"channels beyond all that models have",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "in_channels", UINT64_MAX); },
       {"config.json: in_channels: is 18446744073709551615; expected a whole number from 1 to 16777216"}},
      {"a key that the file does not have",
       "pixel",
       [](const fs::path& f) {
         Json json = Json::parse(read_text(f / "unet/config.json"));
         json.erase("norm_num_groups");
         write_text(f / "unet/config.json", spell(json));
       },
       {"unet/config.json: norm_num_groups: 32 groups do not divide"}},
      {"a class of two lines",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "_class_name", "UNet\n2DModel"); },
       {R"(config.json: _class_name: 'UNet\n2DModel' is not supported)"}},
      {"a block of two lines",
       "pixel",
       [](const fs::path& f) {
         set(f / "unet/config.json", "down_block_types", {"DownBlock2D", "Warp\nBlock2D"});
       },
       {R"(unet/config.json: down_block_types: 'Warp\nBlock2D')"}},
      {"a long value",
       "pixel",
       [](const fs::path& f) { set(f / "unet/config.json", "in_channels", std::string(10000, 'x')); },
       {"config.json: in_channels: is \"xxx", "xxx...; expected a whole number"}},
      {"a size that is none",
       "pixel",
       [](const fs::path& f) {
         set(f / "unet/config.json", "sample_size", {8, 8, 8});
       },
       {"config.json: sample_size: is [8,8,8]"}},
      {"no scheduler",
       "pixel",
       [](const fs::path& f) { fs::remove_all(f / "scheduler"); },
       {"has no scheduler_config.json", "teacher.scheduler"}},
      {"a scheduler that is not there",
       "pixel",
       [](const fs::path&) {},
       {"/nowhere", "teacher.scheduler"},
       "?scheduler=%2Fnowhere"},
      {"no weights",
       "pixel",
       [](const fs::path& f) { fs::remove(f / weights); },
       {"has no weights", "diffusion_pytorch_model.safetensors"}},
      {"renamed weights",
       "pixel",
       [](const fs::path& f) { fs::rename(f / weights, f / "unet/model.safetensors"); },
       {"has no weights", "'model.safetensors'"}},
      {"a pickle alone",
       "pixel",
       [](const fs::path& f) { fs::rename(f / weights, f / "unet/diffusion_pytorch_model.bin"); },
       {".bin", "from diffusers import UNet2DModel", "save_pretrained"}},
      {"a variant alone", "sharded", [](const fs::path&) {}, {"has no weights but of variants", "'fp16'"}, "?size=8,8"},
      {"a variant that is not there",
       "pixel",
       [](const fs::path&) {},
       {"of variant 'ema'; there are plain weights, without teacher.variant"},
       "?variant=ema"},
      {"truncated weights",
       "pixel",
       [](const fs::path& f) { truncate(f / weights, fs::file_size(f / weights) - 8); },
       {weights, "damaged"}},
      {"weights cut within their header",
       "pixel",
       [](const fs::path& f) { truncate(f / weights, 100); },
       {weights, "truncated"}},
      {"empty weights", "pixel", [](const fs::path& f) { truncate(f / weights, 0); }, {weights, "too short"}},
      {"weights that are a pointer of LFS",
       "pixel",
       [](const fs::path& f) { write_text(f / weights, lfs); },
       {weights, "Git LFS"}},
      {"weights of no kind",
       "pixel",
       [](const fs::path& f) { write_text(f / weights, std::string(5000, 'x')); },
       {weights, "no safetensors file"}},
      {"weights of whole numbers",
       "pixel",
       [](const fs::path& f) {
         change_weights(f / weights, [](auto& t) { t["conv_out.bias"] = at::ones({1}, at::kInt); });
       },
       {weights, "'conv_out.bias' is of type Int, which is not supported for weights"}},
      {"weights of eight bits",
       "pixel",
       [](const fs::path& f) {
         const std::string header =
             R"({"conv_out.bias":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})" + std::string(5, ' ');
         write_text(f / weights,
                    std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "x");
       },
       {weights, "'conv_out.bias' is of type F8_E4M3, which is not supported"}},
      {"a weight is missing",
       "pixel",
       [](const fs::path& f) { change_weights(f / weights, [](auto& t) { t.erase("conv_out.bias"); }); },
       {"'conv_out.bias' are missing"}},
      {"a weight too many",
       "pixel",
       [](const fs::path& f) { change_weights(f / weights, [](auto& t) { t["more.weight"] = at::ones({2}); }); },
       {"'more.weight' are none of its network's"}},
      {"a weight of another shape",
       "pixel",
       [](const fs::path& f) { change_weights(f / weights, [](auto& t) { t["conv_out.bias"] = at::ones({2}); }); },
       {"'conv_out.bias' are 2, and config.json amounts to 1"}},
      {"old names and new ones",
       "pixel",
       [](const fs::path& f) {
         change_weights(f / weights, [](auto& t) { t["mid_block.attentions.0.query.weight"] = at::ones({8, 8}); });
       },
       {"'mid_block.attentions.0.to_q.weight' twice"}},
      {"weights of another model",
       "pixel",
       [](const fs::path& f) {
         fs::copy_file(fixture("text") / weights, f / weights, fs::copy_options::overwrite_existing);
       },
       {"one model?"}},
      {"config.json of another model",
       "pixel",
       [](const fs::path& f) {
         set(f / "unet/config.json", "block_out_channels", {8, 16});
       },
       {"one model?"}},
      {"a shard is missing",
       "sharded",
       [](const fs::path& f) { fs::remove(f / "diffusion_pytorch_model.fp16-00002-of-00004.safetensors"); },
       {"00002-of-00004", "no such file", "names it"},
       "?variant=fp16&size=8,8"},
      {"two shards are swapped",
       "sharded",
       [](const fs::path& f) {
         fs::copy_file(f / "diffusion_pytorch_model.fp16-00001-of-00004.safetensors",
                       f / "diffusion_pytorch_model.fp16-00002-of-00004.safetensors",
                       fs::copy_options::overwrite_existing);
       },
       {"00002-of-00004", "has no tensor"},
       "?variant=fp16&size=8,8"},
      {"a truncated shard",
       "sharded",
       [](const fs::path& f) { truncate(f / "diffusion_pytorch_model.fp16-00003-of-00004.safetensors", 9000); },
       {"00003-of-00004", "damaged"},
       "?variant=fp16&size=8,8"},
      {"a damaged index",
       "sharded",
       [](const fs::path& f) { write_text(f / sharded_index, "{}"); },
       {sharded_index, "has no weight_map"},
       "?variant=fp16&size=8,8"},
      {"a shard elsewhere",
       "sharded",
       [](const fs::path& f) {
         set(f / sharded_index, "weight_map", {{"conv_in.weight", "../secret.safetensors"}});
       },
       {sharded_index, "'../secret.safetensors'", "in the same folder"},
       "?variant=fp16&size=8,8"},
      {"an index that leaves some out",
       "sharded",
       [](const fs::path& f) {
         set(f / sharded_index, "weight_map",
             {{"conv_in.weight", "diffusion_pytorch_model.fp16-00001-of-00004.safetensors"}});
       },
       {"missing", "one model?"},
       "?variant=fp16&size=8,8"},
  };
}

}  // namespace

TEST_CASE("truncated, foreign, mixed and renamed folders: one line each") {
  TestHost host;
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.what));
    const Folder place;
    const fs::path folder = place / "model";
    fs::copy(fixture(c.fixture), folder, fs::copy_options::recursive);
    const std::string path = folder.string() + c.keys;
    c.harm(folder);
    const std::string line = request_error([&] { build_network(host, read_checkpoint(path, {}, &registry()), path); });
    CHECK(line.find('\n') == std::string::npos);
    CHECK(line.find(":0:") == std::string::npos);
    CHECK(line.size() < 1000);
    for (const char* part : c.parts) {
      CHECK(contains(line, part));
    }
  }
}
