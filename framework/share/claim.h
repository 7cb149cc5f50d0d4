/// Claims on pieces of work, among processes on machines that share a folder.
///
/// A claim is a file NAME.claim.N with the name of its holder, made by link(2), which is atomic on network file systems
/// too; where a file system has no hard links, by open(2) with O_EXCL. Its holder touches it every few seconds. A claim
/// whose heart has stopped is not removed (two who saw that at once would remove each other's) but outbid: the holder
/// is whoever made the file of the highest N.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace retort {

class Claim {
 public:
  /// Claims the work called `path`, or returns null where a living process holds it. A holder counts as dead after
  /// `patience` seconds without a sign of life, and at once where it was a process of this machine, and of this
  /// namespace of process numbers, that is no more. Throws Error where the file system lets no claim be made.
  static std::unique_ptr<Claim> take(const std::filesystem::path& path, double patience = default_patience);
  /// Gives the claim back: its files are removed, unless somebody has outbid it.
  ~Claim();
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  /// How many holders before this one died at the work.
  int64_t deaths() const { return number_; }
  /// Whether somebody took this process for dead (it was suspended, say) and has taken the work over.
  bool lost() const { return lost_; }

  /// Who holds it, "HOST, process PID" ("somebody" where that cannot be read), or "".
  static std::string holder(const std::filesystem::path& path);

  static constexpr double default_patience = 60;

 private:
  Claim(std::filesystem::path path, int64_t number);
  void beat();

  std::filesystem::path path_;
  int64_t number_;
  std::atomic<bool> lost_ = false;
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::thread heart_;
};

}  // namespace retort
