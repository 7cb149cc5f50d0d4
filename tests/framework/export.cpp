// Students on their way to other programs: TorchScript around any network, LoRA files, schedulers of diffusers.
#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "config/experiment.h"
#include "export/folder.h"
#include "export/lora.h"
#include "export/outgoing.h"
#include "export/pipeline.h"
#include "export/scheduler.h"
#include "export/torchscript.h"
#include "io/files.h"
#include "io/json.h"
#include "io/low_rank.h"
#include "io/safetensors.h"
#include "support/support.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// A student that was never trained, as a training would have left it.
struct Given {
  std::string network = "\"type\": \"mlp\", \"width\": 8, \"depth\": 1";
  std::string process = "\"type\": \"ve\"";
  std::string parametrisation = "edm", preconditioning = "auto", objective = "consistency model";
  std::string boundary = "\"boundary\": \"edm\"";
  std::vector<int64_t> shape = {2};
  int64_t classes = 0;
  std::vector<std::string> inputs;  // float64 numbers, one a row
  std::string more;                 // further tables of the experiment
};

std::string inputs_of(const Given& given) {
  Json out = Json::array();
  for (const std::string& name : given.inputs) {
    out.push_back({{"name", name}, {"type", "float64"}, {"shape", Json::array()}, {"classes", 0}, {"null", 0.0}});
  }
  return spell(out);
}

fs::path write_student(const Folder& folder, const Given& given, const std::string& name = "step_000007.safetensors") {
  Json model = Json::parse("{\"network\": {" + given.network + "}, \"process\": {" + given.process + "}, " +
                           given.boundary + "}");
  model["parametrisation"] = given.parametrisation;
  model["sigma_data"] = 0.7;
  model["preconditioning"] = given.preconditioning;
  model["shape"] = given.shape;
  model["classes"] = given.classes;
  model["guided"] = false;
  if (!given.inputs.empty()) {
    model["inputs"] = Json::parse(inputs_of(given));
  }
  model["objective"] = given.objective;
  Json all = {{"model", model},
              {"experiment", Json::parse("{\"student\": {" + given.boundary + "}" +
                                         (given.more.empty() ? "" : ", " + given.more) + "}")},
              {"training", {{"step", 7}}}};
  // Weights of a network that was built for this.
  std::vector<Input> list = label_inputs(given.classes);
  for (const std::string& input : given.inputs) {
    list.push_back({.name = input, .dtype = at::kDouble});
  }
  TestHost host("type = \"ve\"", {given.shape, list});
  const Value table = from_json(model["network"], "test");
  Params p(table, "network", &host);
  at::manual_seed(3);
  const std::string type = p.get("type", "", "");
  const auto network = static_cast<Host&>(host).make<Network>(type, p);
  TensorFile file;
  for (const auto& parameter : network->module()->named_parameters()) {
    file.tensors[parameter.key()] = at::randn_like(parameter.value()) * 0.3;
  }
  file.metadata = {{"format", "pt"}, {"retort", spell(all)}};
  make_folder(folder / "run" / "checkpoints");
  const fs::path path = folder / "run" / "checkpoints" / name;
  write_safetensors(path, file);
  return path;
}

Experiment& host() {
  static const Value none;
  static Experiment one(none, "export", registry(), Parts::solving);
  return one;
}

Outgoing read(const fs::path& path) { return Outgoing(host(), registry(), {path.parent_path().parent_path(), path}); }

struct Named {
  std::string what;
  Given given;
};

const std::string table =
    "\"type\": \"betas\", \"num_train_timesteps\": 20, \"beta_schedule\": \"linear\", "
    "\"beta_start\": 0.01, \"beta_end\": 0.4";

std::vector<Named> kinds() {
  std::vector<Named> out;
  const auto add = [&](const std::string& what, const std::string& process, const std::string& form,
                       const std::string& boundary = "\"boundary\": \"edm\"", const std::string& sees = "auto") {
    Given given;
    given.process = process;
    given.parametrisation = form;
    given.boundary = boundary;
    given.preconditioning = sees;
    out.push_back({what, given});
  };
  const std::string scaled = "\"boundary\": \"time_scaled\", \"time_scale\": 3.0";
  const std::string shifted = "\"boundary\": \"sigma_shifted\", \"sigma_min\": 0.1";
  for (const char* form : {"noise", "v", "data", "edm", "flow"}) {
    const std::string boundary = std::string(form) == "data" ? scaled : "\"boundary\": \"edm\"";
    add(std::string("ve, ") + form, "\"type\": \"ve\"", form, boundary);
    add(std::string("vp_linear, ") + form, "\"type\": \"vp_linear\", \"beta_min\": 0.2, \"beta_max\": 15.0", form,
        boundary);
    add(std::string("vp_cosine, ") + form, "\"type\": \"vp_cosine\"", form, boundary);
    add(std::string("trigonometric, ") + form, "\"type\": \"trigonometric\"", form, boundary);
    add(std::string("rectified_flow, ") + form, "\"type\": \"rectified_flow\"", form, boundary);
    add(std::string("betas, ") + form, table, form, boundary, "discrete");
  }
  add("vp_scaled_linear", "\"type\": \"vp_scaled_linear\", \"beta_min\": 0.00085, \"beta_max\": 0.012", "v");
  add("a table that ends at no signal", table + ", \"rescale_betas_zero_snr\": true", "v");
  add("a flow on a table that ends at no signal", table + ", \"rescale_betas_zero_snr\": true", "flow");
  add("sigma_shifted", "\"type\": \"ve\"", "edm", shifted);
  add("sigma_shifted on a table", table, "noise", shifted, "discrete");
  add("time_scaled on a table", table, "noise", scaled, "discrete");
  add("what EDM sees on another process", "\"type\": \"vp_linear\", \"beta_min\": 0.1, \"beta_max\": 20.0", "v",
      "\"boundary\": \"edm\"", "edm");
  for (const char* objective : {"denoiser", "flow map", "one-step generator"}) {
    add(objective, table, "noise", "\"boundary\": \"edm\"", "discrete");
    out.back().given.objective = objective;
  }
  add("a flow map of two times", "\"type\": \"rectified_flow\"", "flow");
  out.back().given.objective = "flow map";
  out.back().given.inputs = {"end_time"};
  add("classes", "\"type\": \"ve\"", "edm");
  out.back().given.classes = 4;
  return out;
}

Tensor called(torch::jit::Module& module, const Outgoing& model, const Trial& on) {
  std::vector<c10::IValue> given = {on.x, on.t};
  if (model.makes == Makes::flow_map) {
    given.emplace_back(on.s);
  }
  for (const auto& [name, rows] : on.condition) {
    given.emplace_back(rows);
  }
  return module.forward(given).toTensor();
}

}  // namespace

TEST_CASE("a TorchScript file is the student, on every process and with every prediction and boundary") {
  Folder folder;
  const at::NoGradGuard no_grad;
  for (const Named& kind : kinds()) {
    CAPTURE(kind.what);
    const Outgoing model = read(write_student(folder, kind.given));
    write_torchscript(model, false, folder / "student.pt");
    torch::jit::Module module = torch::jit::load((folder / "student.pt").string());
    Trial on = trial(model, 7, 50);
    if (model.process.steps() > 0) {  // also between the steps, and at the last, where alpha may be 0
      on.t = times({20, 19.6, 1, 1.3, 7.5, 12, 3});
      on.t = model.process.t_max() > 100 ? on.t * 50 : on.t;
      on.s = on.t * 0.5;
    }
    const Tensor wanted = model.model().endpoint(on.x, on.t, on.condition, on.s);
    REQUIRE(wanted.isfinite().all().item<bool>());
    REQUIRE(most(wanted) > 1e-3);
    CHECK(most(called(module, model, on) - wanted) <= 2e-6 * std::max(1.0, most(wanted)));
    // A time is as good as a row of them.
    if (model.makes != Makes::flow_map) {
      Trial same = on;
      const double one = model.process.t_max() * 0.3125;
      same.t = at::full({7}, one, at::kDouble);
      std::vector<c10::IValue> given = {on.x, at::scalar_tensor(one, at::kDouble)};
      for (const auto& [name, rows] : on.condition) {
        given.emplace_back(rows);
      }
      CHECK(at::equal(module.forward(given).toTensor(), called(module, model, same)));
    }
  }
}

TEST_CASE("a traced network takes batches of any size, although its trace saw two") {
  Folder folder;
  const at::NoGradGuard no_grad;
  Given given;
  given.network = "\"type\": \"unet\", \"widths\": [16, 32], \"attention\": [1], \"patch\": 2";
  given.shape = {2, 16, 16};
  given.classes = 3;
  const Outgoing model = read(write_student(folder, given));
  const ScriptExport made = write_torchscript(model, false, folder / "student.pt");
  CHECK(made.arguments == std::vector<std::string>{"x", "sigma", "labels"});
  torch::jit::Module module = torch::jit::load((folder / "student.pt").string());
  for (const int64_t rows : {1, 2, 3, 6, 13}) {
    CAPTURE(rows);
    const Trial on = trial(model, rows, 9);
    const Tensor wanted = model.model().endpoint(on.x, on.t, on.condition);
    CHECK(most(called(module, model, on) - wanted) <= 2e-6 * most(wanted));
  }
}

TEST_CASE("the network alone keeps the names of its weights, and the file says what it is of") {
  Folder folder;
  const at::NoGradGuard no_grad;
  Given given;
  given.more = "\"run\": {\"name\": \"mine\"}";
  const fs::path path = write_student(folder, given);
  const Outgoing model = read(path);
  CHECK(write_torchscript(model, true, folder / "raw.pt").arguments == std::vector<std::string>{"x", "c_noise"});
  torch::jit::ExtraFilesMap files = {{"retort.json", ""}};
  const torch::jit::Module raw = torch::jit::load((folder / "raw.pt").string(), std::nullopt, files);
  std::map<std::string, Tensor> kept = read_safetensors(path).tensors;
  size_t found = 0;
  for (const auto& parameter : raw.named_parameters()) {
    CAPTURE(parameter.name);
    REQUIRE(kept.contains(parameter.name));
    CHECK(at::equal(parameter.value, kept.at(parameter.name)));
    ++found;
  }
  CHECK(found == kept.size());
  const Json about = Json::parse(files["retort.json"]);
  CHECK(about["model"]["process"]["type"] == "ve");
  CHECK(about["config"]["run"]["name"] == "mine");
  CHECK(about["config_sha256"] == sha256_of_text(spell(about["config"])));
  CHECK(about["checkpoint_sha256"] == sha256_of_file(path));
}

TEST_CASE("a network that decides by its numbers is refused, and leaves no file") {
  Folder folder;
  write_foreign_script(folder / "net.pt", /*branches=*/true);
  Given given;
  given.network = "\"type\": \"torchscript\", \"file\": \"" + (folder / "net.pt").string() + "\"";
  given.shape = {16, 4, 4};
  const Outgoing model = read(write_student(folder, given));
  const std::string error = request_error([&] { write_torchscript(model, false, folder / "student.pt"); });
  CHECK(contains(error, "step_000007.safetensors: what was made of it differs from it"));
  CHECK_FALSE(fs::exists(folder / "student.pt"));
  CHECK(std::distance(fs::directory_iterator(folder.string()), {}) == 2);  // net.pt and run
  given.network = "\"type\": \"mlp\", \"width\": 8, \"depth\": 1";
  given.shape = {2};
  given.objective = "policy";
  CHECK(contains(request_error([&] { write_torchscript(read(write_student(folder, given)), false, folder / "p.pt"); }),
                 "--raw writes its network"));
}

TEST_CASE("the checkpoint of a run is that of its last step, and what is not there is named with its nearest") {
  Folder folder;
  const Given given;
  write_student(folder, given, "step_000007.safetensors");
  write_student(folder, given, "step_1000000.safetensors");
  write_student(folder, given, "step_000500.safetensors");
  write_student(folder, given, "step_2000000.adapter.safetensors");
  const std::string run = (folder / "run").string();
  CHECK(find_export(run, "", "").file.filename() == "step_1000000.safetensors");
  CHECK(find_export(run, "", "step_000500").file.filename() == "step_000500.safetensors");
  CHECK(find_export(run + "/checkpoints/step_000007.safetensors", "", "").run == run);
  CHECK(contains(request_error([&] { find_export(run, "", "step_000501"); }), "did you mean 'step_000500'?"));
  CHECK(contains(request_error([&] { find_export(folder.string() + "/runn", "", ""); }),
                 "/runn: no such folder; did you mean '" + run + "'?"));
  CHECK(contains(request_error([&] { find_export(run, "cm", ""); }), "is a single run"));
  for (const char* cell : {"cm", "direct_cm"}) {
    make_folder(folder / "sweep" / "cells" / cell);
  }
  const std::string sweep = (folder / "sweep").string();
  CHECK(
      contains(request_error([&] { find_export(sweep, "", ""); }), "is a sweep of 2 cells; --cell names one of 'cm'"));
  CHECK(contains(request_error([&] { find_export(sweep, "direct_mc", ""); }), "did you mean 'direct_cm'?"));
  CHECK(contains(request_error([&] { find_export(sweep, "cm", ""); }), "cells/cm: holds no checkpoint"));
}

namespace {

// An adapter of a linear layer and a convolution, of rank 3 and scale 1.5.
std::map<std::string, Tensor> write_adapter(const fs::path& path) {
  TensorFile file;
  file.tensors["down.0.conv.lora_A.weight"] = normal({3, 4, 3, 3}, 1).to(at::kFloat);
  file.tensors["down.0.conv.lora_B.weight"] = normal({5, 3, 1, 1}, 2).to(at::kFloat);
  file.tensors["to_q.lora_A.weight"] = normal({3, 6}, 3).to(at::kFloat);
  file.tensors["to_q.lora_B.weight"] = normal({7, 3}, 4).to(at::kFloat);
  file.metadata["retort"] = R"({"adapter": {"scale": 1.5}, "model": {"network": {"type": "mlp"}}})";
  write_safetensors(path, file);
  return file.tensors;
}

Tensor change(const Tensor& a, const Tensor& b, double scale) {
  return low_rank_change(a.to(at::kDouble), b.to(at::kDouble), scale);
}

}  // namespace

TEST_CASE("LoRA files say the same change in the names of diffusers, PEFT and kohya") {
  Folder folder;
  const auto factors = write_adapter(folder / "a.adapter.safetensors");
  const auto wanted = [&](const std::string& module) {
    return change(factors.at(module + ".lora_A.weight"), factors.at(module + ".lora_B.weight"), 1.5);
  };
  const LoraExport made = write_lora(folder / "a.adapter.safetensors", "unet", LoraKeys::diffusers, 0, folder / "d");
  CHECK(made.modules == 2);
  CHECK(made.rank == 3);
  const TensorFile own = read_safetensors(folder / "d" / "pytorch_lora_weights.safetensors");
  CHECK(own.metadata.at("format") == "pt");
  REQUIRE(own.tensors.size() == 4);
  write_lora(folder / "a.adapter.safetensors", "unet", LoraKeys::kohya, 0, folder / "k.safetensors");
  const TensorFile kohya = read_safetensors(folder / "k.safetensors");
  REQUIRE(kohya.tensors.size() == 6);
  write_lora(folder / "a.adapter.safetensors", "unet", LoraKeys::peft, 0, folder / "p");
  const TensorFile peft = read_safetensors(folder / "p" / "adapter_model.safetensors");
  const Json config = Json::parse(read_text(folder / "p" / "adapter_config.json"));
  CHECK(config["r"] == 3);
  CHECK(config["lora_alpha"] == 4.5);
  CHECK(config["target_modules"] == Json({"down.0.conv", "to_q"}));
  for (const std::string& module : {std::string("down.0.conv"), std::string("to_q")}) {
    CAPTURE(module);
    const Tensor of_diffusers = change(own.tensors.at("unet." + module + ".lora_A.weight"),
                                       own.tensors.at("unet." + module + ".lora_B.weight"), 1);
    CHECK(most(of_diffusers - wanted(module)) < 1e-5);
    std::string name = "lora_unet_" + module;
    std::replace(name.begin() + 10, name.end(), '.', '_');
    const Tensor down = kohya.tensors.at(name + ".lora_down.weight");
    const double scale = kohya.tensors.at(name + ".alpha").item<double>() / static_cast<double>(down.size(0));
    CHECK(kohya.tensors.at(name + ".alpha").dim() == 0);
    CHECK(most(change(down, kohya.tensors.at(name + ".lora_up.weight"), scale) - wanted(module)) < 1e-5);
    const std::string place = "base_model.model." + module;
    CHECK(most(change(peft.tensors.at(place + ".lora_A.weight"), peft.tensors.at(place + ".lora_B.weight"), 4.5 / 3) -
               wanted(module)) < 1e-5);
  }
}

TEST_CASE("the change of an embedding has PEFT's own form, and none in kohya's") {
  Folder folder;
  TensorFile file;
  file.tensors["class_embedding.lora_A.weight"] = normal({2, 6}, 1).to(at::kFloat);
  file.tensors["class_embedding.lora_B.weight"] = normal({9, 2}, 2).to(at::kFloat);
  file.metadata["retort"] = R"({"adapter": {"scale": 2.0}})";
  const fs::path path = folder / "a.adapter.safetensors";
  write_safetensors(path, file);
  write_lora(path, "unet", LoraKeys::diffusers, 0, folder / "d.safetensors");
  const auto tensors = read_safetensors(folder / "d.safetensors").tensors;
  const Tensor a = tensors.at("unet.class_embedding.lora_embedding_A"),
               b = tensors.at("unet.class_embedding.lora_embedding_B");
  const Tensor wanted =
      change(file.tensors.at("class_embedding.lora_A.weight"), file.tensors.at("class_embedding.lora_B.weight"), 2);
  CHECK(most(at::mm(b, a).t() - wanted) < 1e-5);
  CHECK(contains(request_error([&] { write_lora(path, "unet", LoraKeys::kohya, 0, folder / "k.safetensors"); }),
                 "changes the embedding 'class_embedding'"));
}

TEST_CASE("an adapter of smaller rank is the nearest there is, and one of its own rank or more is itself") {
  Folder folder;
  const auto factors = write_adapter(folder / "a.adapter.safetensors");
  const Tensor whole = change(factors.at("to_q.lora_A.weight"), factors.at("to_q.lora_B.weight"), 1.5);
  const auto of_rank = [&](int64_t rank, double& lost) {
    const fs::path out = folder / ("r" + std::to_string(rank) + ".safetensors");
    const LoraExport made = write_lora(folder / "a.adapter.safetensors", "unet", LoraKeys::diffusers, rank, out);
    CHECK(made.rank == std::min<int64_t>(rank, 3));
    lost = made.lost;
    const auto tensors = read_safetensors(out).tensors;
    return change(tensors.at("unet.to_q.lora_A.weight"), tensors.at("unet.to_q.lora_B.weight"), 1);
  };
  double lost = 0;
  CHECK(most(of_rank(5, lost) - whole) < 1e-5);
  CHECK(lost < 1e-12);
  // The error of the best approximation: the singular values that are left out (Eckart & Young 1936).
  const Tensor values = at::linalg_svdvals(whole);
  const Tensor smaller = of_rank(2, lost);
  CHECK((smaller - whole).norm().item<double>() == doctest::Approx(values[2].item<double>()).epsilon(1e-4));
  CHECK(lost > 0);
  CHECK(lost < 1);
}

TEST_CASE("what is written as a folder replaces what stood there, or leaves it as it was") {
  Folder folder;
  write_folder(folder / "out", [](const fs::path& here) { write_text(here / "a", "1"); });
  CHECK_THROWS(write_folder(folder / "out", [](const fs::path& here) {
    write_text(here / "b", "2");
    throw Error("no");
  }));
  CHECK(read_text(folder / "out" / "a") == "1");
  write_folder(folder / "out" / "", [](const fs::path& here) { write_text(here / "b", "2"); });
  CHECK(read_text(folder / "out" / "b") == "2");
  CHECK_FALSE(fs::exists(folder / "out" / "a"));
  CHECK(std::distance(fs::directory_iterator(folder.string()), {}) == 1);
}

namespace {

Given on_a_table(const std::string& objective) {
  Given given;
  given.process = table;
  given.parametrisation = "noise";
  given.preconditioning = "discrete";
  given.objective = objective;
  return given;
}

ExportedScheduler scheduler_of(const Folder& folder, const Given& given) {
  const Outgoing model = read(write_student(folder, given));
  return scheduler_for(model, model.grid(host()), {1, 2, 4});
}

}  // namespace

TEST_CASE("a consistency model on a table is LCMScheduler's, with its own times as timesteps") {
  Folder folder;
  Given given = on_a_table("consistency model");
  given.boundary = "\"boundary\": \"time_scaled\", \"time_scale\": 12.0";
  given.more = "\"schedule\": {\"type\": \"ddpm\", \"steps\": 5, \"total_steps\": 20}";
  const ExportedScheduler made = scheduler_of(folder, given);
  CHECK(made.name == "LCMScheduler");
  CHECK(made.config["timestep_scaling"] == 12.0);
  CHECK(made.config["original_inference_steps"] == 5);
  CHECK(made.config["prediction_type"] == "epsilon");
  CHECK(made.config["beta_start"] == 0.01);
  CHECK(made.config["num_train_timesteps"] == 20);
  REQUIRE(made.timesteps.size() == 3);
  CHECK(made.timesteps[0].second == std::vector<int64_t>{19});
  CHECK(made.timesteps[2].second.size() == 4);
  // Of five, the third and the fourth part of the way are rounded otherwise there: both lists are said.
  const auto said = [](const ExportedScheduler& of, const std::string& part) {
    return std::any_of(of.differences.begin(), of.differences.end(), [&](const auto& d) { return contains(d, part); });
  };
  CHECK(said(made, "in 2 steps Retort takes the timesteps " + std::string("[19, 7], and set_timesteps(2) of "
                                                                          "LCMScheduler takes [19, 11]")));
  // r = 12 (timestep + 1) against 12 timestep: at 7 or 3 that is seen, and said.
  CHECK(said(made, "count time from 0 and not from 1"));
  // Without boundary terms nothing differs where the parts are whole.
  given.boundary = "\"boundary\": \"edm\"";
  given.more = "\"schedule\": {\"type\": \"ddpm\", \"steps\": 4, \"total_steps\": 20}";
  CHECK(scheduler_of(folder, given).differences.empty());
  given.more = "\"schedule\": {\"type\": \"ddpm\", \"steps\": 20, \"total_steps\": 20, \"final_zero\": false}";
  CHECK(said(scheduler_of(folder, given), "ends at t = 1.0"));
}

TEST_CASE("a table without a name is written as its betas") {
  Folder folder;
  Given given = on_a_table("consistency model");
  given.process = "\"type\": \"alphas_cumprod\", \"alphas_cumprod\": [0.9, 0.45, 0.09]";
  const Json betas = scheduler_of(folder, given).config["trained_betas"];
  REQUIRE(betas.size() == 3);
  CHECK(betas[0].get<double>() == doctest::Approx(0.1));
  CHECK(betas[1].get<double>() == doctest::Approx(0.5));
  CHECK(betas[2].get<double>() == doctest::Approx(0.8));
}

TEST_CASE("a denoiser on a table is DDIMScheduler's, with the spacing that its grid has") {
  Folder folder;
  Given given = on_a_table("denoiser");
  const auto spaced = [&](const std::string& keys) {
    given.more = "\"schedule\": {\"type\": \"ddpm\", \"total_steps\": 20, " + keys + "}";
    return scheduler_of(folder, given);
  };
  CHECK(spaced("\"steps\": 5").config["timestep_spacing"] == "trailing");
  CHECK(spaced("\"steps\": 5").differences.empty());
  const ExportedScheduler leading = spaced("\"steps\": 5, \"spacing\": \"leading\", \"steps_offset\": 1");
  CHECK(leading.name == "DDIMScheduler");
  CHECK(leading.config["timestep_spacing"] == "leading");
  CHECK(leading.config["steps_offset"] == 1);
  CHECK(contains(spaced("\"steps\": 7, \"spacing\": \"linspace\"").differences.at(0), "none of DDIMScheduler's"));
}

TEST_CASE("the solver of a denoiser is a difference where it is not the scheduler's own") {
  Folder folder;
  Given given = on_a_table("denoiser");
  const auto solved = [&](const std::string& type) {
    given.more = "\"schedule\": {\"type\": \"ddpm\", \"total_steps\": 20, \"steps\": 5}, \"solver\": {\"type\": \"" +
                 type + "\"}";
    return scheduler_of(folder, given).differences;
  };
  CHECK(solved("ddim").empty());
  CHECK(contains(solved("heun").at(0), "sampled it by the solver \"heun\""));
}

TEST_CASE("a network's class of diffusers is that of its page, in diffusers' own letters") {
  // What from_pretrained looks up: another spelling would be found by nobody.
  CHECK(diffusers_class(registry(), "unet_2d") == "UNet2DModel");
  CHECK(diffusers_class(registry(), "unet_2d_condition") == "UNet2DConditionModel");
  CHECK(diffusers_class(registry(), "dit_transformer_2d") == "DiTTransformer2DModel");
  CHECK(diffusers_class(registry(), "autoencoder_kl") == "AutoencoderKL");
  CHECK(diffusers_class(registry(), "autoencoder_tiny") == "AutoencoderTiny");
  for (const std::string& name : registry().names(Network::kind)) {
    CAPTURE(name);
    const bool known = name.find("_2d") != std::string::npos || name.starts_with("autoencoder_");
    CHECK(diffusers_class(registry(), name).empty() != known);
  }
  CHECK(diffusers_class(registry(), "no_such_network").empty());
}

TEST_CASE("what EDM's scalings stand around has a scheduler where its network is told what that tells") {
  Folder folder;
  Given given;
  CHECK(scheduler_of(folder, given).name == "EDMEulerScheduler");
  given.parametrisation = "v";
  given.process = "\"type\": \"vp_linear\", \"beta_min\": 0.1, \"beta_max\": 20.0";
  const std::string error = request_error([&] { scheduler_of(folder, given); });
  CHECK(contains(error, "is told t / t_max"));
  CHECK(contains(error, "--format torchscript"));
  given = on_a_table("flow map");
  CHECK(contains(request_error([&] { scheduler_of(folder, given); }), "is a flow map"));
  given = on_a_table("consistency model");
  given.parametrisation = "edm";
  CHECK(contains(request_error([&] { scheduler_of(folder, given); }), "predicts 'edm' on a table"));
}
