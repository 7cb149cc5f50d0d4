// diffusers' autoencoders, held against its own numbers: tests/parity/make_autoencoders.py. As networks, and as plugins
// that read folders.
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>

#include "io/hashes.h"
#include "retort/new_weights.h"
#include "support/autoencoders.h"
#include "support/parity.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

double off(const Tensor& got, const Tensor& wanted) {
  REQUIRE(got.sizes() == wanted.sizes());
  return most(got.detach().to(at::kDouble) - wanted) / (1 + most(wanted));
}

std::string key(const char* name, const fs::path& path) { return std::string(name) + " = \"" + path.string() + "\"\n"; }

std::string refusal(const std::string& plugin, const std::string& toml) {
  FileHost host;
  return request_error([&] { host.autoencoder(plugin, toml); });
}

void set(const fs::path& file, const std::string& name, const Json& value) {
  Json json = Json::parse(read_text(file));
  json[name] = value;
  write_text(file, spell(json, 1));
}

void change_weights(const fs::path& folder, const std::function<void(std::map<std::string, Tensor>&)>& change) {
  const fs::path file = folder / "diffusion_pytorch_model.safetensors";
  TensorFile read = read_safetensors(file);
  change(read.tensors);
  write_safetensors(file, read);
}

// (z - shift) * factor, and with each channel's mean and deviation, from the numbers of a case.
Tensor scaled(const AutoencoderCase& c, const Tensor& z) {
  const Json& keys = c.json["keys"];
  const double factor = keys.value("scaling_factor", c.is_variational() ? 0.18215 : 1.0);
  if (!keys.contains("latents_mean")) {
    return (z - keys.value("shift_factor", 0.0)) * factor;
  }
  std::vector<Tensor> channels;
  for (int64_t i = 0; i < z.size(1); ++i) {
    const auto at = static_cast<size_t>(i);
    channels.push_back((z.select(1, i) - keys["latents_mean"][at].get<double>()) /
                       keys["latents_std"][at].get<double>() * factor);
  }
  return at::stack(channels, 1);
}

}  // namespace

TEST_CASE("AutoencoderKL and AutoencoderTiny are diffusers': weights, latents, pictures and gradients") {
  REQUIRE(autoencoder_parity()["cases"].size() == 9);
  for (const Json& json : autoencoder_parity()["cases"]) {
    AutoencoderCase c(json);
    CAPTURE(c.name());
    const auto exact = c.network(at::kDouble);
    REQUIRE(exact != nullptr);
    CHECK(exact->is_variational() == c.is_variational());
    auto weights = weights_of(*exact);
    int64_t count = 0;
    for (const auto& [name, weight] : weights) {
      count += weight.numel();
    }
    CHECK(weights.size() == json["tensors"].get<size_t>());
    CHECK(count == json["numbers"].get<int64_t>());
    const Tensor encoded = exact->encode(c.x());
    const double far = std::max(off(encoded, c.wanted("encoded")), off(exact->decode(c.z()), c.wanted("decoded")));
    CHECK(far < 1e-12);
    const auto single = c.network(at::kFloat);
    const double single_far = std::max(off(single->encode(c.x(at::kFloat)), c.wanted("encoded", "float32")),
                                       off(single->decode(c.z(at::kFloat)), c.wanted("decoded", "float32")));
    CHECK(single_far < 1e-5);
    if (c.picture != c.x_shape) {  // of what enlarges more than it halved
      CHECK_THROWS_AS(exact->forward(c.x(), {}, {{inputs::posterior_noise, c.noise()}}), Error);
      note_difference("network", c.plugin(), "diffusers", far);
      continue;
    }
    // What training sees: the picture of drawn latents, what was said of them, and whether they are drawn.
    const Tensor seen = exact->forward(c.x(), {}, {{inputs::posterior_noise, c.noise()}});
    const int64_t size = encoded[0].numel();
    CHECK(at::equal(seen.narrow(1, seen.size(1) - 1 - size, size), encoded.flatten(1)));
    CHECK((seen.select(1, seen.size(1) - 1) == (c.is_variational() ? 1 : 0)).all().item<bool>());
    const Tensor drawn = c.is_variational() ? numbers_in(json["drawn"]).view(c.latent) : encoded;
    const Tensor again = seen.narrow(1, 0, seen.size(1) - 1 - size);
    CHECK(off(again, exact->decode(drawn).flatten(1).detach()) < 1e-12);
    double gradients_far = 0;
    if (json.contains("gradients")) {
      (again * hashed(again.sizes(), direction_stream)).sum().backward();
      CHECK(json["gradients"].size() == weights.size());
      for (const auto& [name, figures] : json["gradients"].items()) {
        CAPTURE(name);
        const Tensor gradient = weights.at(name).grad();
        REQUIRE(gradient.defined());
        const double norm = figures[0].get<double>(), along = figures[1].get<double>();
        gradients_far =
            std::max({gradients_far, std::abs(gradient.norm().item<double>() - norm) / (norm + 1e-6),
                      std::abs((gradient * hashed(gradient.sizes(), direction_stream)).sum().item<double>() - along) /
                          (norm + 1e-6)});
      }
      CHECK(gradients_far < 1e-9);
    }
    note_difference("network", c.plugin(), "diffusers", std::max(far, gradients_far));
    MESSAGE(c.name() << ": " << weights.size() << " tensors; largest difference " << far << " in float64, "
                     << single_far << " in float32, of gradients " << gradients_far);
  }
}

TEST_CASE("known autoencoders have diffusers' names and shapes, and take no memory to list") {
  REQUIRE(autoencoder_parity()["known"].size() == 4);
  for (const Json& model : autoencoder_parity()["known"]) {
    CAPTURE(model["name"].get<std::string>());
    TestHost host("type = \"ve\"", ModelSpec{{3, 64, 64}});
    const Value table = from_json(model["keys"], "config.json");
    Params p(table, "network", &host);
    const NewWeights::OnMeta on_meta;
    const auto network =
        std::static_pointer_cast<Network>(registry().make("network", model["network"].get<std::string>(), p));
    std::vector<std::string> lines;
    int64_t count = 0;
    for (const auto& [name, weight] : weights_of(*network)) {
      CHECK(weight.is_meta());
      std::string shape;
      for (const int64_t n : weight.sizes()) {
        shape += (shape.empty() ? "" : ", ") + std::to_string(n);
      }
      lines.push_back(name + " [" + shape + "]");
      count += weight.numel();
    }
    std::sort(lines.begin(), lines.end());
    std::string list;
    for (const std::string& line : lines) {
      list += (list.empty() ? "" : "\n") + line;
    }
    CHECK(lines.size() == model["tensors"].get<size_t>());
    CHECK(count == model["numbers"].get<int64_t>());
    CHECK(sha256_of_text(list) == model["sha256"].get<std::string>());
  }
}

TEST_CASE("a folder's autoencoder gives diffusers' latents and pictures, by every backend, in chunks of any size") {
  for (const Json& json : autoencoder_parity()["cases"]) {
    AutoencoderCase c(json);
    CAPTURE(c.name());
    Folder folder;
    c.write(folder / "model");
    const std::string keys = key("folder", folder / "model");
    const Tensor said = c.wanted("encoded"), mean = c.is_variational() ? said.chunk(2, 1)[0] : said;
    const Tensor drawn = c.is_variational() ? numbers_in(json["drawn"]).view(c.latent) : said;
    for (const std::string& backend : registry().names(Backend::kind)) {
      CAPTURE(backend);
      std::unique_ptr<FileHost> host;
      try {
        host = std::make_unique<FileHost>(backend);
      } catch (const RequestError&) {
        continue;  // not on this machine
      }
      for (const char* batch : {"", "batch = 1\n"}) {
        const auto coder = host->autoencoder(c.plugin(), keys + batch);
        CHECK(off(coder->encode(c.x()), scaled(c, mean)) < 1e-5);
        CHECK(off(coder->encode(c.x(), c.noise()), scaled(c, drawn)) < 1e-5);
        CHECK(off(coder->decode(scaled(c, c.z())), c.wanted("decoded")) < 1e-5);
        CHECK((coder->latent_shape({c.x_shape.begin() + 1, c.x_shape.end()}) ==
               std::vector<int64_t>(c.latent.begin() + 1, c.latent.end())));
        CHECK((coder->picture_shape({c.latent.begin() + 1, c.latent.end()}) ==
               std::vector<int64_t>(c.picture.begin() + 1, c.picture.end())));
      }
    }
    FileHost exact("cpu", "precision = \"float64\"");
    const auto coder = exact.autoencoder(c.plugin(), keys);
    note_difference("autoencoder", c.plugin(), "diffusers",
                    std::max(off(coder->encode(c.x()), scaled(c, mean)),
                             off(coder->decode(scaled(c, c.z())), c.wanted("decoded"))));
  }
}

TEST_CASE("a pipeline's vae, a variant of half precision, and old names of attention are read") {
  AutoencoderCase c(autoencoder_case("Stable Diffusion"));
  Folder folder;
  c.write(folder / "pipeline" / "vae", ".fp16");
  write_text(folder / "pipeline" / "model_index.json",
             R"({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
                 "vae": ["diffusers", "AutoencoderKL"]})");
  FileHost host;
  const std::string pipeline = key("folder", folder / "pipeline");
  const auto half = host.autoencoder("autoencoder_kl", pipeline + "variant = \"fp16\"\n");
  const Tensor wanted = scaled(c, c.wanted("encoded").chunk(2, 1)[0]);
  const double rounded = off(half->encode(c.x()), wanted);
  CHECK(rounded < 2e-2);
  CHECK(rounded > 0);
  CHECK(contains(refusal("autoencoder_kl", pipeline),
                 "has no weights but of variants; autoencoder.variant chooses one "
                 "of 'fp16'"));
  const auto again = host.autoencoder("autoencoder_kl",
                                      key("folder", folder / "pipeline") + "subfolder = \"vae\"\nvariant = \"fp16\"\n");
  CHECK(at::equal(again->encode(c.x()), half->encode(c.x())));
  fs::remove(folder / "pipeline" / "model_index.json");
  CHECK(at::equal(host.autoencoder("autoencoder_kl", pipeline + "variant = \"fp16\"\n")->encode(c.x()),
                  half->encode(c.x())));

  c.write(folder / "old");
  change_weights(folder / "old", [](auto& tensors) {
    std::map<std::string, Tensor> renamed;
    for (const auto& [name, tensor] : tensors) {
      std::string old = name;
      for (const auto& [now, before] : std::map<std::string, std::string>{
               {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}}) {
        if (const size_t at = old.find(now); at != std::string::npos) {
          old.replace(at, now.size(), before);
        }
      }
      renamed[old] = tensor;
    }
    CHECK(renamed.contains("decoder.mid_block.attentions.0.proj_attn.weight"));
    tensors = renamed;
  });
  CHECK(off(host.autoencoder("autoencoder_kl", key("folder", folder / "old"))->encode(c.x()), wanted) < 1e-5);
}

TEST_CASE("scaling and shift are the model's own, or those that are given") {
  AutoencoderCase c(autoencoder_case("without convolutions of one pixel"));
  Folder folder;
  c.write(folder / "model");
  FileHost host;
  const auto own = host.autoencoder("autoencoder_kl", key("folder", folder / "model"));
  CHECK(own->scaling_factor() == 0.3611);
  CHECK(own->shift() == 0.1159);
  const auto other =
      host.autoencoder("autoencoder_kl", key("folder", folder / "model") + "scaling_factor = 2\nshift_factor = 0\n");
  CHECK(other->scaling_factor() == 2);
  const Tensor mean = c.wanted("encoded").chunk(2, 1)[0];
  CHECK(off(other->encode(c.x()), mean * 2) < 1e-5);
  CHECK(off(other->decode(c.z() * 2), c.wanted("decoded")) < 1e-5);
  AutoencoderCase lists(autoencoder_case("attention on the levels"));
  lists.write(folder / "lists");
  CHECK(contains(refusal("autoencoder_kl", key("folder", folder / "lists") + "shift_factor = 1\n"),
                 "autoencoder.shift_factor: stands beside latents_mean"));
  set(folder / "lists" / "config.json", "latents_std", {0.5});
  CHECK(contains(refusal("autoencoder_kl", key("folder", folder / "lists")), "latents_mean: has 2 numbers; expected"));
}

TEST_CASE("a model for which float16 is too narrow is evaluated in float32, whatever the backend rounds to") {
  AutoencoderCase c(autoencoder_case("Stable Diffusion"));
  Folder folder;
  c.write(folder / "model");
  FileHost host;
  const auto in_half = [&] {
    const auto coder = host.autoencoder("autoencoder_kl", key("folder", folder / "model"));
    at::autocast::set_autocast_dtype(at::kCPU, at::kHalf);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const Tensor out = coder->encode(c.x());
    at::autocast::clear_cache();
    CHECK(at::autocast::is_autocast_enabled(at::kCPU));
    at::autocast::set_autocast_enabled(at::kCPU, false);
    return off(out, scaled(c, c.wanted("encoded").chunk(2, 1)[0]));
  };
  CHECK(in_half() < 1e-5);
  set(folder / "model" / "config.json", "force_upcast", false);
  CHECK(in_half() > 1e-4);
}

TEST_CASE("pictures and latents of other shapes are refused in one line") {
  AutoencoderCase c(autoencoder_case("Stable Diffusion"));
  Folder folder;
  c.write(folder / "model");
  FileHost host;
  const auto coder = host.autoencoder("autoencoder_kl", key("folder", folder / "model"));
  const auto line = [](const std::function<void()>& f) {
    const std::string out = request_error(f);
    CHECK(out.find('\n') == std::string::npos);
    return out;
  };
  CHECK(contains(line([&] {
                   coder->encode(normal({1, 3, 10, 8}));
                 }),
                 "cannot encode a picture of 3 x 10 x 8; expected height and width that 4 divides"));
  CHECK(contains(line([&] { coder->latent_shape({1, 8, 8}); }), "of 3 channel(s); expected such ones, not 1 x 8 x 8"));
  CHECK(contains(line([&] { coder->decode(normal({2, 3, 4, 4})); }), "takes latents [channels, height, width] of 4"));
  CHECK_THROWS_AS(coder->encode(normal({1, 3, 8, 8}), normal({1, 4, 1, 1})), Error);
}

TEST_CASE("folders that hold something else, or not all of it, are refused in one line") {
  AutoencoderCase kl(autoencoder_case("Stable Diffusion")), tiny(autoencoder_case("TAESD"));
  Folder folder;
  kl.write(folder / "kl");
  tiny.write(folder / "tiny");
  const auto says = [&](const std::string& plugin, const std::string& toml, std::initializer_list<const char*> parts) {
    const std::string line = refusal(plugin, toml);
    CHECK(line.find('\n') == std::string::npos);
    for (const char* part : parts) {
      CHECK(contains(line, part));
    }
  };
  const std::string of_kl = key("folder", folder / "kl"), of_tiny = key("folder", folder / "tiny");
  says("autoencoder_kl", of_tiny,
       {"autoencoder.folder: ", "holds AutoencoderTiny; expected AutoencoderKL; use type = \"autoencoder_tiny\""});
  says("autoencoder_tiny", of_kl, {"holds AutoencoderKL; expected AutoencoderTiny; use type = \"autoencoder_kl\""});
  const std::string unet = source_dir() + "/tests/fixtures/diffusers/pixel";
  says("autoencoder_kl", key("folder", unet + "/unet"), {"holds UNet2DModel; expected AutoencoderKL"});
  says("autoencoder_kl", key("folder", unet),
       {"model_index.json: has no 'vae', but 'scheduler', 'unet'", "autoencoder.subfolder"});
  says("autoencoder_kl", "", {"autoencoder.folder: missing; expected a folder", "checkpoint"});
  says("autoencoder_kl", key("folder", folder / "none"), {"none: no such folder"});
  says("autoencoder_kl", of_kl + key("checkpoint", folder / "kl"), {"checkpoint: stands beside folder"});
  says("autoencoder_kl", key("checkpoint", folder / "kl") + "variant = \"fp16\"", {"variant: is of a folder"});
  says("autoencoder_kl", of_kl + "subfolder = \"vea\"", {"has no folder 'vea', which autoencoder.subfolder names"});
  says("autoencoder_kl", of_kl + "variant = \"ema\"", {"of variant 'ema'", "without autoencoder.variant"});

  const auto harmed = [&](const AutoencoderCase& c, const std::function<void(const fs::path&)>& harm,
                          std::initializer_list<const char*> parts) {
    fs::remove_all(folder / "harmed");
    fs::copy(folder / (c.is_variational() ? "kl" : "tiny"), folder / "harmed");
    harm(folder / "harmed");
    says(c.plugin(), key("folder", folder / "harmed"), parts);
  };
  const auto config = [](const char* name, const Json& value) {
    return [=](const fs::path& f) { set(f / "config.json", name, value); };
  };
  harmed(kl, config("down_block_types", {"DownEncoderBlock2D", "DownEncoderBlock2D", "DownBlock2D"}),
         {"config.json: down_block_types: 'DownBlock2D' is not supported; expected DownEncoderBlock2D or "
          "AttnDownEncoderBlock2D"});
  harmed(kl, config("norm_num_groups", 5), {"config.json: norm_num_groups: 5 groups do not divide the 16 channels"});
  harmed(kl, config("block_out_channels", {8, 16}), {"block_out_channels: has 2 numbers, down_block_types 3 words"});
  harmed(kl, config("act_fn", "tanh"), {"config.json: act_fn", "tanh"});
  harmed(kl, config("_class_name", "VQModel"), {"_class_name: 'VQModel' is not supported"});
  harmed(kl, config("use_quant_conv", false), {"the weights 'quant_conv.bias' are none of its network's"});
  harmed(kl, config("latent_channels", 5), {"the weights '", "amounts to"});
  harmed(kl, config("spatial", 3), {"config.json: spatial: is 3, of which network 'autoencoder_kl' knows nothing"});
  harmed(tiny, config("decoder_block_out_channels", {8, 8, 16}),
         {"decoder_block_out_channels: 8 and 16 do not fit together"});
  harmed(tiny, config("num_encoder_blocks", {1, 2}),
         {"encoder_block_out_channels: has 3 numbers, num_encoder_blocks 2"});
  harmed(tiny, config("upsample_fn", "linear"), {"config.json: upsample_fn"});
  harmed(tiny,
         [](const fs::path& f) { change_weights(f, [](auto& tensors) { tensors.erase("encoder.layers.0.bias"); }); },
         {"the weights 'encoder.layers.0.bias' are missing"});
  harmed(tiny, [](const fs::path& f) { fs::resize_file(f / "diffusion_pytorch_model.safetensors", 999); },
         {"diffusion_pytorch_model.safetensors"});
}

TEST_CASE("networks of autoencoders say in one line which pictures they are for") {
  const auto error = [](const char* name, const ModelSpec& spec, const std::string& toml = "") {
    TestHost host("type = \"ve\"", spec);
    return request_error([&] { host.make_plugin<Network>(name, toml); });
  };
  CHECK(contains(error("autoencoder_kl", {{2}}), "'autoencoder_kl' is for pictures [channels, height, width]"));
  CHECK(contains(error("autoencoder_kl", {{1, 8, 8}}), "network.in_channels: 3 is not supported for pictures of 1"));
  CHECK(contains(error("autoencoder_tiny", {{3, 28, 28}}), "sides that 8 divides"));
  CHECK(contains(error("autoencoder_tiny", {{3, 8, 8}}, "num_encoder_blocks = []\nencoder_block_out_channels = []"),
                 "has 0 numbers"));
}

TEST_CASE("identity changes nothing, and takes every shape") {
  FileHost host;
  const auto coder = host.autoencoder("identity", "");
  const Tensor x = normal({3, 2, 5});
  CHECK(at::equal(coder->encode(x, normal({3, 2, 5}, 1)), x));
  CHECK(at::equal(coder->decode(x), x));
  CHECK((coder->latent_shape({2, 5}) == std::vector<int64_t>{2, 5}));
  CHECK(coder->scaling_factor() == 1);
  CHECK(coder->shift() == 0);
}
