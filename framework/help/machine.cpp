#include "help/machine.h"

#include <sched.h>
#include <sys/resource.h>

#include <fstream>
#include <sstream>
#include <thread>

namespace retort {

namespace {

// The text behind "NAME:" in a line of a file of /proc; empty where there is none.
std::string line_of(const std::string& file, const std::string& name) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name)) {
      const size_t at = line.find(':');
      const size_t from = at == std::string::npos ? at : line.find_first_not_of(" \t", at + 1);
      return from == std::string::npos ? "" : line.substr(from);
    }
  }
  return "";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                     : static_cast<int>(std::thread::hardware_concurrency());
}

// cgroup v2's "QUOTA PERIOD", or "max PERIOD".
double container_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) {
    return 0;
  }
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace

Machine this_machine() {
  Machine out;
  const std::string cpus = "/proc/cpuinfo";
  out.model = line_of(cpus, "model name");
  out.model = out.model.empty() ? "a processor without a name" : out.model;
  const std::string flags = line_of(cpus, "flags");
  std::istringstream words(flags.empty() ? line_of(cpus, "Features") : flags);
  for (std::string word; words >> word;) {
    out.features.insert(word);
  }
  out.cores = usable_cores();
  out.quota = container_quota();
  out.free_memory = std::strtod(line_of("/proc/meminfo", "MemAvailable").c_str(), nullptr) / 1024 / 1024;  // from kB
  return out;
}

int64_t peak_memory() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return int64_t{1024} * used.ru_maxrss;
}

FolderSize folder_size(const std::filesystem::path& folder) {
  FolderSize out;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    std::error_code gone;
    if (i->is_regular_file(gone)) {
      const auto bytes = i->file_size(gone);
      out.files += 1;
      out.bytes += gone ? 0 : static_cast<int64_t>(bytes);
    }
  }
  return out;
}

}  // namespace retort
