/// Diffusers' autoencoders as tests/parity/make_autoencoders.py made them: weights and inputs by the same recipe,
/// folders that hold them, and a host that reads such folders.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "retort/autoencoder.h"
#include "support/diffusers_unets.h"

namespace retort::test {

inline const Json& autoencoder_parity() {
  static const Json all = Json::parse(read_text(source_dir() + "/tests/parity/autoencoders.json"));
  return all;
}

inline const Json& autoencoder_case(const std::string& name) {
  for (const Json& json : autoencoder_parity()["cases"]) {
    if (json["name"] == name) {
      return json;
    }
  }
  throw Error("no case is called " + name);
}

inline Tensor numbers_in(const Json& list) { return at::tensor(list.get<std::vector<double>>(), at::kDouble); }

struct AutoencoderCase {
  explicit AutoencoderCase(const Json& json_)
      : json(json_),
        x_shape(json["x"].get<std::vector<int64_t>>()),
        latent(json["latent"].get<std::vector<int64_t>>()),
        picture(json["picture"].get<std::vector<int64_t>>()),
        host("type = \"ve\"", ModelSpec{{x_shape.begin() + 1, x_shape.end()}}) {}

  std::string name() const { return json["name"].get<std::string>(); }
  std::string plugin() const { return json["network"].get<std::string>(); }
  bool is_variational() const { return json.contains("kl"); }

  std::shared_ptr<AutoencoderNetwork> network(at::ScalarType dtype) {
    const Value table = from_json(json["keys"], "config.json");
    Params p(table, "network", &host);
    const auto made = std::static_pointer_cast<Network>(registry().make("network", plugin(), p));
    p.finish();
    made->module()->to(dtype);
    UNetCase::fill(*made);
    return std::dynamic_pointer_cast<AutoencoderNetwork>(made);
  }

  Tensor x(at::ScalarType dtype = at::kDouble) const { return (hashed(x_shape, 10001) * 2).to(dtype); }
  Tensor z(at::ScalarType dtype = at::kDouble) const { return (hashed(latent, 10002) * 4).to(dtype); }
  Tensor noise(at::ScalarType dtype = at::kDouble) const { return (hashed(latent, 10003) * 4).to(dtype); }
  /// "encoded" or "decoded", as diffusers found it in that type.
  Tensor wanted(const char* what, const char* dtype = "float64") const {
    std::vector<int64_t> shape = latent;
    shape[1] *= is_variational() ? 2 : 1;
    return numbers_in(json[dtype][what]).view(std::string(what) == "encoded" ? shape : picture);
  }

  /// Writes it as `save_pretrained` does.
  void write(const std::filesystem::path& folder, const std::string& middle = "") {
    make_folder(folder);
    Json config = json["config"];
    config["_class_name"] = is_variational() ? "AutoencoderKL" : "AutoencoderTiny";
    config["_diffusers_version"] = "0.42.1";
    write_text(folder / "config.json", spell(config, 1));
    TensorFile file{{}, {{"format", "pt"}}};
    for (const auto& [key, weight] : weights_of(*network(at::kDouble))) {
      file.tensors[key] = weight.detach().to(middle == ".fp16" ? at::kHalf : at::kFloat).contiguous();
    }
    write_safetensors(folder / ("diffusion_pytorch_model" + middle + ".safetensors"), file);
  }

  const Json& json;
  std::vector<int64_t> x_shape, latent, picture;
  TestHost host;
};

/// A host that reads checkpoints and folders, with a backend of choice.
class FileHost final : public Host {
 public:
  explicit FileHost(const std::string& backend = "cpu", const std::string& toml = "") {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "backend", this);
    backend_ = std::static_pointer_cast<Backend>(registry().make("backend", backend, p));
    backend_->prepare();
  }
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return registry().make(kind, name, params);
  }
  const Process& process() const override { return process_; }
  bool process_given() const override { return false; }
  ModelSpec spec() const override { return {}; }
  const Backend& backend() const override { return *backend_; }
  Checkpoint checkpoint(const std::string& path) override { return read_checkpoint(path, {}, &registry()); }
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override {
    auto made = build_network(*this, checkpoint, path, {}, 1, FileWeights::in_place);
    backend_->place(*made);
    return made;
  }

  std::shared_ptr<Autoencoder> autoencoder(const std::string& name, const std::string& toml) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, Autoencoder::kind, this);
    auto made = std::static_pointer_cast<Autoencoder>(registry().make(Autoencoder::kind, name, p));
    p.finish();
    return made;
  }

 private:
  Process process_;
  std::shared_ptr<Backend> backend_;
};

}  // namespace retort::test
