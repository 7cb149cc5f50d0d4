/// The captions of pictures in a folder or archive: texts beside them, or a list of them all.
///
/// Two forms are in use. metadata.jsonl, in any folder, has a line {"file_name": "a.png", "text": "…"} for each
/// picture; names count from its folder (Hugging Face's `imagefolder`). Or each picture has a text of its own name
/// beside it, NAME.txt, or NAME.json with the text under a key (the pairs of webdataset and img2dataset, in an archive
/// or not).
#pragma once

#include <retort/error.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "listing.h"

namespace retort {

enum class CaptionForm { automatic, files, metadata };

struct CaptionReading {
  CaptionForm form = CaptionForm::automatic;                 // metadata.jsonl where there is one, files otherwise
  std::vector<std::string> text_keys = {"text", "caption"};  // of JSON; the first that is there counts
  std::string file_key = "file_name";                        // of metadata.jsonl
};

/// Whether the bytes are UTF-8. JSON's own reader knows.
inline bool is_utf8(const std::string& text) {
  try {
    const std::string spelled = nlohmann::json(text).dump();
    return !spelled.empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

/// Gives the pictures of a tree their captions, and leaves out and counts those without one.
class CaptionFinder {
 public:
  /// With `skip`, a damaged caption leaves its picture without one; otherwise it is a RequestError.
  CaptionFinder(PictureTree& tree, const CaptionReading& reading, bool skip)
      : tree_(tree), reading_(reading), skip_(skip) {}

  void find() {
    std::vector<const PictureTree::File*> lists;
    for (const PictureTree::File& text : tree_.texts) {
      if (ending(text.path) == ".jsonl") {
        lists.push_back(&text);
      }
    }
    if (reading_.form == CaptionForm::metadata && lists.empty()) {
      throw RequestError(tree_.name + ": has no metadata.jsonl, which captions = \"metadata\" reads");
    }
    if (reading_.form == CaptionForm::files || lists.empty()) {
      find_files();
    } else {
      find_lines(lists);
    }
    if (!tree_.pictures.empty() && found_.empty()) {
      throw RequestError(tree_.name + ": " +
                         (lists.empty() ? "has no captions; expected a metadata.jsonl, or NAME.txt or NAME.json beside "
                                          "each picture"
                                        : "has no caption for any of its pictures"));
    }
    keep_found();
  }

 private:
  static std::string ending(const std::string& path) {
    std::string out = std::filesystem::path(path).extension().string();
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
    return out;
  }

  static std::string stem(const std::string& path) { return path.substr(0, path.size() - ending(path).size()); }

  // Adds a text's caption, or none where it is damaged and may be.
  template <class F>
  void attempt(size_t picture, const F& caption) {
    try {
      found_[picture] = caption();
    } catch (const RequestError&) {
      if (!skip_) {
        throw;
      }
    }
  }

  void find_files() {
    std::map<std::string, const PictureTree::File*> texts, objects;  // by the path without its ending
    for (const PictureTree::File& text : tree_.texts) {
      const std::string form = ending(text.path);
      if (form != ".jsonl") {
        (form == ".txt" ? texts : objects).emplace(stem(text.path), &text);
      }
    }
    std::set<const PictureTree::File*> used;
    for (size_t i = 0; i < tree_.pictures.size(); ++i) {
      const std::string name = stem(tree_.pictures[i].path);
      const auto text = texts.find(name), object = objects.find(name);
      if (text != texts.end()) {
        used.insert(text->second);
        attempt(i, [&] { return plain(text->second->entry); });
      } else if (object != objects.end()) {
        attempt(i, [&] { return of_object(object->second->entry); });
      }
      if (object != objects.end()) {
        used.insert(object->second);  // beside a text it is what else is known of the picture
      }
    }
    tree_.others -= static_cast<int64_t>(used.size());
  }

  void find_lines(const std::vector<const PictureTree::File*>& lists) {
    std::map<std::string, size_t> pictures;
    for (size_t i = 0; i < tree_.pictures.size(); ++i) {
      pictures[tree_.pictures[i].path] = i;
    }
    for (const PictureTree::File* list : lists) {
      const std::vector<uint8_t> bytes = read_entry(list->entry);
      const std::string text(bytes.begin(), bytes.end());
      const std::string folder = list->path.substr(0, list->path.rfind('/') + 1);  // npos + 1 is 0
      int64_t number = 0;
      for (size_t from = 0; from < text.size(); ++number) {
        const size_t to = std::min(text.find('\n', from), text.size());
        const std::string line = text.substr(from, to - from);
        from = to + 1;
        if (line.find_first_not_of(" \t\r") == std::string::npos) {
          continue;
        }
        try {
          take_line(line, list->entry.name + ": line " + std::to_string(number + 1), folder, pictures);
        } catch (const RequestError&) {
          if (!skip_) {
            throw;
          }
        }
      }
    }
    tree_.others -= static_cast<int64_t>(lists.size());
  }

  void take_line(const std::string& line, const std::string& where, const std::string& folder,
                 const std::map<std::string, size_t>& pictures) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      throw RequestError(where + " is no JSON object; expected {\"" + reading_.file_key + "\": \"…\", \"" +
                         reading_.text_keys[0] + "\": \"…\"}");
    }
    const auto name = json.find(reading_.file_key);
    if (name == json.end() || !name->is_string()) {
      throw RequestError(where + " has no text under '" + reading_.file_key + "'; it names the picture");
    }
    const std::string given = name->get<std::string>();
    const auto picture = pictures.find(std::filesystem::path(folder + given).lexically_normal().generic_string());
    if (picture == pictures.end()) {
      throw RequestError(where + " is of '" + one_line(given).substr(0, 200) + "', and there is no such picture");
    }
    if (found_.contains(picture->second)) {
      throw RequestError(where + " is a second caption of '" + one_line(given).substr(0, 200) + "'");
    }
    found_[picture->second] = under_keys(json, where);
  }

  std::string plain(const PictureEntry& entry) const {
    const std::vector<uint8_t> bytes = read_entry(entry);
    std::string text(bytes.begin(), bytes.end());
    if (text.starts_with("\xef\xbb\xbf")) {
      text.erase(0, 3);  // a mark that some editors put there
    }
    if (!is_utf8(text)) {
      throw RequestError(entry.name + ": is no text in UTF-8; expected a caption");
    }
    return one_line(text);
  }

  std::string of_object(const PictureEntry& entry) const {
    const std::vector<uint8_t> bytes = read_entry(entry);
    const nlohmann::json json = nlohmann::json::parse(bytes, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      throw RequestError(entry.name + ": is no JSON object; expected {\"" + reading_.text_keys[0] + "\": \"…\"}");
    }
    return under_keys(json, entry.name + ":");
  }

  std::string under_keys(const nlohmann::json& json, const std::string& where) const {
    std::string keys;
    for (const std::string& key : reading_.text_keys) {
      if (const auto text = json.find(key); text != json.end() && text->is_string()) {
        return one_line(text->get<std::string>());
      }
      keys += (keys.empty() ? "'" : " or '") + key + "'";
    }
    throw RequestError(where + " has no text under " + keys);
  }

  // Without blanks at its ends, and with blanks in place of line breaks.
  static std::string one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
    const size_t first = text.find_first_not_of(' ');
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
  }

  void keep_found() {
    std::vector<PictureTree::File> kept;
    for (size_t i = 0; i < tree_.pictures.size(); ++i) {
      if (const auto caption = found_.find(i); caption != found_.end()) {
        kept.push_back(std::move(tree_.pictures[i]));
        kept.back().entry.caption = caption->second;
      } else {
        ++tree_.without_caption;
      }
    }
    tree_.pictures = std::move(kept);
  }

  PictureTree& tree_;
  const CaptionReading& reading_;
  bool skip_;
  std::map<size_t, std::string> found_;  // by the number of the picture
};

}  // namespace retort
