#include "share/claim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
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

// Whether the claim was made by this call. Its content is there from the start.
bool make(const fs::path& claim) {
  static std::atomic<int64_t> count = 0;
  const fs::path own = claim.string() + "." + host() + "." + std::to_string(getpid()) + "." + std::to_string(count++);
  const Json content = {{"host", host()}, {"process", getpid()}, {"began", begin_of(getpid())}};
  write_own(own, content.dump() + "\n");
  const int linked = link(own.c_str(), claim.c_str());
  struct stat info {};
  const bool mine = linked == 0 || (stat(own.c_str(), &info) == 0 && info.st_nlink == 2);
  unlink(own.c_str());
  return mine;
}

Json content_of(const fs::path& claim) { return Json::parse(text_if_there(claim), nullptr, false); }

bool is_dead(const fs::path& claim, double patience) {
  struct stat then {};
  if (stat(claim.c_str(), &then) != 0) {
    return false;  // just given back; the next look will show
  }
  const Json content = content_of(claim);
  if (content.is_object() && content.value("host", "") == host()) {
    const auto pid = content.value("process", int64_t{0});
    return begin_of(pid) != content.value("began", "");
  }
  // Clocks differ between machines: the file system's own is the judge, read off a file that is written now.
  const fs::path probe = claim.string() + ".now." + host() + "." + std::to_string(getpid());
  write_own(probe, "");
  struct stat now {};
  const bool read = stat(probe.c_str(), &now) == 0;
  unlink(probe.c_str());
  const double age = static_cast<double>(now.st_mtim.tv_sec - then.st_mtim.tv_sec) +
                     1e-9 * static_cast<double>(now.st_mtim.tv_nsec - then.st_mtim.tv_nsec);
  return read && age > patience;
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

void Claim::beat() {
  constexpr auto pulse = std::chrono::seconds(5);
  std::unique_lock lock(mutex_);
  while (!stopping_.wait_for(lock, pulse, [this] { return stop_; })) {
    utimensat(AT_FDCWD, numbered(path_, number_).c_str(), nullptr, 0);
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
  const Json content = last < 0 ? Json() : content_of(numbered(path, last));
  return content.is_object()
             ? content.value("host", "") + ", process " + std::to_string(content.value("process", int64_t{0}))
             : "";
}

}  // namespace retort
