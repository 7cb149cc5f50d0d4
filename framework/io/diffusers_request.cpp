#include "io/diffusers_request.h"

#include <charconv>
#include <filesystem>
#include <functional>
#include <map>

#include "io/files.h"
#include "io/hashes.h"
#include "retort/error.h"

namespace retort {

namespace {

// "%2F" → "/"
std::string without_percent(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> parts_of(const std::string& text, char between) {
  std::vector<std::string> out;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(between, from), text.size());
    out.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  return out;
}

template <class T>
T number_in(const std::string& text, const std::string& place) {
  T out{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw RequestError(place + ": is '" + text + "'; expected a number");
  }
  return out;
}

std::vector<int64_t> sizes_in(const std::string& text, const std::string& place) {
  std::vector<int64_t> out;
  for (const std::string& part : parts_of(text, ',')) {
    out.push_back(number_in<int64_t>(part, place));
  }
  if (out.size() != 2 || out[0] < 1 || out[1] < 1) {
    throw RequestError(place + ": is '" + text + "'; expected a height and a width, such as 64,64");
  }
  return out;
}

}  // namespace

std::optional<DiffusersRequest> diffusers_request(const std::string& path) {
  std::error_code error;
  DiffusersRequest out;
  if (std::filesystem::is_directory(path, error)) {
    out.folder = path;
    return out;
  }
  const size_t mark = path.find('?');
  if (mark == std::string::npos || std::filesystem::exists(path, error)) {
    return {};
  }
  out.folder = without_percent(path.substr(0, mark));
  const std::map<std::string, std::function<void(const std::string&, const std::string&)>> keys = {
      {"table", [&](const auto& v, const auto&) { out.table = v; }},
      {"subfolder", [&](const auto& v, const auto&) { out.subfolder = v; }},
      {"variant", [&](const auto& v, const auto&) { out.variant = v; }},
      {"scheduler", [&](const auto& v, const auto&) { out.scheduler = v; }},
      {"lora", [&](const auto& v, const auto&) { out.lora = v; }},
      {"lora_scale", [&](const auto& v, const auto& place) { out.lora_scale = number_in<double>(v, place); }},
      {"tokens", [&](const auto& v, const auto& place) { out.tokens = number_in<int64_t>(v, place); }},
      {"size", [&](const auto& v, const auto& place) { out.size = sizes_in(v, place); }},
      {"size_of_data", [&](const auto& v, const auto& place) { out.size_of_data = sizes_in(v, place); }},
      {"null_class", [&](const auto& v, const auto&) { out.null_class = v == "true"; }}};
  std::vector<std::string> known;
  for (const auto& [key, read] : keys) {
    known.push_back(key);
  }
  for (const std::string& entry : parts_of(path.substr(mark + 1), '&')) {
    const size_t equals = std::min(entry.find('='), entry.size());
    const std::string key = entry.substr(0, equals);
    const auto found = keys.find(key);
    if (found == keys.end()) {
      throw RequestError(path + ": unknown key '" + key + "' behind the folder" + did_you_mean(key, known));
    }
    const std::string value = without_percent(equals < entry.size() ? entry.substr(equals + 1) : "");
    found->second(value, path + ": " + key);
  }
  return out;
}

std::string content_of(const DiffusersRequest& request) {
  const std::string folder = content_hash(request.folder);
  if (folder.empty()) {
    return "";
  }
  std::string all = "model of a folder\n" + folder;
  for (const std::string& file : {request.scheduler, request.lora}) {
    const std::string hash = file.empty() ? "none" : content_hash(file);
    if (hash.empty()) {
      return "";
    }
    all += "\n" + hash;
  }
  all += "\n" + request.subfolder + "\n" + request.variant + "\n" + std::to_string(request.lora_scale) + " " +
         std::to_string(request.tokens) + (request.null_class ? " null" : "") +
         (request.of_autoencoder() ? " autoencoder" : "");
  for (const std::vector<int64_t>* size : {&request.size, &request.size_of_data}) {
    for (const int64_t n : *size) {
      all += " " + std::to_string(n);
    }
    all += ";";
  }
  return sha256_of_text(all);
}

}  // namespace retort
