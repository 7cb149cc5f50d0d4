/// An autoencoder that is a network with weights: from a folder of diffusers, or from a checkpoint of Retort.
#pragma once

#include <retort/autoencoder.h>
#include <retort/host.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffusers_folder.h"
#include "latent_scale.h"

namespace retort {

class NetworkAutoencoder : public Autoencoder {
 public:
  Tensor encode(const Tensor& x, const Tensor& noise) const override {
    latent_shape(shape_of(x));
    const Tensor encoded = through(*encoder_, x);
    if (!network_->is_variational()) {
      return scale_.to_model(encoded).to(x.options());
    }
    const std::vector<Tensor> parts = encoded.chunk(2, 1);
    Tensor z = parts[0];
    if (noise.defined()) {
      if (noise.sizes() != z.sizes()) {
        throw Error("is given noise of another shape than the latents'");
      }
      z = z + (0.5 * parts[1].clamp(-30, 20)).exp() * noise.to(z.options());  // as diffusers limits it
    }
    return scale_.to_model(z).to(x.options());
  }
  Tensor decode(const Tensor& z) const override {
    picture_shape(shape_of(z));
    return through(*decoder_, z, [&](const Tensor& part) { return scale_.to_network(part); }).to(z.options());
  }

  std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const override {
    check(picture, "pictures", "a picture", sizes_.in, sizes_.down);
    return {sizes_.latents, picture[1] / sizes_.down, picture[2] / sizes_.down};
  }
  std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const override {
    check(latent, "latents", "latents", sizes_.latents, 1);
    return {sizes_.out, latent[1] * sizes_.up, latent[2] * sizes_.up};
  }
  double scaling_factor() const override { return scale_.factor; }
  double shift() const override { return scale_.shift; }

 protected:
  /// What a network's keys amount to.
  struct Reading {
    CodedSizes sizes;
    LatentScale scale;
    bool wide;  // float16 is too narrow for it
  };
  using Read = std::function<Reading(Params& keys)>;

  /// `name` is the plugin's, and that of its network; `class_name` is that of diffusers.
  NetworkAutoencoder(Params& p, const std::string& name, const std::string& class_name, const Read& read)
      : NetworkAutoencoder(p, load(p, name, class_name, read)) {}

 private:
  struct Loaded {
    Reading reading;
    std::shared_ptr<AutoencoderNetwork> network;  // null while the plugin is described
  };

  NetworkAutoencoder(Params& p, Loaded loaded)
      : network_(std::move(loaded.network)), sizes_(loaded.reading.sizes), scale_(std::move(loaded.reading.scale)) {
    scale_.factor = p.get("scaling_factor", scale_.factor, "by what latents are multiplied; by default the model's own",
                          more_than(0));
    scale_.shift = p.get("shift_factor", scale_.shift, "what is taken from them before; by default the model's own");
    scale_.check_shift(p);
    batch_ =
        p.get("batch", 0, "pictures at most that go through the network at once; 0: as many as suit their size", at_least(0));
    if (network_ != nullptr) {
      device_ = p.host().backend().device();
      dtype_ = p.host().backend().dtype();
      encoder_ = p.host().backend().compile(std::make_shared<Half>(network_, /*encodes=*/true, loaded.reading.wide));
      decoder_ = p.host().backend().compile(std::make_shared<Half>(network_, /*encodes=*/false, loaded.reading.wide));
    }
  }

  // While it lives, products on that device are not rounded to float16.
  class NotInHalf {
   public:
    NotInHalf(c10::DeviceType device, bool wanted)
        : device_(device),
          off_(wanted && at::autocast::is_autocast_enabled(device) &&
               at::autocast::get_autocast_dtype(device) == at::kHalf) {
      if (off_) {
        at::autocast::set_autocast_enabled(device_, false);
      }
    }
    ~NotInHalf() {
      if (off_) {
        at::autocast::set_autocast_enabled(device_, true);
      }
    }
    NotInHalf(const NotInHalf&) = delete;
    NotInHalf& operator=(const NotInHalf&) = delete;

   private:
    c10::DeviceType device_;
    bool off_;
  };

  // Encoder or decoder, as backends know networks.
  class Half final : public Network {
   public:
    Half(std::shared_ptr<AutoencoderNetwork> whole, bool encodes, bool wide)
        : whole_(std::move(whole)), encodes_(encodes), wide_(wide) {}
    Tensor forward(const Tensor& x, const Tensor&, const Conditioning&) override {
      const NotInHalf wide(x.device().type(), wide_);
      return encodes_ ? whole_->encode(x) : whole_->decode(x);
    }
    std::vector<std::string> inputs() const override { return {}; }
    std::shared_ptr<torch::nn::Module> module() override { return whole_->module(); }

   private:
    std::shared_ptr<AutoencoderNetwork> whole_;
    bool encodes_, wide_;
  };

  static Loaded load(Params& p, const std::string& name, const std::string& class_name, const Read& read) {
    const std::string folder =
        p.path("folder", "", "of diffusers: the model's own, or that of a pipeline with a 'vae'");
    const std::string file =
        p.path("checkpoint", "", "of Retort, in place of a folder: what loss autoencoding trained");
    const std::string subfolder = p.get("subfolder", "", "the model's, within the folder; empty: 'vae', or the folder");
    const std::string variant = p.get("variant", "", "of the weights' files, such as \"fp16\"; empty: the plain ones");
    if (p.is_describing()) {
      Params keys = Params::describing();
      return {read(keys), nullptr};
    }
    const char* key = file.empty() ? "folder" : "checkpoint";
    if (folder.empty() == file.empty()) {
      throw p.error(key, folder.empty() ? "missing; expected a folder that save_pretrained of diffusers wrote, or, as "
                                          "checkpoint, a file that Retort trained"
                                        : "stands beside folder; expected one of them");
    }
    if (!file.empty() && !(subfolder.empty() && variant.empty())) {
      throw p.error(subfolder.empty() ? "variant" : "subfolder", "is of a folder; expected folder with it");
    }
    std::string path = file;
    if (file.empty()) {
      if (!std::filesystem::is_directory(folder)) {
        throw p.error(key, folder + ": no such folder; expected one that save_pretrained of diffusers wrote");
      }
      FolderSpelling spelling;
      spelling.add("table", kind);
      spelling.add("subfolder", subfolder);
      spelling.add("variant", variant);
      path = spelling.of(folder);
    }
    const Checkpoint checkpoint = p.host().checkpoint(path);
    const Value& table = *checkpoint.config.find("model")->find("network");
    check_class(p, key, file.empty() ? folder : file, checkpoint, name, class_name);
    // First, as it says of a key that cannot be where it stands.
    const auto network = std::dynamic_pointer_cast<AutoencoderNetwork>(p.host().network(checkpoint, path));
    if (network == nullptr) {
      throw p.error(key, (file.empty() ? folder : file) + ": its network '" + name + "' is no autoencoder");
    }
    Params keys(table, "network", nullptr);
    return {read(keys), network};
  }

  // "" where it is no word.
  static std::string word_at(const Value* table, const char* key) {
    const Value* value = table != nullptr && table->is_table() ? table->find(key) : nullptr;
    const std::string* word = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
    return word != nullptr ? *word : "";
  }
  static void check_class(const Params& p, const char* key, const std::string& path, const Checkpoint& checkpoint,
                          const std::string& name, const std::string& class_name) {
    const std::string type = word_at(checkpoint.config.find("model")->find("network"), "type");
    if (type == name) {
      return;
    }
    const std::string of_folder = word_at(checkpoint.config.find("source"), "class");
    const bool codes = type.starts_with(std::string(kind) + "_");
    throw p.error(key, path + " holds " + (of_folder.empty() ? "network '" + type + "'" : of_folder) + "; expected " +
                           (of_folder.empty() ? "'" + name + "'" : class_name) +
                           (codes ? "; use type = \"" + type + "\"" : ""));
  }

  static std::vector<int64_t> shape_of(const Tensor& batch) {
    const std::vector<int64_t> sizes = batch.sizes().vec();
    return sizes.empty() ? sizes : std::vector<int64_t>(sizes.begin() + 1, sizes.end());
  }

  static void check(const std::vector<int64_t>& shape, const char* what, const char* one, int64_t channels,
                    int64_t divides) {
    std::string is;
    for (const int64_t n : shape) {
      is += (is.empty() ? "" : " x ") + std::to_string(n);
    }
    if (shape.size() != 3 || shape[0] != channels) {
      throw RequestError(std::string("takes ") + what + " [channels, height, width] of " + std::to_string(channels) +
                         " channel(s); expected such ones, not " + is);
    }
    if (shape[1] < divides || shape[2] < divides || shape[1] % divides != 0 || shape[2] % divides != 0) {
      throw RequestError(std::string("cannot encode ") + one + " of " + is + "; expected height and width that " +
                         std::to_string(divides) + " divides");
    }
  }

  // As many rows at once as memory bears: activations are many times a picture.
  Tensor through(CompiledNetwork& half, const Tensor& x,
                 const std::function<Tensor(const Tensor&)>& before = {}) const {
    constexpr int64_t numbers = int64_t{1} << 18;
    const int64_t larger = before ? sizes_.up * sizes_.up : 1;
    const int64_t of_row = std::max<int64_t>(1, x.size(0) > 0 ? x[0].numel() * larger : 1);
    const int64_t rows = batch_ > 0 ? batch_ : std::max<int64_t>(1, numbers / of_row);
    const at::NoGradGuard no_grad;
    std::vector<Tensor> out;
    for (const Tensor& part : x.split(rows)) {
      const Tensor own = part.to(device_, dtype_);
      out.push_back(half(before ? before(own) : own, {}, {}).to(dtype_));
    }
    return at::cat(out);
  }

  std::shared_ptr<AutoencoderNetwork> network_;
  CodedSizes sizes_;
  LatentScale scale_;
  int64_t batch_ = 0;
  c10::Device device_ = at::kCPU;
  c10::ScalarType dtype_ = at::kFloat;
  std::shared_ptr<CompiledNetwork> encoder_, decoder_;
};

}  // namespace retort
