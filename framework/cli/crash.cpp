#include "cli/crash.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "log.h"
#include "plugin/guarded.h"

namespace retort {

namespace {

std::string who() {
  return running_plugin == nullptr
             ? ""
             : running_plugin->kind + " '" + running_plugin->name + "' (" + running_plugin->path.string() + "): ";
}

pid_t own_process = 0;

// Ends the process at once, past the _exit below.
[[noreturn]] void end_now(int code) {
  syscall(SYS_exit_group, code);
  std::abort();
}

[[noreturn]] void leave(const std::string& what) {
  log::error(who() + what.substr(0, what.find('\n')));
  end_now(1);
}

// In a signal handler only what is safe there: no allocation, no locks.
void say(const char* text) { [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text)); }
[[noreturn]] void on_signal(int signal) {
  const char* what = signal == SIGSEGV  ? "crashed (segmentation fault)\n"
                     : signal == SIGBUS ? "crashed (bus error)\n"
                     : signal == SIGFPE ? "crashed (integer division by zero)\n"
                     : signal == SIGILL ? "crashed (illegal instruction)\n"
                                        : "ended itself (abort)\n";
  say("error: ");
  if (running_plugin != nullptr) {
    say(running_plugin->kind.c_str());
    say(" '");
    say(running_plugin->name.c_str());
    say("' (");
    say(running_plugin->path.c_str());
    say(") ");
  } else {
    say("the program ");
  }
  say(what);
  end_now(1);
}

// The lines of a file, read without a stream.
class MapLines {
 public:
  explicit MapLines(const char* path) : file_(open(path, O_RDONLY | O_CLOEXEC)) {}
  // The next line, cut at its end; null behind the last.
  const char* next() {
    size_t length = 0;
    for (char c = 0; (c = read_one()) != 0 && c != '\n';) {
      if (length + 1 < sizeof line_) {
        line_[length++] = c;
      }
    }
    line_[length] = 0;
    return length > 0 ? line_ : nullptr;
  }

 private:
  char read_one() {
    if (at_ == end_) {
      end_ = file_ < 0 ? 0 : read(file_, buffer_, sizeof buffer_);
      at_ = 0;
    }
    return end_ > 0 ? buffer_[at_++] : '\0';
  }
  int file_;
  ssize_t at_ = 0, end_ = 0;
  char buffer_[4096], line_[4096];
};

// A hexadecimal number, and what stands behind it.
const char* read_hexadecimal(const char* text, uintptr_t& out) {
  for (out = 0;; ++text) {
    const int digit = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 : -1;
    if (digit < 0) {
      return text;
    }
    out = out << 4 | static_cast<uintptr_t>(digit);
  }
}

// The file that is mapped at an address, as the system says it: "BEGIN-END … PATH". Null where there is none.
const char* mapped_file(const void* address) {
  static MapLines maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  while (const char* line = maps.next()) {
    uintptr_t begin = 0, end = 0;
    const char* rest = read_hexadecimal(line, begin);
    read_hexadecimal(rest + 1, end);
    if (wanted >= begin && wanted < end) {
      return std::strchr(rest, '/');
    }
  }
  return nullptr;
}

// A mapped file whose end is before the byte that was asked for. Several threads may ask at once: one says it.
void on_bus_error(int signal, siginfo_t* info, void*) {
  static std::atomic_flag taken = ATOMIC_FLAG_INIT;
  while (taken.test_and_set()) {
    pause();
  }
  if (const char* file = info->si_code == BUS_ADRERR ? mapped_file(info->si_addr) : nullptr) {
    say("error: ");
    say(file);
    say(": became shorter while it was in use, or cannot be read any more; its bytes are read where they lie, so it "
        "has to stay as it is\n");
    end_now(1);
  }
  on_signal(signal);
}

[[noreturn]] void on_terminate() {
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::exception& e) {
      leave(std::string("an exception could not be caught: ") + e.what());
    } catch (...) {
      leave("an exception could not be caught");
    }
  }
  leave("ended without an exception (std::terminate)");
}

// exit() from within a plugin is no end that a run can have.
void on_exit_within_plugin() {
  if (running_plugin != nullptr && getpid() == own_process) {
    leave("ended the process by exit()");
  }
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool signals_are_taken = true;
#else
constexpr bool signals_are_taken = false;
#endif

}  // namespace

void one_line_for_crashes() {
  own_process = getpid();
  std::set_terminate(on_terminate);
  std::atexit(on_exit_within_plugin);
  if (signals_are_taken) {
    return;
  }
  // A stack of its own, so that an overflow of the other can be told.
  static char stack[1 << 16];
  const stack_t alternative{stack, 0, sizeof stack};
  sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND);
  for (const int signal : {SIGSEGV, SIGFPE, SIGILL, SIGABRT}) {
    sigaction(signal, &action, nullptr);
  }
  action.sa_sigaction = on_bus_error;
  action.sa_flags = static_cast<int>(SA_ONSTACK | SA_SIGINFO);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace retort

// The program's own version of what os._exit() in Python calls: a plugin that ends the process has not done its work,
// whatever code it gives.
extern "C" [[noreturn]] __attribute__((visibility("default"))) void _exit(int code) {
  // A child that a plugin forked may end as it likes.
  if (retort::running_plugin != nullptr && getpid() == retort::own_process) {
    retort::leave("ended the process by _exit(" + std::to_string(code) + ")");
  }
  retort::end_now(code);
}

// The program's own version of what assert() calls, which shared libraries find before the C library's.
extern "C" [[noreturn]] __attribute__((visibility("default"))) void __assert_fail(const char* assertion,
                                                                                  const char* file, unsigned int line,
                                                                                  const char*) noexcept {
  retort::leave(std::string("assertion failed: ") + assertion + " (" + file + ":" + std::to_string(line) + ")");
}
