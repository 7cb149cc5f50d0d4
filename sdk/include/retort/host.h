/// What the host offers to a plugin that is being built.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "retort/backend.h"
#include "retort/process.h"

namespace retort {

/// Named tensors and the configuration that made them.
struct Checkpoint {
  std::map<std::string, Tensor> tensors;
  Value config;

  /// What its network was built for, as the configuration's table "model" says.
  RETORT_API ModelSpec spec() const;
};

/// The same as keys of a table "model": shape, classes, guided, the further inputs, and more outputs than 1.
RETORT_API void write_spec(const ModelSpec& spec, Value& model);

class RETORT_API Host {
 public:
  virtual ~Host();

  /// A plugin of a kind by name. The object stays valid to the end of the process.
  virtual std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) = 0;
  template <class T>
  std::shared_ptr<T> make(const std::string& name, Params& params) {
    return std::static_pointer_cast<T>(make(T::kind, name, params));
  }

  /// The experiment's process, from its [process] table; "ve" where there is none.
  virtual const Process& process() const = 0;
  virtual bool process_given() const = 0;
  /// What networks are built for: the data set's (or teacher's) sample and inputs, and the loss's outputs.
  virtual ModelSpec spec() const = 0;
  virtual const Backend& backend() const = 0;
  /// Reads a checkpoint. Throws RequestError where the file is missing or is none.
  virtual Checkpoint checkpoint(const std::string& path) = 0;
  /// The network of a checkpoint with its weights, on the backend.
  virtual std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) = 0;
};

}  // namespace retort
