#include "plugin/check.h"

#include "io/checkpoint.h"

namespace retort {

namespace {

// What a plugin under check may ask for besides what the checks give it: other plugins, and checkpoints.
class CheckHost final : public Host {
 public:
  explicit CheckHost(const Registry& registry) : registry_(registry) {}
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return registry_.make(kind, name, params);
  }
  const Process& process() const override { return process_; }
  bool process_given() const override { return false; }
  ModelSpec spec() const override { return {}; }
  const Backend& backend() const override { throw Error("the checks bring their own backend"); }
  Checkpoint checkpoint(const std::string& path) override { return read_checkpoint(path, {}, &registry_); }
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override {
    return build_network(*this, checkpoint, path);
  }

 private:
  const Registry& registry_;
  Process process_;
};

}  // namespace

std::vector<conformance::Property> check_plugin(const Registry& registry, const PluginFile& file, const Value& params) {
  CheckHost host(registry);
  return conformance::check({file.kind, file.name, [&](Params& p) { return registry.make(file, p); }, params, &host});
}

}  // namespace retort
