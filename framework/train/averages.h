/// Power-function averages of what is trained, of several lengths at once, and their snapshots, of which averages of
/// any other length are made after the training (Karras et al. 2024, EDM2, arXiv 2312.02696, section 3.2).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "config/settings.h"
#include "io/json.h"
#include "train/weights.h"

namespace retort {

class PowerAverages {
 public:
  /// Of train.ema_lengths; none where that is empty.
  PowerAverages(const Weights& trained, const TrainSettings& settings);

  bool empty() const { return averages_.empty(); }
  /// Forgets all there was. The next step is the first.
  void begin(int64_t step);
  /// Takes in the weights after a step of the training, counted from 1.
  void follow(int64_t step);
  /// Writes the averages after a step into the folder of the checkpoints; of several processes, one `writes`.
  void snapshot(const std::filesystem::path& checkpoints, int64_t step, bool writes = true);

  /// What a checkpoint says of the snapshots there are: {"begin", "lengths", "steps"}.
  Json described() const;
  /// The running averages, and the same text, for a saved state.
  void store(std::map<std::string, Tensor>& out) const;
  void restore(const std::map<std::string, Tensor>& from, const Json& described);

 private:
  std::string prefix(size_t i) const;

  const Weights& trained_;
  std::vector<double> lengths_;
  std::vector<std::vector<Tensor>> averages_;  // for each length
  int64_t begin_ = 0;                          // the step after which the averages began
  std::vector<int64_t> steps_;                 // of the snapshots since then
};

/// Makes the average of a length, as it would be at a checkpoint, of the snapshots up to there: a checkpoint beside it,
/// whose path is returned. Of a low-rank adapter it is the adapter's file. Throws RequestError where snapshots are
/// missing. Says so in the log where they cannot represent that length well.
std::filesystem::path reconstruct_average(const std::filesystem::path& checkpoint, double length);

}  // namespace retort
