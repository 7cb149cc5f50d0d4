/// Names and values of diffusers' files, as they are compared and as errors show them.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>

#include "io/json.h"

namespace retort {

/// A name less its underscores, in small letters: "unet2dcondition" for a plugin unet_2d_condition and, less "Model",
/// for the class UNet2DConditionModel.
inline std::string bare(std::string name) {
  std::erase(name, '_');
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

/// A class's name less its "Model".
inline std::string without_model(std::string name) {
  if (const std::string end = "Model"; name.ends_with(end)) {
    name.resize(name.size() - end.size());
  }
  return name;
}

/// A value within an error's line: JSON, of which at most about 80 bytes are shown.
inline std::string shown_value(const Json& value) {
  constexpr size_t most = 80;
  std::string out = spell(value);
  if (out.size() > most) {
    size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0U) == 0x80U) {  // within a character
      --end;
    }
    out = out.substr(0, end) + "...";
  }
  return out;
}

/// A word within an error's line, in single quotes; line breaks and the like are spelled as in JSON.
inline std::string shown_word(const std::string& word) {
  const std::string text = shown_value(Json(word));
  const bool whole = text.ends_with('"');
  return "'" + text.substr(1, text.size() - (whole ? 2 : 1)) + "'";
}

}  // namespace retort
