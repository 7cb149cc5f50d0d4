/// Samples to train on and to compare with.
#pragma once

#include <vector>

#include "retort/conditioning.h"
#include "retort/params.h"

namespace retort {

enum class Split { train, test };

class RETORT_API Dataset {
 public:
  static constexpr const char* kind = "dataset";
  using Interface = Dataset;
  virtual ~Dataset();

  /// The shape of one sample: [C, H, W] for pictures, [D] for points.
  virtual std::vector<int64_t> shape() const = 0;
  /// Of its labels; 0 where there are none.
  virtual int64_t classes() const;
  /// All that `batch` gives beside x: by default the labels, where there are any.
  virtual std::vector<Input> inputs() const;
  virtual std::vector<std::string> class_names() const;
  virtual int64_t size(Split split) const = 0;
  /// The samples of those indices: [B] int64 on the CPU, in 0 … size - 1. x is float32 on the CPU.
  virtual Batch batch(Split split, const Tensor& index) const = 0;
  /// Samples as pictures with values in [0, 1], for showing; undefined where they are none.
  virtual Tensor pictures(const Tensor& x) const;
  /// The labels of a whole split, [size] int64; undefined where there are none. By default they are read with the
  /// samples; a data set that can tell them without should.
  virtual Tensor labels(Split split) const;
  /// One line on what was found and left out, such as "3 files that are no pictures"; empty where there is nothing to
  /// say.
  virtual std::string notes() const;
};

}  // namespace retort
