#include "share/claim.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

std::string host() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

// A file that others may remove at any time; empty where it is gone.
std::string text_if_there(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

// A file of this call alone. It is not put in place by a rename, which would fail if the holder of the claim, giving
// it back, cleared this file away meanwhile; then the attempt fails, and no more.
void write_own(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    throw Error(path.string() + ": cannot be written: " + std::strerror(errno));
  }
}

// Where process numbers mean what they mean here: this start of this machine, and this namespace of processes. Two
// containers have one host name often, and numbers of their own; empty where the system does not tell.
std::string numbering() {
  std::string boot = text_if_there("/proc/sys/kernel/random/boot_id");
  boot = boot.substr(0, boot.find('\n'));
  std::error_code error;
  const fs::path space = fs::read_symlink("/proc/self/ns/pid", error);
  return error || boot.empty() ? "" : boot + " " + space.string();
}

// Tells processes apart that had the same number: when this one began, in clock ticks since the machine did.
std::string begin_of(int64_t pid) {
  const std::string text = text_if_there("/proc/" + std::to_string(pid) + "/stat");
  size_t at = text.rfind(')');  // the name before it may hold anything
  for (int field = 2; field < 22 && at != std::string::npos; ++field) {
    at = text.find(' ', at + 1);
  }
  return at == std::string::npos ? "" : text.substr(at + 1, text.find(' ', at + 1) - at - 1);
}

fs::path numbered(const fs::path& path, int64_t number) { return path.string() + ".claim." + std::to_string(number); }

// The number of the highest claim, or -1.
int64_t highest(const fs::path& path) {
  const std::string prefix = path.filename().string() + ".claim.";
  int64_t out = -1;
  std::error_code error;
  for (fs::directory_iterator i(path.parent_path(), error), end; !error && i != end; i.increment(error)) {
    const std::string name = i->path().filename().string();
    if (!name.starts_with(prefix)) {
      continue;
    }
    // Files that are about to become claims have more behind the number.
    int64_t number = 0;
    const char* const end_of_name = name.data() + name.size();
    const auto [end_of_number, wrong] = std::from_chars(name.data() + prefix.size(), end_of_name, number);
    if (wrong == std::errc() && end_of_number == end_of_name) {
      out = std::max(out, number);
    }
  }
  return out;
}

// What processes that were killed have left of claims and of attempts at them: all files of the work but the last
// claim.
std::vector<fs::path> left_behind(const fs::path& path) {
  const std::string prefix = path.filename().string() + ".claim.";
  const fs::path last = numbered(path, highest(path));
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator i(path.parent_path(), error), end; !error && i != end; i.increment(error)) {
    if (i->path().filename().string().starts_with(prefix) && i->path() != last) {
      out.push_back(i->path());
    }
  }
  return out;
}

Error cannot(const fs::path& claim) {
  return Error(claim.string() + ": no claim can be made on this file system: " + std::strerror(errno));
}

// Where there are no hard links, a file that must not be there before is as atomic; its content comes a moment later.
bool make_exclusively(const fs::path& claim, const std::string& content) {
  const int file = open(claim.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) {
    if (errno == EEXIST) {
      return false;
    }
    throw cannot(claim);
  }
  const bool written = write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if ((close(file) != 0) | !written) {
    const Error error = cannot(claim);
    unlink(claim.c_str());
    throw error;
  }
  return true;
}

// Whether the claim was made by this call; false where somebody else was faster. Throws Error where none can be made.
bool make(const fs::path& claim) {
  static std::atomic<int64_t> count = 0;
  const fs::path own = claim.string() + "." + host() + "." + std::to_string(getpid()) + "." + std::to_string(count++);
  const Json json = {
      {"host", host()}, {"process", getpid()}, {"began", begin_of(getpid())}, {"numbering", numbering()}};
  const std::string content = spell(json) + "\n";
  try {
    write_own(own, content);
  } catch (const Error&) {
    unlink(own.c_str());
    throw;
  }
  const int linked = link(own.c_str(), claim.c_str());
  const int why = linked == 0 ? 0 : errno;
  struct stat info {};
  // Over a network, a link that was made may be answered by an error.
  const bool mine = linked == 0 || (stat(own.c_str(), &info) == 0 && info.st_nlink == 2);
  unlink(own.c_str());
  // ENOENT: its own file was cleared away by a holder who gave the claim back.
  return mine || (why != EEXIST && why != ENOENT && make_exclusively(claim, content));
}

Json content_of(const fs::path& claim) { return Json::parse(text_if_there(claim), nullptr, false); }

// The file system's own clock, read off a file that is written now: clocks differ between machines.
std::optional<double> now_of(const fs::path& claim) {
  const fs::path probe = claim.string() + ".now." + host() + "." + std::to_string(getpid());
  write_own(probe, "");
  struct stat now {};
  const bool read = stat(probe.c_str(), &now) == 0;
  unlink(probe.c_str());
  return read ? std::optional(static_cast<double>(now.st_mtim.tv_sec) + 1e-9 * static_cast<double>(now.st_mtim.tv_nsec))
              : std::nullopt;
}

bool is_dead(const fs::path& claim, double patience) {
  struct stat then {};
  if (stat(claim.c_str(), &then) != 0) {
    return false;  // just given back; the next look will show
  }
  const Json content = content_of(claim);
  if (content.is_object() && content.value("host", "") == host() && !numbering().empty() &&
      content.value("numbering", "") == numbering()) {
    const auto pid = content.value("process", int64_t{0});
    return begin_of(pid) != content.value("began", "");
  }
  const std::optional<double> now = now_of(claim);
  const double touched = static_cast<double>(then.st_mtim.tv_sec) + 1e-9 * static_cast<double>(then.st_mtim.tv_nsec);
  return now && *now - touched > patience;
}

}  // namespace

std::unique_ptr<Claim> Claim::take(const fs::path& given, double patience) {
  const fs::path path = fs::absolute(given);  // a bare name has no folder to look in
  make_folder(path.parent_path());
  const int64_t last = highest(path);
  if (last >= 0 && !is_dead(numbered(path, last), patience)) {
    return nullptr;
  }
  if (!make(numbered(path, last + 1))) {
    return nullptr;
  }
  return std::unique_ptr<Claim>(new Claim(path, last + 1));
}

Claim::Claim(fs::path path, int64_t number) : path_(std::move(path)), number_(number), heart_([this] { beat(); }) {}

namespace {

// A sign of life: the time of the file, or, where a file system does not set it alone, its content once more.
void touch(const fs::path& claim) {
  if (utimensat(AT_FDCWD, claim.c_str(), nullptr, 0) == 0 || errno == ENOENT) {
    return;
  }
  const std::string content = text_if_there(claim);
  const int file = open(claim.c_str(), O_WRONLY | O_CLOEXEC);
  if (file >= 0) {
    [[maybe_unused]] const ssize_t written = write(file, content.data(), content.size());
    close(file);
  }
}

}  // namespace

void Claim::beat() {
  constexpr auto pulse = std::chrono::seconds(5);
  std::unique_lock lock(mutex_);
  while (!stopping_.wait_for(lock, pulse, [this] { return stop_; })) {
    touch(numbered(path_, number_));
    lost_ = highest(path_) != number_;
  }
}

Claim::~Claim() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_all();
  heart_.join();
  if (highest(path_) == number_) {
    // From below: whoever looks meanwhile sees the living claim to the last.
    std::error_code ignored;
    for (const fs::path& left : left_behind(path_)) {
      fs::remove(left, ignored);
    }
    fs::remove(numbered(path_, number_), ignored);
  }
}

std::string Claim::holder(const fs::path& given) {
  const fs::path path = fs::absolute(given);
  const int64_t last = highest(path);
  if (last < 0) {
    return "";
  }
  const Json content = content_of(numbered(path, last));
  if (!content.is_object()) {  // being made, or just given back
    return fs::exists(numbered(path, last)) ? "somebody" : "";
  }
  return content.value("host", "") + ", process " + std::to_string(content.value("process", int64_t{0}));
}

}  // namespace retort
