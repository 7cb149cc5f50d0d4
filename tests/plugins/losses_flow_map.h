/// What the tests of flow maps' losses share: rows at given times, and a step in which a loss draws what it is told.
#pragma once

#include <numbers>

#include "support/support.h"

namespace retort::test::flow_map {

// Times are multiples of 1 / 64: a network is told them in float32, and so without rounding.
inline const std::string plain = "pairs = \"uniform\"\nequal_share = 0\nzero_share = 0\n";
inline const Tensor t = times({58, 36, 45, 24, 60, 38}) / 64;
inline const Tensor s = times({12, 33, 0, 24, 0, 38}) / 64;  // of which two are t
inline const Tensor other = times({7, 51, 30, 16, 62, 40}) / 64;
inline const Tensor x0 = normal({6, 2}, 11) * 0.7, noise = normal({6, 2}, 12);
// The normal numbers that make FACM's times these
inline const Tensor z = ((t * (std::numbers::pi / 2)).tan().log() + 0.8) / 1.6;

inline Tensor row(const Tensor& c) { return c.unsqueeze(1); }
inline Tensor x_at(const Tensor& time) { return row(1 - time) * x0 + row(time) * noise; }
inline const Tensor x = x_at(t), v = noise - x0;
/// A rectified flow, with the exact teacher of N(0.3, 0.49).
struct World {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{2}}};
  std::shared_ptr<Teacher> teacher =
      host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.3, 0.3]]\nstds = [0.7]");
  Ode ode{*teacher};

  LossValue run(const std::string& name, const std::string& toml, const std::shared_ptr<Network>& network,
                const std::function<Tensor(std::string_view)>& brought, double progress = 1, const Tensor& data = x0) {
    const auto loss = host.make_plugin<Loss>(name, toml);
    const auto model = [&](std::shared_ptr<CompiledNetwork> compiled) {
      return Model(std::move(compiled), host.process(), {Predicts::flow, 0.5}, {}, loss->makes(),
                   loss->needs().end_time);
    };
    const Model student = model(host.backend().trainable(network)), target = model(host.backend().compile(network));
    return (*loss)({.batch = {data, {}},
                    .student = student,
                    .target = target,
                    .ode = &ode,
                    .process = host.process(),
                    .generator = seeded(1, "loss"),
                    .progress = progress,
                    .brought = brought});
  }
};

/// Numbers in the order in which they are drawn.
inline std::function<Tensor(std::string_view)> given(std::vector<Tensor> numbers) {
  return [numbers = std::move(numbers), next = std::make_shared<size_t>(0)](std::string_view) {
    return numbers.at((*next)++);
  };
}

}  // namespace retort::test::flow_map
