/// What a run says as it goes: lines on standard error, and one progress bar.
///
/// This header keeps spdlog (and its fmt) apart from LibTorch's headers, which ship another fmt.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace retort::log {

void info(const std::string& message);
void warn(const std::string& message);
void error(const std::string& message);

/// "1 h 02 min", "3 min 20 s", "12 s".
std::string duration(double seconds);

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
