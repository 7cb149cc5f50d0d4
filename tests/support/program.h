/// Runs the built program as a user would.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "support/support.h"

namespace retort::test {

struct Outcome {
  int code;
  std::string output;  // standard output and error together
};

inline Outcome shell(const std::string& command) {
  Outcome out{0, ""};
  FILE* pipe = popen(("exec 2>&1; " + command).c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    out.output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return out;
}

/// The Python that RETORT_PYTHON names, where it can import these modules ("diffusers, PIL"); "" otherwise, with a
/// word.
inline const std::string& python_that_imports(const std::string& modules) {
  static std::map<std::string, std::string> known;
  const auto [it, fresh] = known.try_emplace(modules);
  const char* const python = std::getenv("RETORT_PYTHON");
  if (fresh && python != nullptr &&
      shell("'" + std::string(python) +
            "' -c 'from importlib.util import find_spec; [find_spec(m.strip()).name for m in \"" + modules +
            "\".split(\",\")]'")
              .code == 0) {
    it->second = python;
  }
  if (fresh && it->second.empty()) {
    MESSAGE("left out: RETORT_PYTHON names no Python that has " << modules);
  }
  return it->second;
}

inline Outcome run_retort(const std::string& arguments) { return shell("'" + program() + "' " + arguments); }

/// Starts the program, and kills it in the middle of its work, as soon as `is_time` or after two minutes.
inline void kill_when(const std::string& arguments, const std::function<bool()>& is_time) {
  const pid_t process = fork();
  REQUIRE(process >= 0);
  if (process == 0) {
    const std::string command = "exec '" + program() + "' " + arguments + " > /dev/null 2>&1";
    execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  for (int i = 0; i < 24000 && !is_time(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(kill(process, SIGKILL) == 0);
  int status = 0;
  waitpid(process, &status, 0);
  CHECK(WIFSIGNALED(status));
}

/// Whether a failure is what users are promised: the exit code, one line, and the parts named.
inline bool one_line(const Outcome& outcome, int code, std::initializer_list<const char*> parts) {
  bool good = outcome.code == code;
  const size_t lines = static_cast<size_t>(std::count(outcome.output.begin(), outcome.output.end(), '\n'));
  good = good && lines == 1 && outcome.output.starts_with("error: ");
  for (const char* part : parts) {
    good = contains(outcome.output, part) && good;
  }
  if (!good) {
    MESSAGE("exit code " << outcome.code << ", output: " << outcome.output);
  }
  return good;
}

inline const std::string mixture_config = "'" + source_dir() + "/configs/mixture.toml'";
/// Overrides that make the mixture's run take a second.
inline const std::string small =
    " train.steps=20 evaluate.at=[5] evaluate.samples=200 metric.ode_error.exact_samples=16 "
    "metric.ode_error.noise_levels=2 train.log_every=1 network.width=16 dataset.test_samples=300 ";

}  // namespace retort::test
