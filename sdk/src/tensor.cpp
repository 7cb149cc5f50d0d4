#include "retort/tensor.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace retort {

Tensor rows(const Tensor& c, const Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = c.size(0);
  return c.to(x.options().dtype(x.scalar_type())).view(shape);
}

namespace {
// The finaliser of splitmix64: nearby inputs give unrelated outputs.
uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
}  // namespace

at::Generator seeded(uint64_t seed, const char* stream, uint64_t index) {
  uint64_t state = mix(seed);
  for (const char* c = stream; *c != 0; ++c) {
    state = mix(state ^ static_cast<unsigned char>(*c));
  }
  return at::make_generator<at::CPUGeneratorImpl>(mix(state ^ mix(index)));
}

Tensor normal_like(const Tensor& x, at::Generator generator) {
  return at::randn(x.sizes(), std::move(generator), at::TensorOptions().dtype(at::kFloat))
      .to(x.options().dtype(x.scalar_type()));
}

}  // namespace retort
