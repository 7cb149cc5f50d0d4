/// The emoji of Unicode's emoji-test.txt and their names, and which of them are combinations to be held out.
#pragma once

#include <retort/error.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace retort {

struct Emoji {
  std::vector<uint32_t> codes;
  std::string name, group;
  bool unseen = false;  // held out of training
};

/// Those of the file that are fully qualified, and were in Unicode's emoji `version` already.
class EmojiFile {
 public:
  EmojiFile(std::string path, double version) : path_(std::move(path)), version_(version) {}

  std::vector<Emoji> read() const {
    std::ifstream in(path_, std::ios::binary);
    std::error_code error;
    if (!std::filesystem::is_regular_file(path_, error) || !in) {
      throw RequestError(path_ + ": no such file; install Debian's unicode-data, or name another emoji-test.txt");
    }
    std::vector<Emoji> out;
    std::string group;
    int64_t number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      constexpr std::string_view mark = "# group: ";
      if (line.starts_with(mark)) {
        group = line.substr(mark.size());
      } else if (!line.empty() && line[0] != '#') {
        if (auto emoji = parse(line, number)) {
          emoji->group = group;
          out.push_back(*std::move(emoji));
        }
      }
    }
    if (out.empty()) {
      throw RequestError(path_ + ": has no fully-qualified emoji; expected Unicode's emoji-test.txt");
    }
    return out;
  }

 private:
  RequestError error(int64_t number, const std::string& what) const {
    return RequestError(path_ + ":" + std::to_string(number) + ": " + what);
  }

  // "1F44B 1F3FB ; fully-qualified # 👋🏻 E1.0 waving hand: light skin tone"
  std::optional<Emoji> parse(const std::string& line, int64_t number) const {
    const size_t status = line.find(';'), comment = line.find('#', status == std::string::npos ? 0 : status);
    const size_t version = comment == std::string::npos ? comment : line.find(" E", comment);
    const size_t name = version == std::string::npos ? version : line.find(' ', version + 1);
    if (name == std::string::npos) {
      throw error(number, "is not as \"CODES ; STATUS # EMOJI EVERSION NAME\"");
    }
    if (line.substr(status, comment - status).find(" fully-qualified ") == std::string::npos ||
        to_number(line.substr(version + 2, name - version - 2), number) > version_ + 1e-9) {
      return std::nullopt;
    }
    Emoji out;
    for (size_t at = 0; at < status;) {
      const size_t end = std::min(line.find(' ', at), status);
      if (end > at) {
        out.codes.push_back(to_code(line.substr(at, end - at), number));
      }
      at = end + 1;
    }
    out.name = line.substr(name + 1);
    while (!out.name.empty() && (out.name.back() == '\r' || out.name.back() == ' ')) {
      out.name.pop_back();
    }
    if (out.codes.empty() || out.name.empty()) {
      throw error(number, "lacks code points or a name");
    }
    return out;
  }

  double to_number(const std::string& text, int64_t number) const {
    char* end = nullptr;
    const double out = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end != '\0') {
      throw error(number, "'" + text + "' is no version of Unicode's emoji");
    }
    return out;
  }

  uint32_t to_code(const std::string& text, int64_t number) const {
    constexpr uint64_t last = 0x10FFFF;
    const bool hex = text.size() <= 6 && text.find_first_not_of("0123456789ABCDEFabcdef") == std::string::npos;
    const uint64_t out = hex ? std::stoull(text, nullptr, 16) : last + 1;
    if (out > last) {
      throw error(number, "'" + text + "' is no code point; expected hexadecimal digits");
    }
    return static_cast<uint32_t>(out);
  }

  std::string path_;
  double version_;
};

/// A name, and the skin tones that were in it: "people holding hands: light skin tone, dark skin tone".
struct TonedName {
  explicit TonedName(const std::string& name) : base(name) {
    const size_t colon = name.find(": ");
    if (colon == std::string::npos) {
      return;
    }
    base = name.substr(0, colon);
    std::string joint = ": ";
    for (size_t at = colon + 2; at < name.size();) {
      const size_t end = std::min(name.find(", ", at), name.size());
      const std::string part = name.substr(at, end - at);
      at = end + 2;
      if (part.ends_with("skin tone")) {
        tones.push_back(part);
      } else {
        base += joint + part;
        joint = ", ";
      }
    }
  }
  std::string base;
  std::vector<std::string> tones;
};

/// Marks combinations whose parts are all in training and which are not, by four rules. Each counts in the file's
/// order, from 0, and takes in turn what it holds out:
///   one tone    of every third person or gesture that has five skin tones, one of these
///   two tones   of every couple's twenty pairs of different tones, five: those that are equally far apart in the list
///   roles       of every eighth role that a man and a woman have, one of the two, in all skin tones
///   colours     of every second colour that a heart, a circle and a square have, one of the three shapes
inline void hold_out(std::vector<Emoji>& all) {
  constexpr std::array<std::string_view, 5> tones = {"light skin tone", "medium-light skin tone", "medium skin tone",
                                                     "medium-dark skin tone", "dark skin tone"};
  const auto place = [&](const std::string& tone) {
    return static_cast<size_t>(std::find(tones.begin(), tones.end(), tone) - tones.begin());
  };
  // The names that stand for one thing in several forms, in the order of their first.
  struct Family {
    std::string key;
    std::map<std::string, std::vector<Emoji*>> forms;
  };
  const auto add = [](std::vector<Family>& to, const std::string& key, const std::string& form, Emoji& emoji) {
    auto found = std::find_if(to.begin(), to.end(), [&](const Family& f) { return f.key == key; });
    if (found == to.end()) {
      found = to.insert(to.end(), {key, {}});
    }
    found->forms[form].push_back(&emoji);
  };
  std::vector<Family> one_tone, two_tones, roles, colours;
  for (Emoji& emoji : all) {
    const TonedName name(emoji.name);
    if (name.tones.size() == 1) {
      add(one_tone, name.base, name.tones[0], emoji);
    } else if (name.tones.size() == 2) {
      add(two_tones, name.base, name.tones[0] + ", " + name.tones[1], emoji);
    }
    for (const char* who : {"man ", "woman "}) {
      if (name.base.starts_with(who)) {
        add(roles, name.base.substr(std::string_view(who).size()), who, emoji);
      }
    }
    for (const char* shape : {" heart", " circle", " square"}) {
      if (name.base.ends_with(shape)) {
        add(colours, name.base.substr(0, name.base.size() - std::string_view(shape).size()), shape, emoji);
      }
    }
  }
  const auto whole = [](std::vector<Family>& families, size_t forms) {
    std::erase_if(families, [&](const Family& f) { return f.forms.size() != forms; });
  };
  const auto mark = [](const Family& family, const std::string& form) {
    for (Emoji* emoji : family.forms.at(form)) {
      emoji->unseen = true;
    }
  };
  whole(one_tone, 5), whole(two_tones, 20), whole(roles, 2), whole(colours, 3);
  for (size_t i = 0; i < one_tone.size(); i += 3) {
    mark(one_tone[i], std::string(tones[i / 3 % 5]));
  }
  for (size_t i = 0; i < two_tones.size(); ++i) {
    for (const auto& [form, emoji] : two_tones[i].forms) {
      const size_t comma = form.find(", ");
      const size_t first = place(form.substr(0, comma)), second = place(form.substr(comma + 2));
      if ((second + 5 - first) % 5 == 1 + i % 4) {
        mark(two_tones[i], form);
      }
    }
  }
  for (size_t i = 0; i < roles.size(); i += 8) {
    mark(roles[i], i / 8 % 2 == 0 ? "woman " : "man ");
  }
  constexpr std::array<const char*, 3> shapes = {" heart", " circle", " square"};
  for (size_t i = 0; i < colours.size(); i += 2) {
    mark(colours[i], shapes[i / 2 % 3]);
  }
}

}  // namespace retort
