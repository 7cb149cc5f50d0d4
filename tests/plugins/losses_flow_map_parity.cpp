// Losses of flow maps and the gradients of every weight, held against their peers' numbers
// (tests/parity/flow_maps.json).
#include <torch/nn/module.h>

#include "plugins/losses_flow_map.h"
#include "support/peer_losses.h"

using namespace retort;
using namespace retort::test;

namespace {

// The settings of a case, as TOML.
std::string toml_of(const Json& settings) {
  std::string out;
  for (const auto& [key, value] : settings.items()) {
    out += key + " = " + value.dump() + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("losses of flow maps are their peers' (tests/parity)") {
  const Json file = parity_file("flow_maps.json");
  const auto input = [&](const char* name) { return tensor_of(file.at("inputs").at(name)); };
  const Tensor x0 = input("x0"), noise = input("noise"), t = input("t"), s = input("s");
  for (const Json& json : file.at("cases")) {
    double greatest = 0;
    const std::string name = json.at("name"), loss = json.at("loss");
    CAPTURE(name);
    const auto network = network_of(file.at("networks").at(json.at("networks").at("student").get<std::string>()));
    const bool facm = loss == "facm";
    const Tensor z = ((t * (std::numbers::pi / 2)).tan().log() + 0.8) / 1.6;
    const std::vector<Tensor> drawn =
        facm            ? std::vector<Tensor>{z, noise}
        : loss == "tvm" ? std::vector<Tensor>{t, s, noise, input("other")}
                        : std::vector<Tensor>{t, loss == "self_distillation" ? input("apart") : s, noise};
    const std::string derivative = loss == "tim" || loss == "anyflow" ? "" : "derivative = \"jvp\"\n";
    flow_map::World world;
    const LossValue value = world.run(loss, (facm ? "" : flow_map::plain) + derivative + toml_of(json.at("settings")),
                                      network, flow_map::given(drawn), 1, x0);
    const auto compare = [&](const Tensor& got, const Tensor& wanted, double size) {
      CHECK(most(got - wanted) < 1e-11 * size);
      greatest = std::max(greatest, most(got - wanted) / size);
    };
    const Json& terms = json.at("terms").at("loss");
    const Tensor per_row = tensor_of(terms.at("per_row"));
    compare(value.per_row, per_row, most(per_row));
    value.per_row.mean().backward();
    for (const auto& p : network->module()->named_parameters()) {
      CAPTURE(p.key());
      const Tensor wanted = tensor_of(terms.at("gradients").at("student").at(p.key()));
      compare(p.value().grad(), wanted, most(wanted));
    }
    note_difference("loss", loss, json.at("peer"), greatest);
  }
  CHECK(file.at("cases").size() == 14);
}
