#include "io/diffusers_ldm_names.h"

#include <map>
#include <regex>

namespace retort {

namespace {

const std::map<std::string, std::string>& single_modules() {
  static const std::map<std::string, std::string> all = {{"conv_in", "input_blocks.0.0"},
                                                         {"conv_norm_out", "out.0"},
                                                         {"conv_out", "out.2"},
                                                         {"time_embedding.linear_1", "time_embed.0"},
                                                         {"time_embedding.linear_2", "time_embed.2"},
                                                         {"add_embedding.linear_1", "label_emb.0.0"},
                                                         {"add_embedding.linear_2", "label_emb.0.2"}};
  return all;
}

// What stands within a resnet.
std::string within_resnet(const std::string& layer) {
  static const std::map<std::string, std::string> all = {
      {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
      {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"}};
  const auto found = all.find(layer);
  return found != all.end() ? found->second : layer;
}

std::string in_middle(const std::string& part, int64_t index, const std::string& rest) {
  return part == "attentions" ? "middle_block.1." + rest
                              : "middle_block." + std::to_string(index == 0 ? 0 : 2) + "." + within_resnet(rest);
}

}  // namespace

std::string ldm_name(const std::string& module, int64_t layers, bool attends) {
  if (const auto single = single_modules().find(module); single != single_modules().end()) {
    return single->second;
  }
  static const std::regex form(
      R"((down_blocks|mid_block|up_blocks)\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+))");
  std::smatch parts;
  if (!std::regex_match(module, parts, form) || (parts[1] == "mid_block") == parts[2].matched) {
    return "";
  }
  const std::string place = parts[1], part = parts[3], rest = parts[5];
  const int64_t index = std::stoll(parts[4]);
  if (place == "mid_block") {
    return in_middle(part, index, rest);
  }
  const bool down = place == "down_blocks";
  const int64_t first = std::stoll(parts[2]) * (layers + 1);  // of the blocks there, which are counted through
  if (part == "downsamplers") {
    return "input_blocks." + std::to_string(first + layers + 1) + ".0.op";
  }
  if (part == "upsamplers") {
    return "output_blocks." + std::to_string(first + layers) + (attends ? ".2." : ".1.") + rest;
  }
  const std::string block =
      (down ? "input_blocks." : "output_blocks.") + std::to_string(first + index + (down ? 1 : 0));
  return part == "attentions" ? block + ".1." + rest : block + ".0." + within_resnet(rest);
}

}  // namespace retort
