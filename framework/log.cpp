#include "log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace retort::log {

namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_color_mt("retort");
    made->set_pattern("%^%v%$");
    return made;
  }();
  return *instance;
}

}  // namespace

namespace {

bool quiet = false;
bool in_cells = false;
std::string prefix;
Printer printer;

void say(Level level, const std::string& message) {
  if (printer.line) {
    printer.line(level, message);
  } else if (level == Level::info) {
    logger().info("{}", message);
  } else if (level == Level::warning) {
    logger().warn("warning: {}", message);
  } else {
    logger().error("error: {}", message);
  }
}

}  // namespace

void print_to(Printer to) {
  printer = std::move(to);
  quiet = false;
}

void info(const std::string& message) {
  if (!quiet && !in_cells) {
    say(Level::info, message);
  }
}
void done(const std::string& message) {
  if (!quiet) {
    say(Level::info, message);
  }
}
void warn(const std::string& message) { say(Level::warning, message); }
void error(const std::string& message) { say(Level::error, message); }

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  const auto two = [](int64_t v) { return (v < 10 ? "0" : "") + std::to_string(v); };
  if (s >= 3600) {
    return std::to_string(s / 3600) + " h " + two(s / 60 % 60) + " min";
  }
  return s >= 60 ? std::to_string(s / 60) + " min " + two(s % 60) + " s" : std::to_string(s) + " s";
}

void be_quiet() { quiet = true; }

Cells::Cells(size_t total) : total_(total), start_(std::chrono::steady_clock::now()) { in_cells = total > 1; }

Cells::~Cells() {
  in_cells = false;
  prefix.clear();
}

void Cells::begin(const std::string& name, size_t done) {
  if (total_ < 2) {
    return;
  }
  if (!begun_) {
    done_before_ = done;
    begun_ = true;
  }
  prefix = "[" + std::to_string(done + 1) + "/" + std::to_string(total_);
  if (done > done_before_) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    prefix += ", " + duration(seconds / static_cast<double>(done - done_before_) * static_cast<double>(total_ - done)) +
              " left";
  }
  prefix += "] " + name + ": ";
}

Progress::Progress(std::string label, int64_t total, int64_t done)
    : label_(std::move(label)),
      total_(total),
      first_(done),
      done_(done),
      terminal_(!printer.progress && isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      drawn_(start_) {
  if (terminal_ && !quiet) {
    draw("");
  }
}

Progress::~Progress() {
  if (printer.progress && !quiet) {
    try {
      printer.progress(prefix + label_, done_, total_);
    } catch (...) {
      // A destructor may not throw, and where update() threw, that exception is already on its way.
    }
  }
  if (terminal_) {
    std::fputs("\r\033[K", stderr);
  }
}

void Progress::update(int64_t done, const std::string& note) {
  done_ = done;
  const auto now = Clock::now();
  const bool often = terminal_ || printer.progress;
  const auto interval = often ? std::chrono::milliseconds(100) : std::chrono::milliseconds(20000);
  if (now - drawn_ >= interval) {
    drawn_ = now;
    draw(note);
  }
}

void Progress::draw(const std::string& note) {
  if (printer.progress) {
    if (!quiet) {
      printer.progress(prefix + label_, done_, total_);
    }
    return;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_ - first_) / seconds : 0;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1;
  char numbers[120];
  std::snprintf(numbers, sizeof numbers, "%3.0f%%  %ld/%ld  %.*f/s", 100 * share, static_cast<long>(done_),
                static_cast<long>(total_), rate < 10 ? 2 : 0, rate);
  std::string line = numbers;
  if (rate > 0) {
    line += "  " + duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!note.empty()) {
    line += "  " + note;
  }
  if (quiet) {
    return;
  }
  if (!terminal_) {
    done(prefix + label_ + ": " + line);
    return;
  }
  constexpr int width = 24;
  const int filled = std::clamp(static_cast<int>(share * width), 0, width);
  std::string bar;
  for (int i = 0; i < width; ++i) {
    bar += i < filled ? "━" : "╌";
  }
  std::fprintf(stderr, "\r\033[K%s%s  %s  %s", prefix.c_str(), label_.c_str(), bar.c_str(), line.c_str());
  std::fflush(stderr);
}

}  // namespace retort::log
