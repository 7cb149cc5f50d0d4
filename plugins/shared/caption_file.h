/// Captions in a file, and the vectors that stand for their words.
#pragma once

#include <retort/error.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace retort {

/// A caption for each of `count` samples. A file of JSON lines (.jsonl, .json) has {"index": 0, "text": "…"}, in any
/// order, or {"text": "…"} in the samples' order; any other file has one on each line. Errors call the samples `whose`.
class CaptionFile {
 public:
  CaptionFile(std::string path, int64_t count, std::string whose)
      : path_(std::move(path)), count_(count), whose_(std::move(whose)) {}

  std::vector<std::string> read() const {
    std::ifstream in(path_, std::ios::binary);
    if (!std::filesystem::is_regular_file(path_) || !in) {
      throw RequestError(path_ + ": no such file; expected captions, one on each line");
    }
    const std::string ending = std::filesystem::path(path_).extension().string();
    return ending == ".jsonl" || ending == ".json" ? read_json(in) : read_plain(in);
  }

 private:
  RequestError error(const std::string& what) const { return RequestError(path_ + ": " + what); }

  static bool next_line(std::istream& in, std::string& line) {
    if (!std::getline(in, line)) {
      return false;
    }
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    return true;
  }

  std::vector<std::string> read_plain(std::istream& in) const {
    std::vector<std::string> out;
    for (std::string line; next_line(in, line);) {
      out.push_back(line);
    }
    if (static_cast<int64_t>(out.size()) != count_) {
      throw error("has " + std::to_string(out.size()) + " lines for the " + std::to_string(count_) + " " + whose_);
    }
    return out;
  }

  std::vector<std::string> read_json(std::istream& in) const {
    std::vector<std::optional<std::string>> found(static_cast<size_t>(count_));
    int64_t number = 0, given = 0;
    for (std::string line; next_line(in, line);) {
      ++number;
      if (line.find_first_not_of(" \t") == std::string::npos) {
        continue;
      }
      take(line, "line " + std::to_string(number), given++, found);
    }
    std::vector<std::string> out;
    for (const auto& text : found) {
      if (!text) {
        throw error("has no caption for sample " + std::to_string(out.size()) + " of the " + std::to_string(count_) +
                    " " + whose_);
      }
      out.push_back(*text);
    }
    return out;
  }

  // `next` is the index of a line that names none.
  void take(const std::string& line, const std::string& where, int64_t next,
            std::vector<std::optional<std::string>>& found) const {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      throw error(where + " is not as {\"index\": 0, \"text\": \"…\"}");
    }
    if (json.contains("file_name") && !json.contains("index")) {
      throw error(
          where +
          " has a file_name, which this data set does not tell; expected an index, or `folder` in place of `dataset`");
    }
    int64_t index = next;
    if (json.contains("index")) {
      if (!json["index"].is_number_integer()) {
        throw error(where + " has an index that is no whole number");
      }
      index = json["index"].get<int64_t>();
    }
    if (index < 0 || index >= count_) {
      throw error(where + " is of sample " + std::to_string(index) + ", beyond the " + std::to_string(count_) + " " +
                  whose_);
    }
    if (found[static_cast<size_t>(index)]) {
      throw error(where + " is a second caption of sample " + std::to_string(index));
    }
    found[static_cast<size_t>(index)] = json["text"].get<std::string>();
  }

  std::string path_;
  int64_t count_;
  std::string whose_;
};

/// The words of a text: what blanks part, in small letters (of ASCII), without marks at the ends.
inline std::vector<std::string> words_of(const std::string& text) {
  constexpr const char *blanks = " \t\n\r", *marks = ".,;:!?\"'()";
  std::vector<std::string> out;
  for (size_t from = text.find_first_not_of(blanks); from != std::string::npos;) {
    const size_t to = std::min(text.find_first_of(blanks, from), text.size());
    std::string word = text.substr(from, to - from);
    from = text.find_first_not_of(blanks, to);
    const size_t first = word.find_first_not_of(marks);
    if (first == std::string::npos) {
      continue;
    }
    word = word.substr(first, word.find_last_not_of(marks) - first + 1);
    for (char& c : word) {
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    out.push_back(word);
  }
  return out;
}

/// Standard normal numbers for each word, which its letters alone decide. Row 0 is no word: zeros.
class WordVectors {
 public:
  explicit WordVectors(int64_t width) : rows_{at::zeros({width})} {}

  /// The word's row.
  int64_t row(const std::string& word) {
    const auto [it, fresh] = row_of_.try_emplace(word, static_cast<int64_t>(rows_.size()));
    if (fresh) {  // drawn in float64, where all machines' generators go one way
      const auto options = at::TensorOptions().dtype(at::kDouble);
      rows_.push_back(at::randn(rows_[0].sizes(), seeded(0, ("word " + word).c_str()), options).to(at::kFloat));
    }
    return it->second;
  }
  /// [words + 1, width]
  Tensor table() const { return at::stack(rows_); }

 private:
  std::map<std::string, int64_t> row_of_;
  std::vector<Tensor> rows_;
};

}  // namespace retort
