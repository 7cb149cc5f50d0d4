/// A trained diffusion model, read from a checkpoint of `retort train`.
///
/// The checkpoint says what the network is, what it predicts (noise, v, data, EDM's F or flow) and on which process, so
/// nothing of that is repeated here. With guidance w other than 1, conditional and unconditional predictions are made
/// in one batch and joined as u + w (c - u), the form of Imagen; the other form in use, c + omega (c - u) of Ho &
/// Salimans and of latent consistency models, is the same with w = 1 + omega. With guidance_range each training row has
/// a weight of its own, uniform in that range, and the student is told it. Source: Ho & Salimans 2022 (arXiv
/// 2207.12598); Meng et al. 2023 (arXiv 2210.03142) for the range.
///
///     [teacher]
///     type = "network"
///     checkpoint = "weights/fashion_mnist_teacher.safetensors"
///     guidance = 1.0
#include <retort/plugin.h>

#include "../shared/network_teacher.h"

using namespace retort;

class CheckpointTeacher final : public NetworkTeacher {
 public:
  explicit CheckpointTeacher(Params& p) : NetworkTeacher(p) {
    const std::string path = p.path("checkpoint", "", "safetensors file of a trained teacher");
    if (p.is_describing()) {
      return;
    }
    if (path.empty()) {
      throw p.error("checkpoint", "missing; expected the safetensors file of a trained teacher");
    }
    load(p, "checkpoint", path, path);
  }
};

RETORT_PLUGIN(CheckpointTeacher, teacher, network)
