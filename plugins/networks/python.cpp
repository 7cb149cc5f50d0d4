/// A network in Python: a .py file with a class `Network`, a torch.nn.Module.
///
/// It is made with a dict: `shape` of a sample, `classes`, `inputs` (name to the shape of a row) and `outputs`, how
/// many samples' worth of numbers it gives. forward(x, time, **conditions) returns a tensor like x; it is given those
/// of its `inputs` that there are, a list of names (by default of labels alone). features(x) is for metrics, where it
/// is there. Its weights are LibTorch's and Python's at once.
///
///     [network]
///     type = "python"
///     file = "my_network.py"
#include <retort/host.h>
#include <retort/plugin.h>
#include <torch/nn/module.h>

#include "file.h"

using namespace retort;

class PythonNetwork final : public Network {
 public:
  explicit PythonNetwork(Params& p) {
    const ModelSpec spec = p.is_describing() ? ModelSpec{} : p.host().spec();
    python::Object object = python::from_file(p, "Network", nullptr, &spec);
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] {
        std::vector<std::string> inputs = python::listed(object, "inputs", {std::string(retort::inputs::labels)});
        return std::make_shared<python::ObjectNetwork>(std::move(object), std::move(inputs));
      });
    }
  }
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return made_->forward(x, c_noise, condition);
  }
  std::vector<std::string> inputs() const override { return made_->inputs(); }
  Tensor features(const Tensor& x) override { return made_->features(x); }
  std::shared_ptr<torch::nn::Module> module() override { return made_->module(); }

 private:
  std::shared_ptr<python::ObjectNetwork> made_;
};

RETORT_PLUGIN(PythonNetwork, network, python)
