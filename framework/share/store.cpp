#include "share/store.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "interrupt.h"
#include "io/files.h"
#include "log.h"
#include "share/claim.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// A damaged file is as good as none: it is made again.
std::optional<TensorFile> read_kept(const fs::path& path) {
  std::error_code missing;
  if (!fs::exists(path, missing)) {
    return {};
  }
  try {
    return read_safetensors(path);
  } catch (const Error& e) {
    log::warn(std::string(e.what()) + "; it is made again");
    return {};
  }
}

// Waits for the claim, or until `done` says that somebody else has finished the work.
std::unique_ptr<Claim> take_or_wait(const fs::path& path, const std::function<bool()>& done) {
  bool said = false;
  while (true) {
    if (auto claim = Claim::take(path)) {
      return claim;
    }
    if (done()) {
      return nullptr;
    }
    if (stop_requested()) {
      throw Error("interrupted; the same command goes on from there");
    }
    if (!said) {
      log::info("waiting for what " + Claim::holder(path) + " computes for all");
      said = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
}

}  // namespace

fs::path Store::path_of(const std::string& key) const {
  const std::string hash = sha256_of_text(key);
  return folder_ / hash.substr(0, 2) / (hash.substr(2, 30) + ".safetensors");
}

TensorFile Store::get(const std::string& key, const std::function<TensorFile()>& compute) const {
  const fs::path path = path_of(key);
  if (auto known = read_kept(path)) {
    return *std::move(known);
  }
  const auto claim = take_or_wait(path, [&] { return fs::exists(path); });
  if (auto known = read_kept(path)) {
    return *std::move(known);
  }
  TensorFile made = compute();
  write_safetensors(path, made);
  return made;
}

fs::path Store::make(const std::string& key, const std::string& name,
                     const std::function<void(const fs::path&)>& work) const {
  const fs::path folder = folder_of(key);
  const fs::path file = folder / name;
  if (fs::exists(file)) {
    return file;
  }
  const auto claim = take_or_wait(folder, [&] { return fs::exists(file); });
  if (!fs::exists(file)) {
    work(folder);
  }
  return file;
}

namespace {

class StoredSolves final : public SolveMemory {
 public:
  StoredSolves(Store store, std::string key) : store_(std::move(store)), key_(std::move(key)) {}

  std::optional<Result> recall(const Solve& solve) override {
    const std::optional<TensorFile> file = read_kept(store_.path_of(key_of(solve)));
    if (!file || !file->tensors.contains("states") || !file->tensors.contains("evaluations")) {
      return {};
    }
    return Result{file->tensors.at("states").to(solve.x.options()), file->tensors.at("evaluations").item<int64_t>()};
  }

  void keep(const Solve& solve, const Result& result) override {
    const fs::path path = store_.path_of(key_of(solve));
    make_folder(path.parent_path());
    TensorFile file;
    file.tensors["states"] = result.states.to(at::kCPU).contiguous();
    file.tensors["evaluations"] = at::tensor({result.evaluations}, at::kLong);
    write_safetensors(path, file);
  }

 private:
  std::string key_of(const Solve& solve) const {
    std::string bytes = key_ + (solve.trajectory ? " trajectory" : " end");
    const auto add = [&](const Tensor& t) {
      bytes += '|';
      if (t.defined()) {
        const Tensor flat = t.to(at::kCPU).contiguous();
        bytes += std::to_string(flat.numel()) + ' ';
        bytes.append(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
      }
    };
    for (const Tensor& t : {solve.grid, solve.x, solve.start}) {
      add(t);
    }
    for (const auto& [name, rows] : solve.condition) {
      bytes += name;
      add(rows);
    }
    return bytes;
  }

  Store store_;
  std::string key_;
};

}  // namespace

std::shared_ptr<SolveMemory> stored_solves(Store store, std::string key) {
  return std::make_shared<StoredSolves>(std::move(store), std::move(key));
}

}  // namespace retort
