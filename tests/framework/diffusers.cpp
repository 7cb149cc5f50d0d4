// Folders of diffusers as checkpoints: what is read from them, held against diffusers' own numbers
// (tests/parity/make_diffusers_folders.py), and what is refused.
#include <torch/nn/module.h>

#include <fstream>

#include "config/experiment.h"
#include "io/checkpoint.h"
#include "io/diffusers.h"
#include "io/diffusers_files.h"
#include "io/diffusers_ldm_names.h"
#include "io/diffusers_lora.h"
#include "io/diffusers_scheduler.h"
#include "io/files.h"
#include "io/hashes.h"
#include "io/json.h"
#include "io/mapped.h"
#include "support/diffusers_unets.h"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {

fs::path fixture(const std::string& name) { return fs::path(source_dir()) / "tests/fixtures/diffusers" / name; }

const std::map<std::string, Tensor>& expected() {
  static const TensorFile file = read_safetensors(fixture("expected.safetensors"));
  return file.tensors;
}

Process process_of(const DiffusersScheduler& scheduler) {
  Params p(scheduler.process, "process", nullptr);
  return Process(p);
}

// A scheduler_config.json of that text.
DiffusersScheduler scheduler_of(const std::string& json) {
  const Folder folder;
  write_text(folder / "scheduler_config.json", json);
  return read_diffusers_scheduler(folder / "scheduler_config.json");
}

const Value& model_of(const Value& config, const char* key) { return *config.find("model")->find(key); }

}  // namespace

TEST_CASE("a scheduler's table is diffusers' alphas_cumprod, to its float32") {
  for (const char* name : {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "trained", "zero_snr"}) {
    CAPTURE(name);
    const DiffusersScheduler read = read_diffusers_scheduler(fixture("schedulers") / name / "scheduler_config.json");
    const Process process = process_of(read);
    const Tensor wanted = expected().at(std::string("alphas_cumprod.") + name).to(at::kDouble);
    REQUIRE(process.steps() == wanted.size(0));
    const Tensor t = at::arange(1, process.steps() + 1, at::kDouble);
    CHECK(most(process.alpha(t).square() - wanted) < 1e-6);
    CHECK(most(read.parametrisation.c_noise(process, t) - at::arange(process.steps(), at::kDouble)) == 0);
  }
}

TEST_CASE("what a scheduler says of its model") {
  struct Case {
    const char *json, *process, *predicts, *sees;
    double factor;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {R"({"_class_name": "DDPMScheduler"})", "betas", "noise", "discrete", 1},
          {R"({"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"})", "betas", "v", "discrete", 1},
          {R"({"_class_name": "UniPCMultistepScheduler", "prediction_type": "sample"})", "betas", "data", "discrete",
           1},
          {R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})", "rectified_flow", "flow", "fraction",
           1000},
          {R"({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true, "prediction_type": "flow_prediction"})",
           "rectified_flow", "flow", "fraction", 1000},
          {R"({"_class_name": "EDMEulerScheduler", "sigma_data": 0.25})", "ve", "edm", "edm", 1}}) {
    CAPTURE(std::string(c.json));
    const DiffusersScheduler read = scheduler_of(c.json);
    CHECK(process_of(read).name() == std::string(c.process));
    CHECK(read.parametrisation.name() == std::string(c.predicts));
    CHECK(read.parametrisation.preconditioning.name() == std::string(c.sees));
    CHECK(read.times.scale == c.factor);
  }
  CHECK(scheduler_of(R"({"_class_name": "EDMEulerScheduler", "sigma_data": 0.25})").parametrisation.sigma_data == 0.25);
  // A key of another class counts nothing; a missing one is that of its own class.
  const Process lcm = process_of(scheduler_of(R"({"_class_name": "LCMScheduler", "skip_prk_steps": true})"));
  CHECK(lcm.alpha(times({1000})).square().item<double>() == doctest::Approx(0.00466010).epsilon(1e-5));
}

TEST_CASE("a scheduler that says something else is refused by its file and key") {
  struct Case {
    const char* json;
    std::initializer_list<const char*> parts;
  };
  for (const Case& c : std::initializer_list<Case>{
           {R"({"_class_name": "DDPMSheduler"})",
            {"_class_name", "'DDPMSheduler' is not supported", "did you mean 'DDPMScheduler'"}},
           {R"({"_class_name": "CMStochasticIterativeScheduler"})", {"_class_name", "consistency models"}},
           {R"({"beta_start": 0.1})", {"_class_name", "is missing"}},
           {R"({"_class_name": "DDPMScheduler", "prediction_type": "x0"})", {"prediction_type: 'x0' is not supported"}},
           {R"({"_class_name": "DDPMScheduler", "beta_schedule": "laplace"})",
            {"beta_schedule: 'laplace' is not supported"}},
           {R"({"_class_name": "DDPMScheduler", "beta_start": "low"})", {"beta_start: is \"low\"", "a number"}},
           {R"({"_class_name": "DDPMScheduler", "num_train_timesteps": 1})", {"num_train_timesteps: is 1"}},
           {R"({"_class_name": "DDPMScheduler", "num_train_timesteps": 10.5})",
            {"num_train_timesteps: is 10.5", "a whole number from 2"}},
           {R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 0})",
            {"num_train_timesteps: is 0", "a whole number from 1"}},
           {R"({"_class_name": "DDPMScheduler", "num_train_timesteps": "1000"})", {"num_train_timesteps: is \"1000\""}},
           {R"({"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": "true"})",
            {"rescale_betas_zero_snr: is \"true\"; expected true or false"}},
           {R"({"_class_name": "DDPMScheduler", "use_flow_sigmas": 1})", {"use_flow_sigmas: is 1"}},
           {R"({"_class_name": "DDPM\nScheduler"})", {R"('DDPM\nScheduler' is not supported)"}},
           {R"({"_class_name": "DDPMScheduler", "beta_start": 2})", {"scheduler_config.json: beta_"}},
           {R"({"_class_name": "DDPMScheduler", "trained_betas": ["a"]})", {"trained_betas: is no list of numbers"}},
           {R"({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"})", {"timestep_type"}},
           {R"({"_class_name": "DDIMScheduler", "prediction_type": "flow_prediction"})", {"use_flow_sigmas"}},
           {R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "prediction_type": "epsilon"})", {"prediction_type"}},
           {R"({"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction"})", {"prediction_type"}},
           {R"({"_class_name": "EDMEulerScheduler", "sigma_data": 0})", {"sigma_data: is 0"}},
           {"[1]", {"is damaged"}},
           {"version https://git-lfs.github.com/spec/v1\n", {"Git LFS"}}}) {
    CAPTURE(std::string(c.json));
    const std::string line = request_error([&] { scheduler_of(c.json); });
    CHECK(contains(line, "scheduler_config.json: "));
    CHECK(line.find('\n') == std::string::npos);
    CHECK(line.find("command line") == std::string::npos);
    for (const char* part : c.parts) {
      CHECK(contains(line, part));
    }
  }
  const std::string longer = request_error(
      [] { scheduler_of(R"({"_class_name": "DDPMScheduler", "beta_start": ")" + std::string(5000, 'x') + "\"}"); });
  CHECK(contains(longer, "xxx...; expected a number"));
  CHECK(longer.substr(longer.find("beta_start")).size() < 140);
}

TEST_CASE("Infinity and NaN, as Python writes them, are no damage") {
  for (const char* name : {"DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"}) {
    const Process process = process_of(scheduler_of(
        std::string(
            R"({"lambda_min_clipped": -Infinity, "other": [Infinity, NaN], "beta_start": NaN, "_class_name": ")") +
        name + R"(", "note": "a \" -Infinity"})"));
    CHECK(process.steps() == 1000);
    CHECK(process.alpha(times({1})).square().item<double>() == doctest::Approx(1 - 1e-4));
  }
  const Folder folder;
  write_text(folder / "a.json", R"({"NaN": "Infinity \\", "b": NaN, "c": "\"NaN"})");
  const Json read = read_json_object(folder / "a.json");
  CHECK(read["NaN"] == "Infinity \\");
  CHECK(read["b"].is_null());
  CHECK(read["c"] == "\"NaN");
  write_text(folder / "a.json", R"({"a": Nan})");
  CHECK(contains(request_error([&] { read_json_object(folder / "a.json"); }), "is damaged"));
}

TEST_CASE("adapters are merged as peft and diffusers merge them") {
  struct Case {
    const char *path, *group;
    double scale;
  };
  for (const Case& c : std::initializer_list<Case>{{"lora/pytorch_lora_weights.safetensors", "merged.half.", 0.5},
                                                   {"lora/older.safetensors", "merged.half.", 0.5},
                                                   {"lora/peft", "merged.peft.", 1},
                                                   {"lora/peft/adapter_model.safetensors", "merged.peft.", 1},
                                                   {"lora/kohya.safetensors", "merged.kohya.", 1},
                                                   {"lora/kohya_ldm.safetensors", "merged.ldm.", 1}}) {
    CAPTURE(std::string(c.path));
    const auto before = map_diffusers(fixture("text/unet"), "", "UNet2DConditionModel");
    auto weights = before;
    merge_diffusers_lora(weights, fixture(c.path).string(), c.scale);
    size_t changed = 0;
    for (const auto& [name, weight] : weights) {
      const auto wanted = expected().find(c.group + name);
      changed += at::equal(weight, before.at(name)) ? 0 : 1;
      if (wanted == expected().end()) {
        CHECK(at::equal(weight, before.at(name)));
      } else {
        CAPTURE(name);
        CHECK(most(weight - wanted->second) < 1e-6);
      }
    }
    CHECK(changed > 10);
  }
}

TEST_CASE("an adapter of a table of rows changes it by the transpose of its matrices") {
  const auto before = map_diffusers(fixture("pixel/unet"), "", "UNet2DModel");
  const Tensor table = before.at("class_embedding.weight");
  const Tensor a = normal({3, table.size(0)}, 1).to(at::kFloat), b = normal({table.size(1), 3}, 2).to(at::kFloat);
  const Folder folder;
  for (const char* prefix : {"base_model.model.", "unet."}) {
    const std::string module = std::string(prefix) + "class_embedding.";
    write_safetensors(folder / "adapter_model.safetensors",
                      {{{module + "lora_embedding_A", a}, {module + "lora_embedding_B", b}}, {}});
    write_text(folder / "adapter_config.json", R"({"peft_type": "LORA", "lora_alpha": 6, "r": 3})");
    auto weights = before;
    merge_diffusers_lora(weights, folder.string(), 0.5);
    CHECK(most(weights.at("class_embedding.weight") - (table + 0.5 * 6.0 / 3 * at::mm(b, a).t())) < 1e-5);
  }
}

TEST_CASE("an adapter that has no place, or is of another kind, is one line") {
  const auto weights = map_diffusers(fixture("text/unet"), "", "UNet2DConditionModel");
  const Folder folder;
  const std::string path = folder / "adapter.safetensors";
  const Tensor a = at::ones({2, 8}), b = at::ones({8, 2});
  const std::string module = "unet.mid_block.attentions.0.proj_in";
  struct Case {
    std::map<std::string, Tensor> tensors;
    const char* part;
  };
  for (const Case& c : std::initializer_list<Case>{
           {{{"unet.elsewhere.lora_A.weight", a}, {"unet.elsewhere.lora_B.weight", b}},
            "'unet.elsewhere.lora_A.weight' has no place"},
           {{{module + ".lora_A.weight", a}}, "lacks one of its two matrices"},
           {{{module + ".lora_A.weight", at::ones({2, 7})}, {module + ".lora_B.weight", b}}, "another shape"},
           {{{module + ".lora_A.weight", a}, {module + ".lora_B.weight", at::ones({8, 3})}}, "another shape"},
           {{{module + ".lora_A.weight", a}, {module + ".lora_magnitude_vector", b}},
            "no part of a plain low-rank change"},
           {{{"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", a}}, "no part of a plain low-rank change"},
           {{{"text_encoder.layers.0.lora_A.weight", a}}, "of its text encoder alone"},
           {{}, "holds no change"}}) {
    write_safetensors(path, {c.tensors, {}});
    auto changed = weights;
    const std::string line = request_error([&] { merge_diffusers_lora(changed, path, 1); });
    CHECK(contains(line, path));
    CHECK(contains(line, c.part));
  }
  write_safetensors(folder / "adapter_model.safetensors",
                    {{{module + ".lora_A.weight", a}, {module + ".lora_B.weight", b}}, {}});
  for (const char* config :
       {R"({"peft_type": "LOHA"})", R"({"use_dora": true})", R"({"bias": "all"})", R"({"modules_to_save": ["x"]})"}) {
    write_text(folder / "adapter_config.json", config);
    auto changed = weights;
    CHECK(contains(request_error([&] { merge_diffusers_lora(changed, folder.string(), 1); }), "adapter_config.json"));
  }
  CHECK(contains(request_error([&] {
                   auto w = weights;
                   merge_diffusers_lora(w, (folder / "none").string(), 1);
                 }),
                 "no such file"));
}

TEST_CASE("names of the first code of latent diffusion") {
  const std::pair<const char*, const char*> pairs[] = {
      {"conv_in", "input_blocks.0.0"},
      {"down_blocks.0.resnets.1.conv2", "input_blocks.2.0.out_layers.3"},
      {"down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"},
      {"down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
       "input_blocks.4.1.transformer_blocks.0.attn1.to_q"},
      {"down_blocks.2.resnets.0.conv_shortcut", "input_blocks.7.0.skip_connection"},
      {"mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"},
      {"mid_block.attentions.0.proj_in", "middle_block.1.proj_in"},
      {"up_blocks.1.resnets.2.norm1", "output_blocks.5.0.in_layers.0"},
      {"up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"},
      {"up_blocks.1.attentions.2.proj_out", "output_blocks.5.1.proj_out"},
      {"something.else", ""}};
  for (const auto& [module, wanted] : pairs) {
    CHECK(ldm_name(module, 2, true) == std::string(wanted));
  }
  CHECK(ldm_name("up_blocks.0.upsamplers.0.conv", 2, false) == "output_blocks.2.1.conv");
}

TEST_CASE("tensors of a mapped file are the file's own, keep it, and change alone") {
  const Folder folder;
  const fs::path path = folder / "some.safetensors";
  const TensorFile written{{{"a", at::arange(6, at::kFloat).view({2, 3})},
                            {"b", at::ones({2}, at::kHalf)},
                            {"c", at::zeros({0, 4})},
                            {"d", at::tensor({1.5}, at::kDouble)}},
                           {{"format", "pt"}}};
  write_safetensors(path, written);
  std::map<std::string, Tensor> kept;
  {
    const TensorFile file = map_safetensors(path);
    CHECK((file.metadata == written.metadata));
    kept = file.tensors;
  }
  for (const auto& [name, tensor] : written.tensors) {
    CHECK(at::equal(kept.at(name), tensor));
    CHECK((kept.at(name).scalar_type() == tensor.scalar_type()));
  }
  CHECK(is_mapped(kept.at("a")));
  CHECK(is_mapped(kept.at("a").view({6})));
  CHECK_FALSE(is_mapped(written.tensors.at("a")));
  CHECK_FALSE(is_mapped(kept.at("a").clone()));
  kept.at("a").fill_(7);
  CHECK(at::equal(read_safetensors(path).tensors.at("a"), written.tensors.at("a")));
  CHECK(at::equal(map_safetensors(path).tensors.at("a"), written.tensors.at("a")));
}

TEST_CASE("weights come from one file or shards, in any variant, under old names too") {
  const auto sharded = map_diffusers(fixture("sharded"), "fp16", "UNet2DModel");
  CHECK((sharded.at("conv_in.weight").scalar_type() == at::kHalf));
  CHECK(is_mapped(sharded.at("conv_in.weight")));
  const Folder folder;
  std::map<std::string, Tensor> old;
  for (const auto& [name, tensor] : map_diffusers(fixture("pixel/unet"), "", "UNet2DModel")) {
    std::string as_it_was = name;
    for (const auto& [now, before] : {std::pair(".to_q.", ".query."), std::pair(".to_k.", ".key."),
                                      std::pair(".to_v.", ".value."), std::pair(".to_out.0.", ".proj_attn.")}) {
      if (const size_t at = as_it_was.find(now); at != std::string::npos) {
        as_it_was.replace(at, std::string(now).size(), before);
      }
    }
    old[as_it_was] = tensor;
  }
  REQUIRE(old.contains("mid_block.attentions.0.query.weight"));
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", {old, {}});
  const auto renamed = map_diffusers(folder.string(), "", "UNet2DModel");
  for (const auto& [name, tensor] : map_diffusers(fixture("pixel/unet"), "", "UNet2DModel")) {
    CHECK(at::equal(renamed.at(name), tensor));
  }
}

TEST_CASE("a folder as a checkpoint says what the model is") {
  const Value pixel = read_checkpoint_config(fixture("pixel").string(), &registry());
  CHECK(std::get<std::string>(model_of(pixel, "network").find("type")->data) == "unet_2d");
  CHECK(model_of(pixel, "shape").text() == "[1, 8, 8]");
  CHECK(model_of(pixel, "classes").text() == "10");
  CHECK(model_of(pixel, "parametrisation").text() == "\"noise\"");
  CHECK(model_of(pixel, "preconditioning").text() == "\"discrete\"");
  const Checkpoint text = read_checkpoint(fixture("text").string() + "?tokens=5", {}, &registry());
  const ModelSpec spec = text.spec();
  CHECK(spec.shape == std::vector<int64_t>{4, 8, 8});
  REQUIRE(spec.inputs.size() == 3);
  CHECK(spec.find("prompt_embeds")->shape == std::vector<int64_t>{5, 12});
  CHECK(spec.find("pooled_prompt_embeds")->shape == std::vector<int64_t>{6});
  CHECK(spec.find("time_ids")->shape == std::vector<int64_t>{6});
  CHECK(model_of(text.config, "process").find("rescale_betas_zero_snr") != nullptr);
  // A component alone finds its pipeline's scheduler; size and null class are the teacher's to say.
  CHECK(model_of(read_checkpoint_config(fixture("text/unet").string(), &registry()), "parametrisation").text() ==
        "\"v\"");
  const Value other = read_checkpoint_config(fixture("pixel").string() + "?size=16,24&null_class=true", &registry());
  CHECK(model_of(other, "shape").text() == "[1, 16, 24]");
  CHECK(model_of(other, "classes").text() == "9");
  CHECK(model_of(read_checkpoint_config(fixture("sharded").string() + "?size_of_data=8,12", &registry()), "shape")
            .text() == "[2, 8, 12]");
  CHECK(
      contains(request_error([] { read_checkpoint_config(fixture("sharded").string(), &registry()); }), "sample_size"));
}

namespace {

Tensor ask(const std::string& path, const Tensor& x, const Tensor& t, const Conditioning& condition) {
  TestHost host;
  const Checkpoint checkpoint = read_checkpoint(path, {}, &registry());
  const auto network = build_network(host, checkpoint, path);
  const at::NoGradGuard no_grad;
  return network->forward(x, t, condition);
}

}  // namespace

TEST_CASE("a folder's network gives diffusers' numbers") {
  const auto& e = expected();
  const auto close = [](const Tensor& a, const Tensor& b) { return most(a - b) < 1e-5 * most(b); };
  CHECK(
      close(ask(fixture("pixel").string(), e.at("pixel.x"), e.at("pixel.t"), {{inputs::labels, e.at("pixel.labels")}}),
            e.at("pixel.out")));
  CHECK(close(ask(fixture("sharded").string() + "?variant=fp16&size=8,12", e.at("sharded.x"), e.at("sharded.t"), {}),
              e.at("sharded.out")));
  CHECK(close(ask(fixture("text").string() + "?tokens=5", e.at("text.x"), e.at("text.t"),
                  {{"prompt_embeds", e.at("text.prompt_embeds")},
                   {"pooled_prompt_embeds", e.at("text.pooled_prompt_embeds")},
                   {"time_ids", e.at("text.time_ids")}}),
              e.at("text.out")));
}

namespace {

// A folder with the weights and the configuration of one of the networks that diffusers made numbers of.
void write_case(const UNetCase& c, const char* class_name, const fs::path& folder, const char* scheduler) {
  const auto network = c.network(at::kFloat);
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", {weights_of(*network), {}});
  Json config = c.json["keys"];
  for (auto& [key, value] : config.items()) {
    value = value == 0 && key != "downsample_padding" ? Json() : value;
  }
  config["_class_name"] = class_name;
  config["sample_size"] = {c.shape[2], c.shape[3]};
  write_text(folder / "config.json", spell(config));
  write_text(folder / "scheduler_config.json", std::string(R"({"_class_name": ")") + scheduler + "\"}");
}

}  // namespace

TEST_CASE("a folder's frequencies of time are read, as its other weights are") {
  size_t count = 0;
  for (const Json& json : unet_parity()["cases"]) {
    const auto name = json["name"].get<std::string>();
    const bool pixels = name == "NCSN++";
    if (!pixels && name != "nested layers") {
      continue;
    }
    CAPTURE(name);
    ++count;
    const UNetCase c(json);
    const Folder folder;
    write_case(c, pixels ? "UNet2DModel" : "UNet2DConditionModel", folder / "", "DDPMScheduler");
    const std::string path = folder.string() + (pixels ? "" : "?tokens=5");
    const Tensor wanted = c.wanted("float32");
    CHECK(most(ask(path, c.x(at::kFloat), c.times(), c.condition(at::kFloat)) - wanted) < 1e-5 * (1 + most(wanted)));
    if (pixels) {  // as a teacher, told sigma
      write_text(folder / "scheduler_config.json", R"({"_class_name": "ScoreSdeVeScheduler"})");
      const Value root =
          parse_toml("[backend]\ntype = \"cpu\"\n[teacher]\ntype = \"diffusers\"\nfolder = \"" + folder.string() + "\"",
                     "test.toml");
      const Experiment e(root, "test", registry(), Parts::solving);
      const Tensor t = c.times().to(at::kDouble);
      const at::NoGradGuard no_grad;
      CHECK(most(e.teacher->predict(c.x(at::kFloat), t, {}) + t.view({2, 1, 1, 1}) * wanted) <
            1e-3 * (1 + most(wanted)));
    }
    TensorFile file = read_safetensors(folder / "diffusion_pytorch_model.safetensors");
    file.tensors.erase("time_proj.weight");
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", file);
    CHECK(contains(request_error([&] { ask(path, c.x(at::kFloat), c.times(), c.condition(at::kFloat)); }),
                   "'time_proj.weight' are missing"));
  }
  CHECK(count == 2);
}

TEST_CASE("the scheduler beside a model's own folder counts in its content") {
  const Folder folder;
  fs::copy(fixture("pixel"), folder / "model", fs::copy_options::recursive);
  const std::string path = folder / "model/unet", scheduler = folder / "model/scheduler/scheduler_config.json";
  const auto hashes = [&] {
    return std::vector<std::string>{content_hash(path), content_hash(path + "?size=8,8"),
                                    content_hash(folder / "model")};
  };
  const auto before = hashes();
  Json json = Json::parse(read_text(scheduler));
  json["num_train_timesteps"] = 101;
  write_text(scheduler, spell(json));
  const auto after = hashes();
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK(before[i].size() == 64);
    CHECK(before[i] != after[i]);
  }
  fs::remove(scheduler);
  CHECK(content_hash(path) != after[0]);
}

TEST_CASE("a folder's content is its checkpoint's, with all that the path names") {
  const std::string path = fixture("text").string();
  CHECK(content_hash(path).size() == 64);
  CHECK(content_hash(path + "?tokens=5").size() == 64);
  CHECK(content_hash(path + "?tokens=5") != content_hash(path + "?tokens=6"));
  const std::string lora = fixture("lora/kohya.safetensors").string(),
                    other = fixture("lora/older.safetensors").string();
  CHECK(content_hash(path + "?lora=" + lora) != content_hash(path + "?lora=" + other));
  CHECK(content_hash(path + "?lora=/nowhere").empty());
  CHECK(content_hash(path + "-none?tokens=5").empty());
  CHECK(
      contains(request_error([&] { read_checkpoint_config(path + "?token=5", &registry()); }), "unknown key 'token'"));
  CHECK(contains(request_error([&] { read_checkpoint_config(path + "?tokens=five", &registry()); }),
                 "expected a number"));
}
