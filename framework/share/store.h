/// Results that runs share: found again by what they were made from, and safe for several processes at once.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "io/safetensors.h"
#include "retort/ode.h"

namespace retort {

class Store {
 public:
  /// Keeps its files in `folder`, one for each key, under the SHA-256 of the key.
  explicit Store(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// The file of a key, as an earlier call left it; computed, and kept, where there is none. Where another process
  /// computes it just now, waits for that.
  TensorFile get(const std::string& key, const std::function<TensorFile()>& compute) const;
  /// The same for work that makes a file of its own at the path given, such as the training of a model.
  std::filesystem::path make(const std::string& key, const std::string& name,
                             const std::function<void(const std::filesystem::path& folder)>& work) const;

  std::filesystem::path path_of(const std::string& key) const;
  std::filesystem::path folder_of(const std::string& key) const { return path_of(key).replace_extension(""); }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

/// Solves of one teacher by one solver, kept in a store. `key` says which teacher, solver and backend.
std::shared_ptr<SolveMemory> stored_solves(Store store, std::string key);

}  // namespace retort
