// `retort export`, and what other programs make of what it wrote.
#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "config/toml.h"
#include "export/lora.h"
#include "export/outgoing.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/low_rank.h"
#include "io/safetensors.h"
#include "retort/ode.h"
#include "retort/solver.h"
#include "sample/sampler.h"
#include "support/program.h"
#include "support/python_process.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// The interpreter in RETORT_PYTHON, where it has these packages; else "", with a word.
std::string python_with(const std::string& packages) {
  const char* chosen = std::getenv("RETORT_PYTHON");
  const std::string interpreter = chosen != nullptr ? chosen : "";
  if (interpreter.empty()) {
    MESSAGE("skipped: RETORT_PYTHON names no Python");
    return "";
  }
  const Outcome out = shell("'" + interpreter + "' '" + source_dir() + "/tests/cli/export.py' has " + packages);
  if (out.code != 0 || out.output.find("all there") == std::string::npos) {
    MESSAGE("skipped: Python is " << out.output);
    return "";
  }
  return interpreter;
}

double difference(const Outcome& out) {
  const std::string mark = "difference ";
  const size_t at = out.output.rfind(mark);
  CAPTURE(out.output);
  REQUIRE(at != std::string::npos);
  return std::stod(out.output.substr(at + mark.size()));
}

Outcome in_python(const std::string& interpreter, const std::string& arguments) {
  return ask_python(interpreter, source_dir() + "/tests/cli/export.py", arguments);
}

Tensor noise(at::IntArrayRef shape, int64_t seed, const char* stream) {
  const Tensor out = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  for (int64_t i = 0; i < out.size(0); ++i) {
    out[i].normal_(0, 1, seeded(static_cast<uint64_t>(seed), stream, static_cast<uint64_t>(i)));
  }
  return out;
}

Outcome done(const std::string& arguments) {
  Outcome out = run_retort(arguments);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  return out;
}

const std::string mixture = mixture_config + small + "sweep={} loss.type=cm evaluate.metrics=[] evaluate.at=[] ";

// Small class-conditional networks of diffusers, for pictures in two classes.
const std::string small_unet =
    "type = \"unet_2d\"\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
    "attention_head_dim = 4\ndown_block_types = [\"DownBlock2D\", \"AttnDownBlock2D\"]\n"
    "up_block_types = [\"AttnUpBlock2D\", \"UpBlock2D\"]\nnum_class_embeds = 3\n";
const std::string small_dit =
    "type = \"dit_transformer_2d\"\nnum_attention_heads = 2\nattention_head_dim = 8\nnum_layers = 2\n"
    "in_channels = 3\nsample_size = 8\nnum_embeds_ada_norm = 2\n";

std::string picture_config(const std::string& process, const std::string& student, const std::string& rest,
                           const std::string& network = small_unet) {
  return "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"image_folder\"\nfolder = \"" + source_dir() +
         "/tests/fixtures/picture_sets/plain\"\nsize = 8\n" + process + "[network]\n" + network + "[student]\n" +
         student + rest;
}

const std::string steps_of_table =
    "[process]\ntype = \"betas\"\nbeta_schedule = \"scaled_linear\"\nbeta_start = 0.001\nbeta_end = 0.3\n"
    "num_train_timesteps = 40\n";
const std::string noise_on_steps = "parametrisation = \"noise\"\npreconditioning = \"discrete\"\n";
const std::string few_steps =
    "[train]\nsteps = 8\nbatch = 4\nlearning_rate = 1e-2\n[evaluate]\nsamples = 8\nstudent_steps = [1, 2, 4]\n"
    "metrics = [\"sliced_wasserstein\"]\n";

struct Sampled {
  Batch start;
  Tensor ends;
};

Experiment& plain_host() {
  static const Value none;
  static Experiment host(none, "export", registry(), Parts::solving);
  return host;
}

Outgoing read(const fs::path& run) { return Outgoing(plain_host(), registry(), find_export(run.string(), "", "")); }

Batch start_of(const Outgoing& model, const Tensor& grid, int64_t count, int64_t seed) {
  std::vector<int64_t> shape = model.spec.shape;
  shape.insert(shape.begin(), count);
  Batch out{noise(shape, seed, "start") * model.process.sigma(grid.narrow(0, 0, 1)).item<double>(), {}};
  if (model.spec.classes() > 0) {
    out.condition.set(inputs::labels, at::arange(count, at::kLong).remainder(model.spec.classes()));
  }
  return out;
}

// What a scheduler is given to begin and to go on with, in the file that export.py reads.
void write_given(const fs::path& path, const Batch& start, int64_t steps, int64_t seed,
                 const std::vector<int64_t>& timesteps) {
  TensorFile file;
  file.tensors["x"] = start.x;
  file.tensors["steps"] = at::scalar_tensor(steps, at::kLong);
  for (int64_t k = 1; k < steps; ++k) {
    file.tensors["noise_" + std::to_string(k)] =
        noise(start.x.sizes(), seed, ("multistep " + std::to_string(k)).c_str());
  }
  if (!timesteps.empty()) {
    file.tensors["timesteps"] = at::tensor(timesteps, at::kLong);
  }
  if (const Tensor labels = start.condition[inputs::labels]; labels.defined()) {
    file.tensors["labels"] = labels;
  }
  write_safetensors(path, file);
}

// Whether the model card's lines of Python run as they stand, beside the folder.
bool runs_card(const std::string& python, const fs::path& folder) {
  const Outcome out = in_python(python, "card " + folder.string());
  CAPTURE(out.output);
  CHECK(contains(out.output, "card runs"));
  return out.code == 0;
}

// Trains what a text describes, into DIR/run, and returns that folder.
fs::path trained(const Folder& folder, const std::string& name, const std::string& text) {
  write_text(folder / (name + ".toml"), text);
  done("run " + (folder / (name + ".toml")).string() + " run.output=" + (folder / name).string());
  return folder / name;
}

}  // namespace

TEST_CASE("an exported TorchScript file gives Retort's own samples, in one step and in two") {
  Folder folder;
  const std::string run = (folder / "run").string(), file = (folder / "student.pt").string();
  done("run " + mixture + "run.output=" + run);
  const Outcome out = done("export " + run + " --format torchscript --out " + file);
  CHECK(contains(out.output, "forward(x, sigma) gives f(x, sigma)"));
  CHECK(contains(out.output, "type = \"torchscript\""));
  CHECK(contains(out.output, "torch.jit.load(\"" + file + "\")"));
  torch::jit::Module student = torch::jit::load(file);
  const at::NoGradGuard no_grad;
  const auto f = [&](const Tensor& x, double sigma) {
    return student.forward({x, at::scalar_tensor(sigma, at::kDouble)}).toTensor();
  };
  TestHost host;
  const Tensor grid = host.make_plugin<Schedule>("karras", "steps = 18\nsigma_max = 20.0")->times(Process(), 1);
  const Tensor first = f(noise({9, 2}, 4, "start") * 20.0, 20.0);
  const double middle = grid[9].item<double>();
  const Tensor second = f(first + middle * noise({9, 2}, 4, "multistep 1"), middle);
  for (const auto& [steps, wanted] : {std::pair("1", first), std::pair("2", second)}) {
    CAPTURE(steps);
    const std::string samples = (folder / "x.safetensors").string();
    done("sample " + mixture + "run.output=" + run + " --checkpoint " + run +
         "/checkpoints/step_000020.safetensors --seed 4 --count 9 --steps " + steps + " --out " + samples);
    const Tensor own = read_samples(samples, {2});
    CHECK(most(own - wanted) <= 1e-6 * std::max(1.0, most(own)));
  }
}

TEST_CASE("the TOML that export prints reads the file as a teacher") {
  Folder folder;
  const std::string run = (folder / "run").string(), file = (folder / "teacher.pt").string();
  done("run " + mixture + "loss.type=denoising run.output=" + run);
  for (const std::string& raw : {std::string(), std::string(" --raw")}) {
    CAPTURE(raw);
    const Outcome out = done("export " + run + " --format torchscript --force --out " + file + raw);
    const size_t begin = out.output.find("[process]"), end = out.output.find("# in Python");
    REQUIRE(begin < end);
    const std::string solver =
        "[solver]\ntype = \"ddim\"\n[schedule]\ntype = \"karras\"\nsteps = 6\nsigma_max = 20.0\n";
    write_text(folder / "script.toml", out.output.substr(begin, end - begin) + solver);
    write_text(folder / "own.toml", "[teacher]\ntype = \"network\"\ncheckpoint = \"" + run +
                                        "/checkpoints/step_000020.safetensors\"\n" + solver);
    write_text(folder / "start.csv", "12.0,-20.0\n0.3,4.0\n-13.0,0.1\n");
    for (const char* name : {"script", "own"}) {
      done("solve " + (folder / (std::string(name) + ".toml")).string() + " backend.type=cpu --start " +
           (folder / "start.csv").string() + " --out " + (folder / (std::string(name) + ".csv")).string());
    }
    const Tensor ends = read_samples(folder / "script.csv", {2}), own = read_samples(folder / "own.csv", {2});
    CHECK(most(ends - own) < 1e-5 * std::max(1.0, most(own)));
  }
}

TEST_CASE("what cannot be exported is one line, with what would serve") {
  Folder folder;
  const std::string run = (folder / "run").string(), out = (folder / "out").string();
  done("run " + mixture + "run.output=" + run);
  const auto refused = [&](const std::string& arguments, std::initializer_list<const char*> parts) {
    CHECK(one_line(run_retort("export " + arguments + " --out " + out), 2, parts));
    CHECK_FALSE(fs::exists(out));
  };
  refused(run + "n --format torchscript", {"/runn: no such folder; did you mean '", "/run'?"});
  refused(run + " --format torchscrip", {"--format: is 'torchscrip'; did you mean 'torchscript'?"});
  refused(run + " --format torchscript --cell cm", {"--cell: ", "is a single run"});
  refused(run + " --format torchscript --checkpoint step_000021", {"did you mean 'step_000020'?"});
  refused(run + " --format diffusers --keys peft", {"--keys: are the names within an adapter's file; expected --lora"});
  refused(run + " --format torchscript --lora", {"--lora: is a form of --format diffusers"});
  refused(mixture_config + " --format torchscript", {"is a configuration; expected the folder that its run wrote"});
  write_text(out, "mine");
  CHECK(one_line(run_retort("export " + run + " --format torchscript --out " + out), 2,
                 {"exists already; --force replaces it"}));
  CHECK(one_line(run_retort("export " + run + " --format diffusers --force --out " + out), 2,
                 {"/out: is a file, and a folder would be written"}));
  CHECK(read_text(out) == "mine");
  fs::remove(out);
  CHECK(one_line(run_retort("export " + run + " --format torchscript --force --out " + run), 2,
                 {"/run: is a folder, and a file would be written"}));
  const Outcome onnx =
      shell("RETORT_PYTHON=/nowhere/python '" + program() + "' export " + run + " --format onnx --out " + out);
  CHECK(onnx.code == 2);
  CHECK(contains(onnx.output, "--format onnx: needs Python, and '/nowhere/python' cannot be run"));
  CHECK(std::distance(fs::directory_iterator(folder.string()), {}) == 1);
  // The log has a line before the refusal of what needs the checkpoint to be read.
  const Outcome other = run_retort("export " + run + " --format diffusers --out " + out);
  CHECK(other.code == 2);
  CHECK(contains(
      other.output,
      "its network 'mlp' is no class of diffusers (its page names none); --format torchscript writes any network"));
  const Outcome lora = run_retort("export " + run + " --format diffusers --lora --out " + out);
  CHECK(one_line(lora, 2, {"has no adapter beside it"}));
}

TEST_CASE("a checkpoint in half precision is read wherever the whole one is, and says the same") {
  Folder folder;
  done("run " + mixture + "run.output=" + (folder / "run").string());
  const std::string out = (folder / "half.safetensors").string();
  done("export " + (folder / "run").string() + " --format checkpoint --half --out " + out);
  const Checkpoint half = read_checkpoint(out);
  fs::path whole_file;
  for (const auto& entry : fs::directory_iterator(folder / "run/checkpoints")) {
    whole_file = entry.path().filename() == "step_000020.safetensors" ? entry.path() : whole_file;
  }
  const Checkpoint whole = read_checkpoint(whole_file.string());
  CHECK(half.config.text() == whole.config.text());
  const auto weights = read_safetensors(out).tensors;
  CHECK(weights.size() == whole.tensors.size());
  for (const auto& [name, weight] : weights) {
    CAPTURE(name);
    CHECK((weight.scalar_type() == at::kHalf));
    CHECK(at::allclose(weight.to(at::kFloat), whole.tensors.at(name), 1e-3, 1e-6));
  }
  const auto drawn = [&](const std::string& checkpoint) {
    const std::string points = (folder / "points.safetensors").string();
    done("sample " + mixture + "run.output=" + (folder / "run").string() + " --checkpoint " + checkpoint + " --out " +
         points);
    return read_safetensors(points).tensors.at("x");
  };
  CHECK(at::allclose(drawn(out), drawn(whole_file.string()), 1e-2, 1e-2));
  CHECK(
      one_line(run_retort("export " + (folder / "run").string() + " --format torchscript --half --out " + out + ".pt"),
               2, {"--half: is for weights of --format diffusers or checkpoint; torchscript is written in float32"}));
  CHECK(one_line(run_retort("export " + (folder / "run").string() + " --format diffusers --scaling-factor 2 --out " +
                            (folder / "d").string()),
                 2, {"--scaling-factor: is of an autoencoder, and this is"}));
}

TEST_CASE("a consistency model is a folder of diffusers that LCMScheduler samples as Retort does") {
  Folder folder;
  const fs::path run = trained(
      folder, "lcm",
      picture_config(steps_of_table, noise_on_steps,
                     "[schedule]\ntype = \"ddpm\"\nsteps = 8\ntotal_steps = 40\n[loss]\ntype = \"ct\"\n" + few_steps));
  const fs::path out = folder / "out";
  CHECK(contains(done("export " + run.string() + " --format diffusers --licence mit --out " + out.string()).output,
                 "UNet2DModel and LCMScheduler"));
  const Json config = Json::parse(read_text(out / "unet" / "config.json"));
  CHECK(config["_class_name"] == "UNet2DModel");
  CHECK(config["sample_size"] == 8);
  CHECK(config["in_channels"] == 3);
  CHECK(config["num_class_embeds"] == 3);
  CHECK(config["time_embedding_dim"].is_null());
  CHECK(config["class_embed_type"].is_null());
  CHECK(config["freq_shift"] == 0);
  CHECK_FALSE(fs::exists(out / "model_index.json"));  // no pipeline gives the network its labels
  const std::string card = read_text(out / "README.md");
  CHECK(contains(card, "license: mit"));
  CHECK(contains(card, "| steps | sliced_wasserstein |"));
  CHECK(contains(card, "| 4 | [39, 29, 19, 9] |"));
  const Json results = Json::parse(read_text(run / "results.json"))["students"];
  char figure[32];
  std::snprintf(figure, sizeof figure, "%.4g", results[0]["metrics"]["sliced_wasserstein"].get<double>());
  CHECK(contains(card, "| 1 | " + std::string(figure) + " |"));
  const std::string python = python_with("diffusers");
  if (python.empty()) {
    return;
  }
  const Outgoing model = read(run);
  const Tensor grid = model.grid(plain_host());
  const Batch start = start_of(model, grid, 5, 11);
  const std::vector<std::vector<int64_t>> timesteps = {{39}, {39, 19}, {}, {39, 29, 19, 9}};
  for (const int64_t steps : {1, 2, 4}) {
    CAPTURE(steps);
    write_given(folder / "given.safetensors", start, steps, 11, timesteps[static_cast<size_t>(steps - 1)]);
    write_samples(folder / "expected.safetensors",
                  sample_student(model.model(), sampler_times(grid, steps), start, 5, 11));
    const Outcome made = in_python(python, "pipeline " + out.string() + " " + (folder / "given.safetensors").string() +
                                               " " + (folder / "expected.safetensors").string());
    CAPTURE(made.output);
    REQUIRE(made.code == 0);
    CHECK(difference(made) < 1e-4);
  }
  CHECK(runs_card(python, out));
}

namespace {

// An untrained student, in DIR/NAME, of any network on the table of steps.
struct Untrained {
  std::string network;  // TOML
  std::vector<int64_t> shape;
  std::vector<Input> inputs;
  std::string objective = "consistency model";
};

fs::path write_untrained(const Folder& folder, const std::string& name, const Untrained& given,
                         const std::string& more = "{}") {
  const Value table = parse_toml(given.network, "test.toml");
  TestHost host("type = \"ve\"", {given.shape, given.inputs});
  Params p(table, "network", &host);
  at::manual_seed(5);
  const std::string type = p.get("type", "", "");
  const auto network = static_cast<Host&>(host).make<Network>(type, p);
  TensorFile file;
  for (const auto& parameter : network->module()->named_parameters()) {
    file.tensors[parameter.key()] = parameter.value().detach() + at::randn_like(parameter.value()) * 0.05;
  }
  for (const auto& buffer : network->module()->named_buffers()) {
    file.tensors[buffer.key()] = buffer.value().detach().clone();
  }
  Json model = {{"network", to_json(table)},
                {"process",
                 {{"type", "betas"},
                  {"beta_schedule", "scaled_linear"},
                  {"beta_start", 0.001},
                  {"beta_end", 0.3},
                  {"num_train_timesteps", 40}}},
                {"boundary", "edm"},
                {"parametrisation", "noise"},
                {"sigma_data", 0.5},
                {"preconditioning", "discrete"},
                {"shape", given.shape},
                {"classes", 0},
                {"guided", false},
                {"objective", given.objective}};
  Json others = Json::array();
  for (const Input& input : given.inputs) {
    if (input.classes > 0) {
      model["classes"] = input.classes;
    } else if (input.name == inputs::guidance) {
      model["guided"] = true;
    } else {
      others.push_back(
          {{"name", input.name}, {"type", "float32"}, {"shape", input.shape}, {"classes", 0}, {"null", 0.0}});
    }
  }
  model["inputs"] = others;
  Json experiment = Json::parse(more);
  experiment["schedule"] = {{"type", "ddpm"}, {"steps", 8}, {"total_steps", 40}};
  experiment["evaluate"] = {{"student_steps", {1, 2, 4}}};
  file.metadata = {{"format", "pt"},
                   {"retort", spell({{"model", model}, {"experiment", experiment}, {"training", {{"step", 1}}}})}};
  make_folder(folder / name / "checkpoints");
  write_safetensors(folder / name / "checkpoints" / "step_000001.safetensors", file);
  return folder / name;
}

const std::string small_text =
    "type = \"unet_2d_condition\"\nin_channels = 2\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\n"
    "layers_per_block = 1\ncross_attention_dim = 6\ndown_block_types = [\"DownBlock2D\", \"CrossAttnDownBlock2D\"]\n"
    "up_block_types = [\"CrossAttnUpBlock2D\", \"UpBlock2D\"]\n";
const Input prompt = {.name = "prompt_embeds", .shape = {5, 6}};

struct Kind {
  std::string what;
  Untrained given;
};

std::vector<Kind> exported_kinds() {
  const std::string plain =
      "type = \"unet_2d\"\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
      "attention_head_dim = 4\ndown_block_types = [\"DownBlock2D\", \"AttnDownBlock2D\"]\n"
      "up_block_types = [\"AttnUpBlock2D\", \"UpBlock2D\"]\n";
  const std::string sdxl =
      "attention_head_dim = [2, 4]\nuse_linear_projection = true\naddition_embed_type = \"text_time\"\n"
      "addition_time_embed_dim = 4\nprojection_class_embeddings_input_dim = 31\n";
  const std::vector<Input> pooled = {
      prompt, {.name = "pooled_prompt_embeds", .shape = {7}}, {.name = "time_ids", .shape = {6}}};
  std::vector<Input> guided = {prompt, {.name = std::string(inputs::guidance), .dtype = at::kDouble}};
  return {
      {"SD", {small_text + "out_channels = 2\nattention_head_dim = 2\ndropout = 0\n", {2, 8, 8}, {prompt}}},
      {"SDXL", {small_text + sdxl + "out_channels = 2\ntransformer_layers_per_block = [1, 2]\n", {2, 8, 8}, pooled}},
      {"guided", {small_text + "out_channels = 2\nattention_head_dim = 2\n", {2, 8, 8}, guided}},
      {"text with a variance", {small_text + "out_channels = 4\nattention_head_dim = 2\n", {2, 8, 8}, {prompt}}},
      {"plain", {plain, {3, 8, 8}, {}}},
      {"denoiser", {plain, {3, 8, 8}, {}, "denoiser"}},
      {"variance", {plain + "out_channels = 6\n", {3, 8, 8}, {}}},
      {"fourier", {plain + "time_embedding_type = \"fourier\"\nflip_sin_to_cos = false\n", {3, 8, 8}, {}}},
      {"DiT with a variance",
       {small_dit + "out_channels = 6\n", {3, 8, 8}, {{.name = std::string(inputs::labels), .classes = 2}}}},
  };
}

}  // namespace

TEST_CASE("every kind of network that diffusers has is read there and predicts as Retort's does") {
  const std::string python = python_with("diffusers");
  const at::NoGradGuard no_grad;
  for (const Kind& kind : exported_kinds()) {
    CAPTURE(kind.what);
    Folder folder;
    const fs::path run = write_untrained(folder, "run", kind.given), out = folder / "out";
    done("export " + run.string() + " --format diffusers --out " + out.string());
    const fs::path part = out / (fs::exists(out / "unet") ? "unet" : "transformer");
    const Json config = Json::parse(read_text(part / "config.json"));
    CHECK(config["out_channels"] == config["in_channels"]);
    if (kind.given.network.starts_with(small_text)) {
      CHECK(config["reverse_transformer_layers_per_block"].is_null());
      const bool two = kind.what == "SDXL";
      CHECK(spell(config["transformer_layers_per_block"]) == (two ? "[1,2]" : "1"));
      CHECK(config["dropout"] == 0);
      CHECK_FALSE(config["dropout"].is_null());
    }
    CHECK(fs::exists(out / "model_index.json") == kind.given.inputs.empty());
    if (python.empty()) {
      continue;
    }
    const Outgoing model = read(run);
    Trial on = trial(model, 3, 8);
    TensorFile file{{{"x", on.x}, {"t", on.t.to(at::kFloat)}}, {}};
    for (const Input& input : kind.given.inputs) {
      if (input.name != inputs::guidance) {
        file.tensors[input.name] = on.condition[input.name];
      }
    }
    if (kind.what == "guided") {  // what the layer makes of the weights is tested with the network
      on.condition = {};
      on.condition.set("prompt_embeds", file.tensors.at("prompt_embeds"));
    }
    write_safetensors(folder / "given.safetensors", file);
    const Tensor wanted = model.network->forward(on.x, on.t.to(at::kFloat), on.condition).contiguous();
    REQUIRE(most(wanted) > 1e-2);
    write_samples(folder / "expected.safetensors", wanted);
    const Outcome made = in_python(python, "predict " + out.string() + " " + (folder / "given.safetensors").string() +
                                               " " + (folder / "expected.safetensors").string());
    CAPTURE(made.output);
    REQUIRE(made.code == 0);
    CHECK(difference(made) <= 2e-6 * std::max(1.0, most(wanted)));
    CHECK(runs_card(python, out));
    if (kind.given.inputs.empty()) {
      CHECK(contains(in_python(python, "whole " + out.string()).output, "DDPMPipeline gives [2, 3, 8, 8]"));
    }
  }
}

TEST_CASE("--force replaces what an export wrote, and nothing else") {
  Folder folder;
  const Kind kind = exported_kinds()[4];
  const std::string teacher = (folder / "teacher").string();
  const fs::path run =
      write_untrained(folder, "run", kind.given, R"({"teacher": {"type": "diffusers", "folder": ")" + teacher + "\"}}");
  const std::string command = "export " + run.string() + " --format diffusers --force --out ";
  done(command + (folder / "out").string());
  done(command + (folder / "out").string());
  done(command + teacher);  // there was none yet
  const auto kept = [&](const std::string& out, const std::string& part) {
    const Outcome outcome = run_retort(command + out);
    CAPTURE(outcome.output);
    CHECK(one_line(outcome, 2, {part.c_str()}));
  };
  kept(teacher, "/teacher: is what the run reads by its key 'teacher.folder'");
  kept(teacher + "/unet", "is what the run reads by its key 'teacher.folder'");
  kept(folder.string(), "holds the run that is exported");
  // Somebody's own model has the same names, and no mark.
  const fs::path weights = folder / "out" / "unet" / "diffusion_pytorch_model.safetensors";
  TensorFile file = read_safetensors(weights);
  REQUIRE(file.metadata.contains("retort_export"));
  file.metadata.erase("retort_export");
  write_safetensors(weights, file);
  kept((folder / "out").string(), "/out: holds no file that an export of Retort wrote");
  write_text(folder / "out" / "unet" / "notes.txt", "mine");
  kept((folder / "out").string(), "/out: holds 'unet/notes.txt', which no export wrote");
  CHECK(read_text(folder / "out" / "unet" / "notes.txt") == "mine");
}

TEST_CASE("a transformer goes the same way") {
  Folder folder;
  const fs::path run = trained(
      folder, "dit",
      picture_config(steps_of_table, noise_on_steps,
                     "[schedule]\ntype = \"ddpm\"\nsteps = 8\ntotal_steps = 40\n[loss]\ntype = \"ct\"\n" + few_steps,
                     small_dit));
  const fs::path out = folder / "out";
  CHECK(contains(done("export " + run.string() + " --format diffusers --out " + out.string()).output,
                 "DiTTransformer2DModel and LCMScheduler"));
  CHECK(Json::parse(read_text(out / "transformer" / "config.json"))["num_embeds_ada_norm"] == 2);
  const std::string python = python_with("diffusers");
  if (python.empty()) {
    return;
  }
  const Outgoing model = read(run);
  const Tensor grid = model.grid(plain_host());
  const Batch start = start_of(model, grid, 5, 14);
  write_given(folder / "given.safetensors", start, 2, 14, {39, 19});
  write_samples(folder / "expected.safetensors", sample_student(model.model(), sampler_times(grid, 2), start, 5, 14));
  const Outcome made = in_python(python, "pipeline " + out.string() + " " + (folder / "given.safetensors").string() +
                                             " " + (folder / "expected.safetensors").string());
  CAPTURE(made.output);
  REQUIRE(made.code == 0);
  CHECK(difference(made) < 1e-4);
}

TEST_CASE("a denoiser is one that DDIMScheduler samples as Retort's ddim does") {
  Folder folder;
  const fs::path run =
      trained(folder, "denoiser",
              picture_config(steps_of_table, "parametrisation = \"v\"\npreconditioning = \"discrete\"\n",
                             "[schedule]\ntype = \"ddpm\"\nsteps = 8\ntotal_steps = 40\n[solver]\ntype = \"ddim\"\n"
                             "[loss]\ntype = \"denoising\"\n" +
                                 few_steps));
  const fs::path out = folder / "out";
  CHECK(contains(done("export " + run.string() + " --format diffusers --out " + out.string()).output,
                 "UNet2DModel and DDIMScheduler"));
  CHECK(contains(read_text(out / "README.md"), "Its licence has not been stated"));
  const std::string python = python_with("diffusers");
  if (python.empty()) {
    return;
  }
  const Outgoing model = read(run);
  const Tensor grid = model.grid(plain_host());
  const Batch start = start_of(model, grid, 5, 12);
  const ModelTeacher teacher(model.model(), model.spec);
  TestHost host;
  const auto solver = host.make_plugin<Solver>("ddim");
  write_given(folder / "given.safetensors", start, 8, 12, {});
  write_samples(folder / "expected.safetensors", sample_teacher(Ode(teacher), *solver, grid, start, 5, 12));
  const Outcome made = in_python(python, "pipeline " + out.string() + " " + (folder / "given.safetensors").string() +
                                             " " + (folder / "expected.safetensors").string());
  CAPTURE(made.output);
  REQUIRE(made.code == 0);
  CHECK(difference(made) < 1e-4);
}

TEST_CASE("what EDM's scalings stand around is sampled in one step by EDMEulerScheduler") {
  Folder folder;
  const fs::path run = trained(folder, "edm",
                               picture_config("[process]\ntype = \"ve\"\n", "sigma_data = 0.6\n",
                                              "[schedule]\ntype = \"karras\"\nsteps = 6\nsigma_max = 30.0\n[loss]\n"
                                              "type = \"ct\"\n" +
                                                  few_steps));
  const fs::path out = folder / "out";
  CHECK(contains(done("export " + run.string() + " --format diffusers --out " + out.string()).output,
                 "UNet2DModel and EDMEulerScheduler"));
  const std::string python = python_with("diffusers");
  if (python.empty()) {
    return;
  }
  const Outgoing model = read(run);
  const Tensor grid = model.grid(plain_host());
  const Batch start = start_of(model, grid, 5, 13);
  write_given(folder / "given.safetensors", start, 1, 13, {});
  write_samples(folder / "expected.safetensors", sample_student(model.model(), sampler_times(grid, 1), start, 5, 13));
  const Outcome made = in_python(python, "pipeline " + out.string() + " " + (folder / "given.safetensors").string() +
                                             " " + (folder / "expected.safetensors").string());
  CAPTURE(made.output);
  REQUIRE(made.code == 0);
  CHECK(difference(made) < 1e-4);
  CHECK_FALSE(fs::exists(out / "model_index.json"));  // no pipeline begins where this scheduler does
  CHECK(runs_card(python, out));
  // A network that is told a thousand times as much, as consistency models of diffusers are, has no scheduler that
  // makes of it what Retort does.
  const fs::path own = find_export(run.string(), "", "").file, other = folder / "told" / "checkpoints" / own.filename();
  TensorFile told = read_safetensors(own);
  Json about = Json::parse(told.metadata.at("retort"));
  about["model"]["network"]["timestep_scale"] = 1000.0;
  told.metadata["retort"] = spell(about);
  make_folder(other.parent_path());
  write_safetensors(other, told);
  const Outcome cm =
      run_retort("export " + (folder / "told").string() + " --format diffusers --out " + (folder / "again").string());
  CHECK(cm.code == 2);
  CHECK(contains(cm.output, "its network is told 1000.0 times log(sigma) / 4"));
  CHECK_FALSE(fs::exists(folder / "again"));
}

TEST_CASE("a LoRA student's file, loaded on the exported teacher, makes the merged student") {
  Folder folder;
  const std::string grid = "[schedule]\ntype = \"ddpm\"\nsteps = 8\ntotal_steps = 40\n[solver]\ntype = \"ddim\"\n";
  const fs::path teacher =
      trained(folder, "teacher",
              picture_config(steps_of_table, noise_on_steps, grid + "[loss]\ntype = \"denoising\"\n" + few_steps));
  const std::string checkpoint = (teacher / "checkpoints" / "step_000008.safetensors").string();
  write_text(folder / "student.toml",
             "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"image_folder\"\nfolder = \"" + source_dir() +
                 "/tests/fixtures/picture_sets/plain\"\nsize = 8\n[teacher]\ntype = \"network\"\ncheckpoint = \"" +
                 checkpoint + "\"\n[student]\ninit = \"teacher\"\nadapter = \"lora\"\nrank = 4\nalpha = 6.0\n" + grid +
                 "[loss]\ntype = \"cm\"\n" + few_steps);
  const fs::path run = folder / "student";
  done("run " + (folder / "student.toml").string() + " run.output=" + run.string());
  const std::string base = (folder / "base").string();
  done("export " + teacher.string() + " --format diffusers --out " + base);
  const std::string merged = (run / "checkpoints" / "step_000008.safetensors").string();
  const Tensor before = read_safetensors(checkpoint).tensors.at("conv_in.weight"),
               after = read_safetensors(merged).tensors.at("conv_in.weight");
  REQUIRE(most(after - before) > 1e-3);
  const std::string out = (folder / "adapter").string();
  CHECK(contains(done("export " + run.string() + " --format diffusers --lora --out " + out).output,
                 "into UNet2DModel PEFT does, with --keys peft"));
  const std::string own = " --format diffusers --lora --force --keys peft --out ";
  CHECK(contains(done("export " + run.string() + own + out).output, "of rank 4"));
  const std::string python = python_with("diffusers peft");
  if (python.empty()) {
    return;
  }
  const Outcome made = in_python(python, "peft " + base + " " + out + " " + merged);
  CAPTURE(made.output);
  REQUIRE(made.code == 0);
  CHECK(difference(made) < 1e-5);
}

TEST_CASE("LoRA files in all three forms, loaded by diffusers and by PEFT, change a U-Net of text as Retort does") {
  Folder folder;
  const std::string base = source_dir() + "/tests/fixtures/diffusers/text";
  std::map<std::string, Tensor> weights = read_safetensors(base + "/unet/diffusion_pytorch_model.safetensors").tensors;
  TensorFile adapter;
  uint64_t seed = 0;
  for (const auto& [name, weight] : weights) {
    const std::string module = low_rank_module(name);
    static constexpr const char* targets[] = {"to_q", "to_out.0", "conv1", "proj_in", "ff.net.2", "conv_shortcut"};
    const bool changed =
        std::any_of(std::begin(targets), std::end(targets), [&](const char* end) { return module.ends_with(end); });
    if (!name.ends_with(".weight") || !changed) {
      continue;
    }
    std::vector<int64_t> a = weight.sizes().vec(), b(a.size(), 1);
    b[0] = a[0];
    a[0] = b[1] = 2;
    adapter.tensors[low_rank_name(name, 'A')] = normal(a, ++seed).to(at::kFloat);
    adapter.tensors[low_rank_name(name, 'B')] = normal(b, ++seed).to(at::kFloat);
  }
  REQUIRE(adapter.tensors.size() > 10);
  adapter.metadata["retort"] = R"({"adapter": {"scale": 0.7}})";
  write_safetensors(folder / "a.adapter.safetensors", adapter);
  merge_low_rank(weights, adapter.tensors, 0.7, "here");
  write_safetensors(folder / "merged.safetensors", {weights, {}});
  const std::string merged = (folder / "merged.safetensors").string();
  const std::string python = python_with("diffusers peft");
  for (const auto& [keys, name] : {std::pair(LoraKeys::diffusers, "diffusers"), std::pair(LoraKeys::kohya, "kohya"),
                                   std::pair(LoraKeys::peft, "peft")}) {
    CAPTURE(name);
    const std::string out = (folder / name).string();
    CHECK(write_lora(folder / "a.adapter.safetensors", "unet", keys, 0, out).modules ==
          static_cast<int64_t>(adapter.tensors.size() / 2));
    if (python.empty()) {
      continue;
    }
    const Outcome made = in_python(
        python, keys == LoraKeys::peft ? "peft " + base + " " + out + " " + merged
                                       : "lora " + base + " " + out + "/pytorch_lora_weights.safetensors " + merged);
    CAPTURE(made.output);
    REQUIRE(made.code == 0);
    CHECK(difference(made) < 1e-4);
  }
}

TEST_CASE("Python's torch runs the TorchScript file of a class-conditional student") {
  Folder folder;
  const std::string python = python_with("torch safetensors");
  if (python.empty()) {
    return;
  }
  const fs::path run = trained(
      folder, "lcm",
      picture_config(steps_of_table, noise_on_steps,
                     "[schedule]\ntype = \"ddpm\"\nsteps = 8\ntotal_steps = 40\n[loss]\ntype = \"ct\"\n" + few_steps));
  const std::string file = (folder / "student.pt").string();
  done("export " + run.string() + " --format torchscript --out " + file);
  const Outgoing model = read(run);
  const Trial on = trial(model, 6, 21);
  const at::NoGradGuard no_grad;
  write_safetensors(folder / "given.safetensors",
                    {{{"x", on.x}, {"t", on.t}, {"labels", on.condition[inputs::labels]}}, {}});
  write_samples(folder / "expected.safetensors", model.model().endpoint(on.x, on.t, on.condition));
  const Outcome made = in_python(python, "script " + file + " " + (folder / "given.safetensors").string() + " " +
                                             (folder / "expected.safetensors").string());
  CAPTURE(made.output);
  REQUIRE(made.code == 0);
  CHECK(difference(made) < 1e-5);
}

TEST_CASE("ONNX Runtime gives what a TorchScript file gives, for batches of any size") {
  if (python_with("torch onnx onnxruntime").empty()) {
    return;
  }
  Folder folder;
  const std::string run = (folder / "run").string(), file = (folder / "student.onnx").string();
  done("run " + mixture + "run.output=" + run);
  const Outcome out = done("export " + run + " --format onnx --out " + file);  // which holds the two against each other
  CHECK(contains(out.output, "done, with a largest difference of"));
  CHECK(contains(out.output, "in onnxruntime"));
  CHECK(fs::file_size(file) > 500);
  CHECK(std::distance(fs::directory_iterator(folder.string()), {}) == 2);
}
