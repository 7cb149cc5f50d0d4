#include "io/hashes.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "io/diffusers_files.h"
#include "io/diffusers_request.h"
#include "io/files.h"
#include "log.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct Known {
  std::string state;  // size, time and inode
  std::string hash;
  bool settled = false;  // old enough that a change since would show in its time
};

struct Memo {
  std::mutex mutex;
  std::map<std::string, Known> files;
  bool grown = false;
};

Memo& memo() {
  static Memo all;
  return all;
}

// A file written twice within this many seconds may keep its time.
constexpr int64_t coarsest_clock = 2;

std::string hash_of_file(const std::string& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) {
    return "";
  }
  const std::string state = std::to_string(s.st_size) + " " + std::to_string(s.st_mtim.tv_sec) + "." +
                            std::to_string(s.st_mtim.tv_nsec) + " " + std::to_string(s.st_ino);
  Memo& all = memo();
  {
    const std::lock_guard lock(all.mutex);
    if (const auto found = all.files.find(path); found != all.files.end() && found->second.state == state) {
      return found->second.hash;
    }
  }
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  const std::string hash = sha256_of_file(path);
  const std::lock_guard lock(all.mutex);
  all.files[path] = {state, hash, now - s.st_mtim.tv_sec > coarsest_clock};
  all.grown = true;
  return hash;
}

// Every file below a folder, less hidden ones, as paths within it, in order.
std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> out;
  std::error_code error;
  const auto options = fs::directory_options::follow_directory_symlink | fs::directory_options::skip_permission_denied;
  constexpr int deepest = 32;  // symbolic links may go round in a circle
  for (fs::recursive_directory_iterator i(folder, options, error), end; !error && i != end; i.increment(error)) {
    if (i->path().filename().string().starts_with(".") || i.depth() > deepest) {
      i.disable_recursion_pending();
    } else if (i->is_regular_file(error)) {
      out.push_back(i->path().lexically_relative(folder).string());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string hash_of_folder(const fs::path& folder) {
  const std::vector<std::string> files = files_below(folder);
  constexpr size_t many = 5000;
  std::optional<log::Progress> progress;
  if (files.size() > many) {
    progress.emplace("reading what " + folder.string() + " holds", static_cast<int64_t>(files.size()));
  }
  std::string all = "folder\n";
  for (const std::string& file : files) {
    all += file + std::string(1, '\0') + hash_of_file((folder / file).string()) + "\n";
    if (progress) {
      progress->advance();
    }
  }
  return sha256_of_text(all);
}

}  // namespace

std::string content_hash(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  if (fs::is_directory(absolute, error)) {
    const std::string own = hash_of_folder(absolute);
    const fs::path scheduler = scheduler_outside(absolute);  // says as much of a model as its own files
    return scheduler.empty() ? own : sha256_of_text(own + "\n" + hash_of_file(scheduler.string()));
  }
  if (!fs::exists(absolute, error)) {
    const auto request = path.string().find('?') != std::string::npos ? diffusers_request(path.string()) : std::nullopt;
    return request ? content_of(*request) : "";
  }
  return hash_of_file(absolute.string());
}

void load_hashes(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) {
    return;
  }
  const auto kept = nlohmann::json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  if (!kept.is_object()) {
    return;
  }
  Memo& all = memo();
  const std::lock_guard lock(all.mutex);
  for (const auto& [path, entry] : kept.items()) {
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      all.files.try_emplace(path, Known{entry[0].get<std::string>(), entry[1].get<std::string>(), true});
    }
  }
}

void save_hashes(const fs::path& file) {
  Memo& all = memo();
  const std::lock_guard lock(all.mutex);
  if (!all.grown) {
    return;
  }
  auto kept = nlohmann::json::object();
  for (const auto& [path, known] : all.files) {
    if (known.settled) {
      kept[path] = {known.state, known.hash};
    }
  }
  try {
    make_folder(file.parent_path());
    write_text(file, kept.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    all.grown = false;
  } catch (const Error&) {  // it only saves time
  }
}

}  // namespace retort
