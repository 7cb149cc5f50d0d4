/// What a run says as it goes: lines on standard error, and one progress bar.
///
/// This header keeps spdlog (and its fmt) apart from LibTorch's headers, which ship another fmt.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace retort::log {

void info(const std::string& message);
void warn(const std::string& message);
void error(const std::string& message);

enum class Level { info, warning, error };

/// Who is told lines and progress in place of standard error.
struct Printer {
  std::function<void(Level, const std::string& line)> line = {};
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress = {};
};
/// From now on; an empty one gives standard error back.
void print_to(Printer printer);

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string duration(double seconds);

/// From now on only errors are said: for the processes of a group but the first.
void be_quiet();
/// Says a line that stays, also while the cells of a sweep are shown.
void done(const std::string& message);

/// The one display of a sweep: while it lives, a bar's label begins with how far the sweep has come and which cell is
/// under way, and info lines are held back. Of a single cell it shows nothing.
class Cells {
 public:
  explicit Cells(size_t total);
  ~Cells();
  Cells(const Cells&) = delete;
  Cells& operator=(const Cells&) = delete;
  /// A cell begins, after `done` have ended (some of them before this display began).
  void begin(const std::string& name, size_t done);

 private:
  size_t total_;
  size_t done_before_ = 0;
  bool begun_ = false;
  std::chrono::steady_clock::time_point start_;
};

/// A bar with rate and time left on a terminal; elsewhere a plain line every 20 seconds.
class Progress {
 public:
  Progress(std::string label, int64_t total, int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, const std::string& note = "");
  void advance(int64_t count = 1) { update(done_ + count); }

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const std::string& note);

  std::string label_;
  int64_t total_;
  int64_t first_;
  int64_t done_;
  bool terminal_;
  Clock::time_point start_;
  Clock::time_point drawn_;
};

}  // namespace retort::log
