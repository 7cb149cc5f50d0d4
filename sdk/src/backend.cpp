#include "retort/backend.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>

namespace retort {

namespace {

bool same_view(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.strides() == b.strides() && a.storage_offset() == b.storage_offset() &&
         a.scalar_type() == b.scalar_type();
}

// Tensors that lie in one storage.
struct Group {
  std::vector<Tensor> tensors;
  // One memory for all: moved as a whole, unless all are the same view, and so may be laid out anew.
  void move(c10::Device device, c10::ScalarType wanted, bool channels_last) const {
    const Tensor& first = tensors[0];
    const c10::ScalarType dtype = first.is_floating_point() ? wanted : first.scalar_type();
    const bool one = std::all_of(tensors.begin(), tensors.end(), [&](const Tensor& t) { return same_view(t, first); });
    if (one) {
      Tensor moved = first.detach().to(device, dtype);
      if (channels_last && moved.dim() == 4) {
        moved = moved.contiguous(at::MemoryFormat::ChannelsLast);
      }
      for (const Tensor& t : tensors) {
        Tensor(t).set_data(moved.alias());
      }
      return;
    }
    const auto whole = static_cast<int64_t>(first.storage().nbytes() / first.element_size());
    const Tensor moved = first.detach().as_strided({whole}, {1}, 0).to(device, dtype);
    for (const Tensor& t : tensors) {
      Tensor(t).set_data(moved.as_strided(t.sizes(), t.strides(), t.storage_offset()));
    }
  }
};

}  // namespace

void move_weights(Network& network, c10::Device device, c10::ScalarType dtype, bool channels_last) {
  const at::NoGradGuard no_grad;
  std::vector<std::pair<const void*, Group>> groups;  // in the order of the tensors
  const std::shared_ptr<torch::nn::Module> module = network.module();
  for (const auto& list : {module->parameters(), module->buffers()}) {
    for (const Tensor& t : list) {
      if (!t.defined()) {
        continue;
      }
      const void* storage = t.storage().unsafeGetStorageImpl();
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == storage; });
      if (group == groups.end()) {
        group = groups.insert(groups.end(), {storage, {}});
      }
      const auto is_t = [&](const Tensor& other) { return other.is_same(t); };
      if (std::none_of(group->second.tensors.begin(), group->second.tensors.end(), is_t)) {
        group->second.tensors.push_back(t);
      }
    }
  }
  for (const auto& [storage, group] : groups) {
    group.move(device, dtype, channels_last);
  }
}

}  // namespace retort
