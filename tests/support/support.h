/// What the tests share: plugins from the build tree, a host to build them with, folders that clean up after
/// themselves.
#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "config/toml.h"
#include "plugin/registry.h"
#include "retort/host.h"
#include "retort/loss.h"
#include "retort/metric.h"
#include "support/paths.h"

namespace retort::test {

inline const Registry& registry() {
  static const Registry all({plugin_dir()});
  return all;
}

/// A host with a process and a task, for building plugins outside an experiment.
class TestHost final : public Host {
 public:
  explicit TestHost(const std::string& process_toml = "type = \"ve\"", ModelSpec spec = {}) : spec_(std::move(spec)) {
    const Value table = parse_toml(process_toml, "test.toml");
    Params p(table, "process", nullptr);
    process_ = Process(p);
    const Value empty;
    Params b(empty, "backend", this);
    backend_ = std::static_pointer_cast<Backend>(registry().make("backend", "cpu", b));
    backend_->prepare();
  }
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return registry().make(kind, name, params);
  }
  const Process& process() const override { return process_; }
  bool process_given() const override { return true; }
  ModelSpec spec() const override { return spec_; }
  const Backend& backend() const override { return *backend_; }
  Checkpoint checkpoint(const std::string&) override { throw Error("no checkpoints here"); }
  std::shared_ptr<Network> network(const Checkpoint&, const std::string&) override {
    throw Error("no checkpoints here");
  }

  /// A plugin from TOML: make<Solver>("dpm_solver", "order = 3").
  template <class T>
  std::shared_ptr<T> make_plugin(const std::string& name, const std::string& toml = "") {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, T::kind, this);
    auto made = std::static_pointer_cast<T>(registry().make(T::kind, name, p));
    p.finish();
    return made;
  }

 private:
  Process process_;
  ModelSpec spec_;
  std::shared_ptr<Backend> backend_;
};

/// The mixture that most tests solve.
inline constexpr const char* mixture_1d =
    "weights = [0.3, 0.4, 0.3]\nmeans = [[-1.0], [0.2], [1.3]]\nstds = [0.25, 0.15, 0.3]";

inline Tensor normal(at::IntArrayRef shape, uint64_t seed = 0) {
  return at::randn(shape, seeded(seed, "test"), at::TensorOptions().dtype(at::kDouble));
}

inline double most(const Tensor& x) { return x.abs().max().item<double>(); }
inline double rms(const Tensor& x) { return x.square().mean().sqrt().item<double>(); }
inline Tensor times(std::vector<double> values) { return at::tensor(values, at::kDouble); }

/// The message of the RequestError that `f` throws; fails the test where it throws none.
template <class F>
std::string request_error(F f) {
  try {
    f();
  } catch (const RequestError& e) {
    return e.what();
  }
  FAIL("expected a RequestError");
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) {
    MESSAGE("'" << part << "' is not in: " << text);
  }
  return found;
}

class Folder {
 public:
  Folder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("retort-test-" + std::to_string(getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  std::string string() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace retort::test
