/// A trained model on its way to other programs: its checkpoint, and all that the file says of it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config/experiment.h"
#include "io/json.h"
#include "retort/host.h"
#include "retort/model.h"

namespace retort {

/// Where a model to be exported lies.
struct ExportedFile {
  std::filesystem::path run;   // its run's (or cell's) folder; empty where the file lies in none
  std::filesystem::path file;  // the checkpoint
};

/// The checkpoint that is asked for: `run` is a run's folder or a checkpoint, `cell` one of a sweep's, `checkpoint` a
/// file or a name in the run's "checkpoints"; the last step's where that is empty. Throws RequestError, with the
/// nearest name.
ExportedFile find_export(const std::string& run, const std::string& cell, const std::string& checkpoint);

/// The adapter alone that lies beside a merged checkpoint. Throws RequestError where there is none.
std::filesystem::path adapter_beside(const std::filesystem::path& checkpoint);

struct Outgoing {
  /// Reads the checkpoint and builds its network, in float32 on the CPU. `host` makes the plugins.
  Outgoing(Experiment& host, const Registry& registry, ExportedFile place);

  ExportedFile place;
  Checkpoint checkpoint;
  Makes makes = Makes::consistency;
  Process process;
  Parametrisation parametrisation;
  Boundary boundary;
  ModelSpec spec;
  std::shared_ptr<Network> network;
  bool half = false;  ///< whether files of weights are to be float16

  /// Its name: the run's.
  std::string name() const;
  /// A key of the run's configuration, such as "student.boundary"; null where it has none.
  const Value* configured(const char* path) const;
  /// The type of its network, and that network's keys.
  std::string network_type() const;
  /// The run's grid of times; undefined where it has no schedule.
  Tensor grid(Experiment& host) const;
  /// Whether the network is given the end of a jump.
  bool two_times() const { return spec.has(inputs::end_time); }
  /// As Retort itself runs it, operator by operator.
  Model model() const;
  /// What it was made of and how it is to be called, to be kept within what is written.
  Json described() const;
};

/// Weights in float16, what is no floating-point number as it is. Throws RequestError where a value would not be
/// finite.
std::map<std::string, Tensor> in_half(std::map<std::string, Tensor> weights);

/// Rows to try a model on: noise, times within its range, and every condition of its spec.
struct Trial {
  Tensor x, t, s;  // [B, …], [B] float64, [B] float64 (below t)
  Conditioning condition;
};
Trial trial(const Outgoing& model, int64_t rows, uint64_t seed);

}  // namespace retort
