/// Where in a folder of diffusers a model's files are, and its weights' tensors, mapped from them.
///
/// Source of the layout: diffusers 0.42.1, `models/modeling_utils.py`, `pipelines/pipeline_loading_utils.py`,
/// `utils/hub_utils.py`.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "io/diffusers_request.h"
#include "io/json.h"
#include "retort/tensor.h"

namespace retort {

inline constexpr const char* diffusers_config_name = "config.json";

struct DiffusersFiles {
  std::filesystem::path component;  // the model's own folder
  std::filesystem::path config;     // its config.json
  std::filesystem::path scheduler;  // a scheduler_config.json; empty where there is none
  Json pipeline;                    // model_index.json; null where there is none
};

/// Throws RequestError, in one line, where the folder holds no such model.
DiffusersFiles find_diffusers(const DiffusersRequest& request);

/// The scheduler's file of a model whose own folder in a pipeline this is, where that lies outside of the folder; empty
/// where there is none.
std::filesystem::path scheduler_outside(const std::filesystem::path& folder);

/// A JSON object, where Python's Infinity and NaN are null, or a RequestError that says what is wrong with the file.
Json read_json_object(const std::filesystem::path& file);

/// The weights under the names that diffusers gives them now. `class_name` and `table`, whose key "variant" it is, are
/// for the line on what else there is.
std::map<std::string, Tensor> map_diffusers(const std::filesystem::path& component, const std::string& variant,
                                            const std::string& class_name, const std::string& table = "teacher");

}  // namespace retort
