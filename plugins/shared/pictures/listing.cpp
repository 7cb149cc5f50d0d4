#include "listing.h"

#include <fcntl.h>
#include <retort/error.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <tuple>

namespace retort {

namespace {

std::string count(int64_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

std::string spell_left_out(const std::vector<PictureTree>& trees, int64_t beside) {
  int64_t others = 0, hidden_files = 0, hidden_folders = 0, without = 0;
  for (const PictureTree& tree : trees) {
    others += tree.others, hidden_files += tree.hidden_files, hidden_folders += tree.hidden_folders;
    without += tree.without_caption;
  }
  std::vector<std::string> parts;
  if (others > 0) {
    parts.push_back(count(others, "file that is no picture", "files that are no pictures"));
  }
  if (hidden_files > 0) {
    parts.push_back(count(hidden_files, "hidden file", "hidden files"));
  }
  if (hidden_folders > 0) {
    parts.push_back(count(hidden_folders, "hidden folder", "hidden folders"));
  }
  if (beside > 0) {
    parts.push_back(count(beside, "picture beside class folders", "pictures beside class folders"));
  }
  if (without > 0) {
    parts.push_back(count(without, "picture without a caption", "pictures without a caption"));
  }
  if (parts.empty()) {
    return "";
  }
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    out += (i > 0 ? ", " : "") + parts[i];
  }
  const bool one = parts.size() == 1 && others + hidden_files + hidden_folders + beside + without == 1;
  return out + (one ? " was left out" : " were left out");
}

std::string class_of(const std::string& path) {
  const size_t slash = path.find('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// The classes with their numbers; empty where no folder holds pictures.
std::map<std::string, int64_t> find_classes(const std::vector<PictureTree>& trees) {
  std::map<std::string, int64_t> out;
  for (const PictureTree& tree : trees) {
    for (const PictureTree::File& file : tree.pictures) {
      if (const std::string name = class_of(file.path); !name.empty()) {
        out[name] = 0;
      }
    }
  }
  for (const PictureTree& tree : trees) {
    for (const std::string& folder : tree.folders) {
      if (!out.empty() && !out.contains(folder)) {
        throw RequestError(
            tree.name + "/" + folder +
            ": holds no picture; every sub-folder is a class here: remove it, or take labels = \"none\"");
      }
    }
    const bool flat = std::all_of(tree.pictures.begin(), tree.pictures.end(),
                                  [](const PictureTree::File& file) { return class_of(file.path).empty(); });
    if (!out.empty() && flat) {
      throw RequestError(tree.name + ": has no class folders, unlike the others; labels = \"none\" reads all of them");
    }
  }
  int64_t next = 0;
  for (auto& [name, label] : out) {
    label = next++;
  }
  return out;
}

}  // namespace

Listing list_pictures(std::vector<PictureTree> trees, bool by_folders) {
  Listing out;
  const std::map<std::string, int64_t> classes = by_folders ? find_classes(trees) : std::map<std::string, int64_t>{};
  for (const auto& [name, label] : classes) {
    out.classes.push_back(name);
  }
  using Place = std::tuple<int64_t, size_t, std::string>;  // class, source, name
  std::vector<std::pair<Place, PictureEntry>> found;
  int64_t beside = 0;
  for (size_t i = 0; i < trees.size(); ++i) {
    for (PictureTree::File& file : trees[i].pictures) {
      const std::string name = class_of(file.path);
      if (!classes.empty() && name.empty()) {
        ++beside;
        continue;
      }
      file.entry.label = classes.empty() ? 0 : classes.at(name);
      found.push_back({{file.entry.label, i, file.path}, std::move(file.entry)});
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [place, entry] : found) {
    for (char& c : entry.name) {  // an error about it is one line
      c = static_cast<unsigned char>(c) < 32 ? '?' : c;
    }
    out.entries.push_back(std::move(entry));
  }
  out.left_out = spell_left_out(trees, beside);
  return out;
}

std::vector<uint8_t> read_entry(const PictureEntry& entry, uint64_t most) {
  if (!entry.damage.empty()) {
    throw RequestError(entry.name + ": is damaged in its archive: " + entry.damage);
  }
  if (entry.spool) {
    return entry.spool->read(entry.offset, std::min(entry.size, most));
  }
  const auto fail = [&] { return RequestError(entry.name + ": cannot be read: " + std::strerror(errno)); };
  const int file = open(entry.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    throw fail();
  }
  struct stat status = {};
  fstat(file, &status);
  std::vector<uint8_t> out(std::min(static_cast<uint64_t>(status.st_size), most));
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = read(file, out.data() + done, out.size() - done);
    if (got < 0 && errno != EINTR) {
      const RequestError error = fail();
      close(file);
      throw error;
    }
    if (got == 0) {
      break;
    }
    done += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  close(file);
  out.resize(done);
  return out;
}

}  // namespace retort
