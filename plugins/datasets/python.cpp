/// A data set in Python: a .py file with a class `Dataset`.
///
/// It says `shape`, of one sample, and has size(self, split), with "train" or "test", and batch(self, split, index),
/// which returns the samples of those indices: a tensor [B, …], or (samples, labels), or (samples, {"name": tensor,
/// …}). Where there are labels it says `classes`, and may say `class_names`; `inputs` is a dict of other inputs' names
/// and the shapes of a row; pictures(self, x) returns [n, C, H, W] in [0, 1]. Equal indices must give equal samples.
///
///     [dataset]
///     type = "python"
///     file = "my_data.py"
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonDataset final : public Dataset {
 public:
  explicit PythonDataset(Params& p) {
    python::Object object = python::from_file(p, "Dataset");
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] { return std::make_shared<python::ObjectDataset>(std::move(object)); });
    }
  }
  std::vector<int64_t> shape() const override { return made_->shape(); }
  int64_t classes() const override { return made_->classes(); }
  std::vector<Input> inputs() const override { return made_->inputs(); }
  std::vector<std::string> class_names() const override { return made_->class_names(); }
  int64_t size(Split split) const override { return made_->size(split); }
  Batch batch(Split split, const Tensor& index) const override { return made_->batch(split, index); }
  Tensor pictures(const Tensor& x) const override { return made_->pictures(x); }

 private:
  std::shared_ptr<python::ObjectDataset> made_;
};

RETORT_PLUGIN(PythonDataset, dataset, python)
