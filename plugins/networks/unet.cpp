/// A U-Net for pictures in EDM's manner: GroupNorm + SiLU residual blocks, self-attention at chosen levels.
///
/// Pictures are first folded by `patch` (28 x 28 x 1 becomes 14 x 14 x 4 with patch = 2), which makes small networks
/// several times faster. Each level halves the resolution. The noise level and the class scale and shift the second
/// norm of each block. Odd resolutions are padded on the way down and cut on the way up. Source: Karras et al. 2022,
/// appendix F.2 (DDPM++ with adaptive group norm); Dhariwal & Nichol 2021.
///
///     [network]
///     type = "unet"
///     patch = 2                      # 1, the default: pictures as they are
///     widths = [32, 64]
///     attention = [1]
#include <retort/plugin.h>

#include "../shared/unet.h"

using namespace retort;

class UNet final : public Network {
 public:
  explicit UNet(Params& p) {
    unet_parts::Shape shape = unet_parts::read_shape(p, "levels with self-attention, 0 the finest");
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    unet_parts::fit_to_pictures(p, "unet", spec, shape);
    body_ = std::make_shared<unet_parts::Body>(shape, spec);
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const auto nothing = [](const unet_parts::Block&, const Tensor& h) { return h; };
    return body_->through(x, body_->embed(x, c_noise, condition), nothing);
  }
  std::vector<std::string> inputs() const override { return input_names(!body_->label.is_empty(), body_->numbers); }
  std::string weights_of(const std::string& input) const override { return body_->numbers.weights_of(input); }
  std::shared_ptr<torch::nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<unet_parts::Body> body_;
};

RETORT_PLUGIN(UNet, network, unet)
