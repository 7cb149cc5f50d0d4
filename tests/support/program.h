/// Runs the built program as a user would.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

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

inline Outcome run_retort(const std::string& arguments) { return shell("'" + program() + "' " + arguments); }

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
