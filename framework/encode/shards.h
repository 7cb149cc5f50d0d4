/// Shards of latents: what an autoencoder makes of a data set's pictures, once, with their conditions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/experiment.h"
#include "encode/text_encoder.h"
#include "io/safetensors.h"

namespace retort {

/// Makes train/ and test/ in a folder, numbered shards of safetensors, and at last a configuration of the data set that
/// reads them. Whatever it is interrupted by, it goes on at the shard that it was at, and makes the same files to the
/// bit.
class Shards {
 public:
  /// The configuration of them, which is there when all are.
  static constexpr const char* config_name = "latents.toml";
  /// What they were made of.
  static constexpr const char* manifest_name = "encode.json";

  /// Checks that there is something to encode, by one picture. Throws RequestError where there is not.
  explicit Shards(const Experiment& experiment);

  /// SHA-256 of all that the shards depend on.
  const std::string& fingerprint() const { return fingerprint_; }
  /// What a folder with other shards was made of in another way: "dataset", or "autoencoder and encode"; "" where it
  /// holds these, or none. Throws RequestError for a folder that holds something else than shards; a damaged manifest
  /// is no reason where the folder is to be moved aside.
  std::string difference(const std::filesystem::path& folder, bool moved_aside = false) const;
  /// Whether a folder holds all of these. Throws RequestError where it holds shards besides, which would be read too.
  bool complete(const std::filesystem::path& folder) const;
  /// `again` says, to who interrupts it, what goes on from there.
  void make(const std::filesystem::path& folder, const std::string& again = "the same command") const;
  /// The configuration anew, where it is not what it should be: another project's paths, or changed by hand.
  void write_config(const std::filesystem::path& folder) const;

  int64_t pictures() const;
  int64_t count() const;

 private:
  struct Place {
    Split split;
    int64_t number, first, rows;
    std::filesystem::path file() const;
  };
  std::vector<Place> places() const;
  Batch encoded(Split split, int64_t first, int64_t rows) const;
  Tensor stored(const std::string& name, const Tensor& rows, const std::string& of) const;
  bool there(const std::filesystem::path& file, const std::string& name, int64_t rows = -1) const;
  bool unconditional_there(const std::filesystem::path& folder) const;
  void check_left_over(const std::filesystem::path& folder, const std::vector<Place>& places) const;
  TensorFile file_of(const Place& place, const std::string& again,
                     const std::function<void(int64_t done)>& progress) const;
  std::map<std::string, std::string> metadata() const;
  void write_unconditional(const std::filesystem::path& folder) const;

  const Experiment& experiment_;
  const EncodeSettings& settings_;
  const Dataset& data_;
  std::unique_ptr<TextEncoder> texts_;
  Conditioning none_;                           // of the empty prompt, where texts are encoded
  std::map<std::string, std::string> made_of_;  // table to hash
  std::string fingerprint_;
};

}  // namespace retort
