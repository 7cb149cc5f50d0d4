#include "export/autoencoder.h"

#include "export/folder.h"
#include "export/pipeline.h"
#include "io/diffusers_files.h"
#include "io/files.h"
#include "io/safetensors.h"

namespace retort {

namespace {

// Lines of Python that use it, and what its latents are to a diffusion model.
std::string usage(const Outgoing& model, const Json& config, const std::string& class_name, const std::string& folder) {
  const bool draws = config.contains("use_quant_conv");  // of the class whose encoder says a distribution
  const bool channels = json_at(config, "latents_mean").is_array();
  return "```python\nimport torch\nfrom diffusers import " + class_name + "\n\nvae = " + class_name +
         ".from_pretrained(\"" + folder + "\")\nx = torch.rand(" + card_shape(model) +
         ") * 2 - 1  # pictures lie in [-1, 1]\nwith torch.no_grad():\n    z = vae.encode(x)." +
         std::string(draws ? "latent_dist.mode()\n" : "latents\n") +
         "    y = vae.decode(z).sample\n```\n\nDiffusion models see " +
         (channels ? "`(z - latents_mean) / latents_std * scaling_factor`" : "`(z - shift_factor) * scaling_factor`") +
         ", with the numbers of its `config.json`; as the `vae` of a pipeline it lies in a folder of that name.\n";
}

}  // namespace

std::string write_autoencoder(const Outgoing& model, const Registry& registry, double scaling_factor,
                              const std::string& licence, const std::filesystem::path& out) {
  const std::string class_name = diffusers_class(registry, model.network_type());
  if (class_name.empty()) {
    throw RequestError(model.place.file.string() + ": its network '" + model.network_type() +
                       "' is no class of diffusers (its page names none); --format torchscript writes any network");
  }
  Json config = diffusers_config(model, registry, class_name);
  if (config.contains("encoder_block_out_channels")) {  // a class that knows no size, and repeats a list by itself
    config.erase("sample_size");
    config.erase("block_out_channels");
  }
  if (scaling_factor != 0) {
    config["scaling_factor"] = scaling_factor;
  }
  const TensorFile weights{diffusers_weights(model), {{"format", "pt"}, {export_mark, RETORT_VERSION}}};
  write_folder(out, [&](const std::filesystem::path& folder) {
    write_text(folder / diffusers_config_name, sorted_json(config));
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", weights);
    write_text(folder / "README.md", card_head(model, "`" + class_name + "`", licence) +
                                         usage(model, config, class_name, out.filename().string()) +
                                         "\n## Figures of the run\n\n" + card_figures(model));
  });
  return class_name;
}

}  // namespace retort
