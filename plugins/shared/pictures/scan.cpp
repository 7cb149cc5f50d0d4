// The names in folders and archives. Hidden ones, such as .ipynb_checkpoints, are no data, whatever they hold.
#include <retort/error.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "listing.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

bool is_hidden(const std::string& name) { return name.starts_with('.') || name == "__MACOSX"; }

struct stat status_of(const std::string& path) {
  struct stat out = {};
  if (stat(path.c_str(), &out) != 0) {
    out.st_mode = 0;
  }
  return out;
}

std::string identity_of(const std::string& path, const struct stat& status) {
  return path + '\0' + std::to_string(status.st_size) + ' ' + std::to_string(status.st_mtim.tv_sec) + ' ' +
         std::to_string(status.st_mtim.tv_nsec) + ' ' + std::to_string(status.st_ino) + '\n';
}

class FolderScan {
 public:
  explicit FolderScan(PictureTree& tree) : tree_(tree) {}

  void scan(const std::string& folder, const std::string& within) {
    const struct stat self = status_of(folder);
    const std::pair<dev_t, ino_t> id(self.st_dev, self.st_ino);
    if (!above_.insert(id).second) {
      return;  // a link back to a folder that it lies in
    }
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      names.push_back(it->path().filename().string());
    }
    if (error) {
      throw RequestError(folder + ": cannot be read: " + error.message());
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      const std::string path = folder + (folder.ends_with('/') ? "" : "/") + name;
      const struct stat status = status_of(path);
      const bool is_folder = S_ISDIR(status.st_mode), hidden = is_hidden(name);
      if (hidden) {
        (is_folder ? tree_.hidden_folders : tree_.hidden_files) += 1;
      } else if (is_folder) {
        if (within.empty()) {
          tree_.folders.push_back(name);
        }
        tree_.identity += path + '\n';
        scan(path, within + name + '/');
      } else if (S_ISREG(status.st_mode) && is_picture_name(name)) {
        tree_.identity += identity_of(path, status);
        tree_.pictures.push_back({within + name, {.name = path, .file = path, .within = within + name}});
      } else {
        tree_.others += 1;
        if (S_ISREG(status.st_mode) && is_text_name(name)) {
          tree_.text_identity += identity_of(path, status);
          tree_.texts.push_back({within + name, {.name = path, .file = path}});
        }
      }
    }
    above_.erase(id);
  }

 private:
  PictureTree& tree_;
  std::set<std::pair<dev_t, ino_t>> above_;
};

bool is_picture_or_text(const std::string& path) { return is_picture_name(path) || is_text_name(path); }

// In small letters, without the dot; empty where there is none.
std::string ending_of(const std::string& path) {
  const size_t dot = path.find_last_of("./");
  if (dot == std::string::npos || path[dot] == '/') {
    return "";
  }
  std::string ending = path.substr(dot + 1);
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

// The folder that everything lies in, with its '/'; empty where there is none.
std::string folder_around(const std::vector<ArchivedFile>& files) {
  std::string out;
  for (const ArchivedFile& file : files) {
    const size_t slash = file.path.find('/');
    const std::string first = file.path.substr(0, slash);
    if (is_hidden(first)) {
      continue;
    }
    if ((slash == std::string::npos && !file.is_folder) || (!out.empty() && out != first + '/')) {
      return "";
    }
    out = first + '/';
  }
  return out;
}

}  // namespace

bool is_picture_name(const std::string& path) {
  static const std::set<std::string> endings = {"png", "jpg",  "jpeg", "jpe", "webp",
                                                "tif", "tiff", "bmp",  "dib", "gif"};
  return endings.contains(ending_of(path));
}

bool is_text_name(const std::string& path) {
  const std::string ending = ending_of(path);
  return ending == "txt" || ending == "json" || path.substr(path.rfind('/') + 1) == "metadata.jsonl";
}

PictureTree scan_folder(const std::string& folder) {
  PictureTree out;
  out.name = folder;
  FolderScan(out).scan(folder, "");
  return out;
}

std::string archive_identity(const std::string& path) { return identity_of(path, status_of(path)); }

PictureTree scan_archive(const std::string& path, bool texts) {
  PictureTree out;
  out.name = path;
  out.identity = archive_identity(path);
  const ArchiveContents contents = read_archive(path, texts ? is_picture_or_text : is_picture_name);
  const std::string around = folder_around(contents.files);
  std::set<std::string> folders, hidden;
  for (const ArchivedFile& file : contents.files) {
    if (file.is_folder && file.path + '/' == around) {
      continue;
    }
    const std::string within = file.path.starts_with(around) ? file.path.substr(around.size()) : file.path;
    // Its folders need no entries of their own.
    bool passed = false;
    for (size_t from = 0, to = 0; to != std::string::npos && !passed; from = to + 1) {
      to = within.find('/', from);
      const bool is_folder = to != std::string::npos || file.is_folder;
      if (is_hidden(within.substr(from, to - from))) {
        passed = true;
        if (hidden.insert(within.substr(0, to)).second) {
          (is_folder ? out.hidden_folders : out.hidden_files) += 1;
        }
      } else if (from == 0 && is_folder) {
        folders.insert(within.substr(0, to));
      }
    }
    if (passed || file.is_folder) {
      continue;
    }
    PictureTree::File found{within,
                            {.name = path + ": " + file.path,
                             .file = "",
                             .spool = contents.spool,
                             .offset = file.offset,
                             .size = file.size,
                             .damage = file.damage,
                             .within = within}};
    if (is_picture_name(within)) {
      out.pictures.push_back(std::move(found));
      continue;
    }
    out.others += 1;
    if (texts && is_text_name(within)) {
      out.texts.push_back(std::move(found));
    }
  }
  out.folders.assign(folders.begin(), folders.end());
  return out;
}

}  // namespace retort
