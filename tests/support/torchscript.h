/// TorchScript files for the tests.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <string>

namespace retort::test {

/// A network for samples of any shape: forward(x, noise).
inline void write_pointwise_script(const std::filesystem::path& path) {
  torch::jit::Module net("pointwise");
  net.register_parameter("slope", at::full({1}, 0.5), false);
  net.register_parameter("gain", at::full({1}, -0.7), false);
  net.define(R"(
    def forward(self, x, noise):
        level = noise.to(x.dtype).view([-1] + [1] * (x.dim() - 1))
        return self.gain * torch.tanh(x * self.slope + level) + x
  )");
  net.save(path.string());
}

/// A network that counts, in a buffer, how often it was trained, and shows it in what it predicts.
inline void write_counting_script(const std::filesystem::path& path) {
  torch::jit::Module net("counting");
  net.register_attribute("training", c10::BoolType::get(), true);
  net.register_parameter("gain", at::full({1}, 0.5), false);
  net.register_buffer("count", at::zeros({1}, at::kLong));
  net.define(R"(
    def forward(self, x, noise):
        if self.training:
            self.count.add_(1)
        return self.gain * self.count.to(x.dtype) * x
  )");
  net.save(path.string());
}

/// A residual block of pictures with 16 channels, its weights in modules within the module.
inline void write_picture_script(const std::filesystem::path& path) {
  torch::jit::Module net("pictures"), body("body");
  for (const char* name : {"w0", "w1"}) {
    body.register_parameter(name, at::randn({16, 16, 3, 3}) * 0.1, false);
  }
  body.register_parameter("scale", at::rand({16}) + 0.5, false);
  body.register_parameter("shift", at::randn({16}), false);
  body.define(R"(
    def forward(self, x, noise):
        h = torch.silu(torch.group_norm(x, 4, self.scale, self.shift))
        h = torch.conv2d(h, self.w0, None, padding=[1, 1]) + noise.view(-1, 1, 1, 1)
        return x + torch.conv2d(torch.silu(h), self.w1, None, padding=[1, 1])
  )");
  net.register_module("body", body);
  net.define("def forward(self, x, noise):\n    return self.body.forward(x, noise)\n");
  net.save(path.string());
}

/// A network as other libraries' scripts have them: lists of numbers, tuples and tensors, sizes computed on the way,
/// and, where `branches`, a decision by its input's values, which no trace can follow.
inline void write_foreign_script(const std::filesystem::path& path, bool branches) {
  torch::jit::Module net("foreign");
  net.register_parameter("w", at::randn({16, 16, 3, 3}) * 0.1, false);
  net.register_parameter("b", at::zeros({16}), false);
  net.register_parameter("gain", at::ones({}), false);
  net.define(std::string(R"(
    def forward(self, x, noise):
        b, c, h, w = x.shape
        y = torch.conv2d(x, self.w, self.b, padding=[1, 1])
        y = torch.upsample_nearest2d(y, None, [2.0, 2.0])
        y = torch.adaptive_avg_pool2d(y, [h, w])
        parts = torch.split(y, [c // 2, c - c // 2], dim=1)
        y = torch.cat([parts[1], parts[0]], dim=1) * self.gain
        y = y + torch.zeros([b, c, h, w], dtype=x.dtype) + noise.view([b, 1, 1, 1])
)") +
             (branches ? R"(
        if float(x.sum()) > 0.0:
            y = y * 2
)"
                       : "") +
             "        return x + torch.silu(y)\n");
  net.save(path.string());
}

}  // namespace retort::test
