#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <system_error>

#include "cli/commands.h"
#include "config/experiment.h"
#include "config/reads.h"
#include "config/toml.h"
#include "export/autoencoder.h"
#include "export/folder.h"
#include "export/lora.h"
#include "export/onnx.h"
#include "export/outgoing.h"
#include "export/pipeline.h"
#include "export/torchscript.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "log.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct ExportRequest {
  std::string run, cell, checkpoint, format, out, keys, licence = "unknown";
  bool raw = false, lora = false, half = false, force = false;
  int64_t rank = 0;
  double scaling_factor = 0;
};

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) {
    out.push_back(word);
  }
  return out;
}

// One of the words of a list, or an error that says which it may be.
void check_word(const char* option, const std::string& word, const std::string& list) {
  const std::vector<std::string> known = words(list);
  if (std::find(known.begin(), known.end(), word) != known.end()) {
    return;
  }
  std::string all;
  for (const std::string& one : known) {
    all += (all.empty() ? "" : ", ") + one;
  }
  throw RequestError(std::string(option) + ": is '" + word + "'" + did_you_mean(word, known) + "; expected one of " +
                     all);
}

bool writes_folder(const ExportRequest& request) {
  return request.format.starts_with("diff") && !(request.lora && fs::path(request.out).extension() == ".safetensors");
}

bool is_marked(const fs::path& file) {
  try {
    return read_metadata(file).contains(export_mark);
  } catch (const RequestError&) {
    return false;
  }
}

// What stands in a folder and was not written by an export; empty where there is nothing of that kind. `marked` is set
// where a file of weights says that an export wrote it.
std::string foreign_entry(const fs::path& folder, bool& marked, const std::string& within = "") {
  const std::vector<std::string> own = words(
      "unet/ transformer/ scheduler/ model_index.json README.md pytorch_lora_weights.safetensors "
      "adapter_model.safetensors adapter_config.json config.json diffusion_pytorch_model.safetensors "
      "unet/config.json unet/diffusion_pytorch_model.safetensors "
      "transformer/config.json transformer/diffusion_pytorch_model.safetensors scheduler/scheduler_config.json");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const bool inner = entry.is_directory() && !entry.is_symlink();
    const std::string name = within + entry.path().filename().string() + (inner ? "/" : "");
    if (std::find(own.begin(), own.end(), name) == own.end()) {
      return name;
    }
    if (const std::string other = inner ? foreign_entry(entry.path(), marked, name) : ""; !other.empty()) {
      return other;
    }
    marked = marked || (name.ends_with(".safetensors") && is_marked(entry.path()));
  }
  return "";
}

// Refuses to replace what the model was made of.
void check_not_read(const ExportRequest& request, const ExportedFile& place) {
  if (lies_in(place.file, request.out) || (!place.run.empty() && lies_in(place.run, request.out))) {
    throw RequestError(request.out + ": holds the run that is exported; choose another --out");
  }
  const Value config = read_checkpoint_config(place.file.string());
  const Value* tables = config.find("experiment");
  if (tables == nullptr) {
    return;
  }
  for (const auto& [table, value] : tables->table()) {
    const bool writes = table == "run" || table == Tracker::kind;  // folders of what the run made
    if (const std::string key = writes ? "" : key_that_reads(value, table, request.out); !key.empty()) {
      throw RequestError(request.out + ": is what the run reads by its key '" + key + "'; choose another --out");
    }
  }
}

void check_place(const ExportRequest& request, const ExportedFile& place) {
  if (!fs::exists(request.out)) {
    return;
  }
  const bool folder = fs::is_directory(request.out);
  if (folder != writes_folder(request)) {
    throw RequestError(
        request.out +
        (folder ? ": is a folder, and a file would be written" : ": is a file, and a folder would be written") +
        "; choose another --out");
  }
  if (!request.force) {
    throw RequestError(request.out + ": exists already; --force replaces it, or choose another --out");
  }
  check_not_read(request, place);
  if (!folder || fs::is_empty(request.out)) {
    return;
  }
  bool marked = false;
  if (const std::string other = foreign_entry(request.out, marked); !other.empty()) {
    throw RequestError(request.out + ": holds '" + other + "', which no export wrote; choose another --out");
  }
  if (!marked) {
    throw RequestError(request.out + ": holds no file that an export of Retort wrote; choose another --out");
  }
}

void make_way(const ExportRequest& request) {
  if (const fs::path parent = fs::path(request.out).parent_path(); !parent.empty()) {
    make_folder(parent);
  }
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    out += (out.empty() ? "" : ", ") + part;
  }
  return out;
}

// The configuration that reads an exported module as a teacher; empty where none says how it is to be called.
std::string as_teacher(const ExportRequest& request, const Outgoing& model, const ScriptExport& made) {
  const bool told = model.spec.has(inputs::guidance) || model.spec.has(inputs::end_time);
  if (!makes_samples(model.makes) || model.makes == Makes::flow_map || model.makes == Makes::policy ||
      (request.raw && told) || (request.raw && model.spec.outputs > 1)) {
    return "";
  }
  Value out;
  out["process"] = model.process.to_value();
  Value& teacher = out["teacher"];
  teacher["type"] = Value{request.format, {}};
  teacher["file"] = Value{fs::path(request.out).filename().string(), {}};
  if (request.raw) {
    const Preconditioning seen =
        model.parametrisation.preconditioning.resolved(model.parametrisation.predicts, model.process);
    teacher["parametrisation"] = Value{model.parametrisation.name(), {}};
    teacher["sigma_data"] = Value{seen.sees == Sees::edm ? seen.sigma_data : model.parametrisation.sigma_data, {}};
    teacher["preconditioning"] = Value{seen.name(), {}};
  } else {
    teacher["parametrisation"] = Value{Prediction{Predicts::data, 1}.name(), {}};
    teacher["input"] = Value{std::string("x"), {}};
    teacher["time"] = Value{std::string("t"), {}};
  }
  Array arguments;
  for (size_t i = 0; i < made.arguments.size(); ++i) {
    arguments.push_back(Value{i == 1 ? std::string("time") : made.arguments[i], {}});
  }
  teacher["inputs"] = Value{arguments, {}};
  Array shape;
  for (const int64_t n : model.spec.shape) {
    shape.push_back(Value{n, {}});
  }
  teacher["shape"] = Value{shape, {}};
  if (model.spec.classes() > 0) {
    teacher["classes"] = Value{model.spec.classes(), {}};
  }
  return write_toml(out);
}

// Lines of Python that call it once.
std::string in_python(const ExportRequest& request, const Outgoing& model, const ScriptExport& made) {
  std::string shape = "4", given = "x";
  for (const int64_t n : model.spec.shape) {
    shape += ", " + std::to_string(n);
  }
  const double most = model.process.t_max();
  std::string out = "import torch\nstudent = torch.jit.load(\"" + request.out + "\")\nx = torch.randn(" + shape + ")";
  if (made.arguments.size() > 1 && !request.raw) {
    out += " * " + Value{model.process.sigma(at::full({1}, most, at::kDouble)).item<double>(), {}}.text();
  }
  for (size_t i = 1; i < made.arguments.size(); ++i) {
    const Input* input = model.spec.find(made.arguments[i]);
    given += input != nullptr && input->classes > 0     ? ", torch.zeros(4, dtype=torch.int64)"
             : i == 1 && !request.raw                   ? ", torch.full((4,), " + Value{most, {}}.text() + ")"
             : input == nullptr || input->shape.empty() ? ", torch.zeros(4)"
                                                        : ", " + made.arguments[i];
  }
  return out + "\nout = student(" + given + ")\n";
}

void say_script(const ExportRequest& request, const Outgoing& model, const ScriptExport& made) {
  log::info(request.out + ": forward(" + joined(made.arguments) + ") gives " + made.gives +
            ", for batches of any size; the largest difference from Retort's own model was " +
            Value{made.difference, {}}.text());
  if (const std::string toml = as_teacher(request, model, made); !toml.empty()) {
    std::printf("# as a teacher\n%s\n", toml.c_str());
  }
  std::printf("# in Python\n%s", in_python(request, model, made).c_str());
}

void to_torchscript(const ExportRequest& request, const Outgoing& model) {
  say_script(request, model, write_torchscript(model, request.raw, request.out));
}

void to_onnx(const ExportRequest& request, const Outgoing& model) {
  const fs::path script = request.out + ".part.pt";
  struct Gone {
    fs::path path;
    ~Gone() {
      std::error_code ignored;
      fs::remove(path, ignored);
    }
  } const gone{script};
  const ScriptExport made = write_torchscript(model, request.raw, script);
  const std::string word = write_onnx(model, request.raw, script, request.out);
  log::info(request.out + ": (" + joined(made.arguments) + ") to " + made.gives + ", for batches of any size; " + word);
}

void to_pipeline(const ExportRequest& request, const Outgoing& model, const Registry& registry, Experiment& host) {
  const PipelineExport made = write_pipeline(model, registry, host, request.licence, request.out);
  log::info(request.out + ": " + made.class_name + " and " + made.scheduler.name + ", as from_pretrained reads them");
  for (const std::string& difference : made.scheduler.differences) {
    log::info("where the scheduler differs from Retort's sampler: " + difference);
  }
  if (request.licence == "unknown") {
    log::info("its README.md states no licence; --licence names one");
  }
}

void to_autoencoder(const ExportRequest& request, const Outgoing& model, const Registry& registry) {
  const std::string class_name =
      write_autoencoder(model, registry, request.scaling_factor, request.licence, request.out);
  log::info(request.out + ": " + class_name + ", as from_pretrained reads it");
  if (request.licence == "unknown") {
    log::info("its README.md states no licence; --licence names one");
  }
}

// Retort's own file: its weights, in half precision if that is asked for, and all that its header says.
void to_checkpoint(const ExportRequest& request, const ExportedFile& place) {
  TensorFile file = read_safetensors(place.file);
  if (request.half) {
    file.tensors = in_half(std::move(file.tensors));
  }
  file.metadata[export_mark] = RETORT_VERSION;
  make_way(request);
  write_safetensors(request.out, file);
  log::info(request.out + ": a checkpoint of Retort");
}

LoraKeys keys_of(const std::string& word) {
  return word == "peft" ? LoraKeys::peft : word == "kohya" ? LoraKeys::kohya : LoraKeys::diffusers;
}

void to_lora(const ExportRequest& request, const ExportedFile& place, const Registry& registry) {
  const fs::path adapter = adapter_beside(place.file);
  const Value config = read_checkpoint_config(adapter.string());
  const Value* type = at_path(config, "model.network.type");
  const std::string network = type != nullptr ? std::get<std::string>(type->data) : "";
  const std::string class_name = diffusers_class(registry, network);
  if (class_name.empty() && keys_of(request.keys) != LoraKeys::peft) {
    throw RequestError(adapter.string() + ": changes network '" + network +
                       "', which is no class of diffusers; --keys peft writes the form for any network");
  }
  const LoraExport made =
      write_lora(adapter, diffusers_component(class_name), keys_of(request.keys), request.rank, request.out);
  log::info(made.file.string() + ": the change of " + std::to_string(made.modules) + " layers, of rank " +
            std::to_string(made.rank) +
            (request.rank > 0 ? "; of one layer's square " + Value{made.lost, {}}.text() + " is lost at most" : ""));
  if (const Value* given = at_path(config, "model.inputs");
      keys_of(request.keys) != LoraKeys::peft &&
      (given == nullptr || given->text().find("prompt_embeds") == std::string::npos)) {
    log::info("diffusers loads such files into the networks of text-to-image pipelines; into " + class_name +
              " PEFT does, with --keys peft");
  }
}

void check(const ExportRequest& request) {
  check_word("--format", request.format, "diffusers torchscript onnx checkpoint");
  if (!request.keys.empty()) {
    check_word("--keys", request.keys, "diffusers peft kohya");
  }
  const bool folder = request.format.starts_with("diff");
  if (request.lora && !folder) {
    throw RequestError("--lora: is a form of --format diffusers, not of " + request.format);
  }
  const bool script = request.format.starts_with("torch") || request.format == "onnx";
  if (request.raw && !script) {
    throw RequestError("--raw: has no effect with --format " + request.format +
                       (folder ? ", which always writes the network alone" : ""));
  }
  if (request.half && (script || request.lora)) {
    throw RequestError("--half: is for weights of --format diffusers or checkpoint; " +
                       (request.lora ? std::string("--lora writes") : request.format + " is written in") + " float32");
  }
  if (!request.keys.empty() && !request.lora) {
    throw RequestError("--keys: are the names within an adapter's file; expected --lora with it");
  }
  if (request.rank > 0 && !request.lora) {
    throw RequestError("--rank: is the rank of an adapter; expected --lora with it");
  }
}

void export_model(const ExportRequest& request, const Registry& registry) {
  check(request);
  const ExportedFile place = find_export(request.run, request.cell, request.checkpoint);
  check_place(request, place);
  if (request.lora) {
    to_lora(request, place, registry);
    return;
  }
  if (request.format == "checkpoint") {
    to_checkpoint(request, place);
    return;
  }
  Value none;
  none.origin.file = request.run;
  Experiment host(none, "export", registry, Parts::solving);
  Outgoing model(host, registry, place);
  model.half = request.half;
  if (request.scaling_factor != 0 && model.makes != Makes::autoencoder) {
    throw RequestError("--scaling-factor: is of an autoencoder, and this is " + std::string(name_of(model.makes)));
  }
  const std::string what = name_of(model.makes);
  log::info("exporting " + place.file.string() + (what.starts_with('a') || what.starts_with('e') ? ", an " : ", a ") +
            what + " by network '" + model.network_type() + "'");
  make_way(request);
  if (request.format == "onnx") {
    to_onnx(request, model);
  } else if (request.format.starts_with("diff") && model.makes == Makes::autoencoder) {
    to_autoencoder(request, model, registry);
  } else if (request.format.starts_with("diff")) {
    to_pipeline(request, model, registry, host);
  } else {
    to_torchscript(request, model);
  }
}

}  // namespace

void add_export(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<ExportRequest>();
  CLI::App* command = app.add_subcommand(
      "export",
      "a trained model for other programs: diffusers, TorchScript, ONNX, LoRA files; or as a smaller checkpoint");
  command->add_option("RUN", request->run, "a run's folder, or a checkpoint")->required();
  command->add_option("--format", request->format, "diffusers, torchscript, onnx or checkpoint")->required();
  command->add_option("--out,--output", request->out, "the folder (diffusers) or file to be written")->required();
  command->add_option("--cell", request->cell, "of a sweep: which one");
  command->add_option("--checkpoint", request->checkpoint,
                      "a file, or a name in RUN/checkpoints; by default that of the last step");
  command->add_flag("--raw", request->raw, "torchscript, onnx: the network alone, without what stands around it");
  command->add_flag("--lora", request->lora, "diffusers: the low-rank change alone, of student.adapter = \"lora\"");
  command->add_option("--keys", request->keys,
                      "--lora: whose names the file has: diffusers (by default), peft, or kohya (ComfyUI)");
  command
      ->add_option("--rank", request->rank, "--lora: the nearest change of this rank, by singular values; 0: as it is")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--half", request->half, "diffusers, checkpoint: weights in float16, half as large");
  command
      ->add_option(
          "--scaling-factor", request->scaling_factor,
          "diffusers, of an autoencoder: what its latents are multiplied by for a diffusion model, 1 / latent_std "
          "of metric reconstruction")
      ->check(CLI::PositiveNumber);
  command->add_option("--licence,--license", request->licence, "diffusers: what the model card states")
      ->capture_default_str();
  command->add_flag("--force", request->force, "replace what stands at --out");
  command->footer(
      "What is written appears whole or not at all.\n"
      "  torchscript  forward(x, t, …): the consistency function, flow map or denoiser itself, in float32\n"
      "  onnx         the same by torch's exporter, in Python ($RETORT_PYTHON, or python3) with torch and onnx\n"
      "  diffusers    config.json, weights, a scheduler and a model card, for networks that are classes of diffusers;\n"
      "               what the scheduler does otherwise than Retort's sampler is said, in the log and the card\n"
      "  checkpoint   Retort's own file, as teacher.checkpoint and other keys read it\n"
      "--force replaces a file, or a folder that an earlier export wrote; never what the run reads.");
  command->callback([request, &shared] { export_model(*request, shared.registry()); });
}

}  // namespace retort
