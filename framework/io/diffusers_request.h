/// What a path says of a model that diffusers saved: FOLDER, or FOLDER?variant=fp16&tokens=77, with all that its
/// teacher's table says besides, so that students, adapters and evaluations find the same model by it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace retort {

struct DiffusersRequest {
  std::string folder;
  std::string table =
      "teacher";          // of the configuration, whose key names the folder; "autoencoder" asks for another part
  std::string subfolder;  // the model's place within a pipeline; "": its `unet` or `transformer`, or its `vae`
  std::string variant;    // of the weights' files, such as "fp16"
  std::string scheduler;  // a scheduler_config.json, or the folder that holds one
  std::string lora;       // a file or folder whose change is merged
  double lora_scale = 1;
  int64_t tokens = 77;                // of prompt_embeds
  std::vector<int64_t> size;          // height and width of a sample; empty: as config.json says
  std::vector<int64_t> size_of_data;  // the same where config.json says nothing
  bool null_class = false;            // whether the last class means "none"

  /// Whether a model is asked for that encodes and decodes, not one that denoises.
  bool of_autoencoder() const { return table == "autoencoder"; }
};

/// The request that a path is, none where it names no folder. In keys and values, %XX stands for a byte. Throws
/// RequestError for a key that is unknown, or a value that cannot be.
std::optional<DiffusersRequest> diffusers_request(const std::string& path);

/// A hash of all that the request names; empty where something is missing.
std::string content_of(const DiffusersRequest& request);

}  // namespace retort
