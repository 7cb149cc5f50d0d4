#include <ATen/ATen.h>

#include <cstdio>

#include "retort/tracker.h"
#include "retort/autoencoder.h"
#include "world.h"

namespace retort::conformance {

void Findings::add(const std::string& name, bool holds, const std::string& measured, const std::string& expected) {
  properties_.push_back({name, holds, measured, expected});
}

void Findings::at_most(const std::string& name, double measured, double limit, const std::string& what) {
  add(name, measured <= limit, (what.empty() ? "" : what + " ") + spell(measured), "at most " + spell(limit));
}

void Findings::run(const std::string& name, const std::function<void()>& body) {
  std::string message;
  try {
    body();
    return;
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
    message = "something that is no std::exception";
  }
  add(name, false, "it threw: " + message.substr(0, message.find('\n')), "no exception");
}

void Given::check(Findings& out) const {
  std::string changed;
  for (const Kept& k : kept_) {
    if (!at::equal(k.given, k.before)) {
      changed += (changed.empty() ? "" : ", ") + k.name;
    }
  }
  out.add("leaves its inputs as they are", changed.empty(), changed.empty() ? "unchanged" : "changes " + changed,
          "no change in place");
}

std::string spell(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

double rms(const Tensor& x) { return x.to(at::kDouble).square().mean().sqrt().item<double>(); }
double largest(const Tensor& x) { return x.numel() == 0 ? 0 : x.to(at::kDouble).abs().max().item<double>(); }
bool all_finite(const Tensor& x) { return x.isfinite().all().item<bool>(); }
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

std::string spell_shape(at::IntArrayRef shape) {
  std::string out = "[";
  for (const int64_t n : shape) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(n);
  }
  return out + "]";
}

std::vector<Property> check(const Subject& subject) {
  using Check = void (*)(const Subject&, Findings&);
  const std::pair<const char*, Check> checks[] = {
      {Teacher::kind, check_teacher},        {Solver::kind, check_solver},   {Loss::kind, check_loss},
      {Schedule::kind, check_schedule},      {Network::kind, check_network}, {Dataset::kind, check_dataset},
      {Metric::kind, check_metric},          {Tracker::kind, check_tracker}, {Backend::kind, check_backend},
      {Autoencoder::kind, check_autoencoder}};
  for (const auto& [kind, run] : checks) {
    if (subject.kind == kind) {
      Findings findings;
      run(subject, findings);
      return findings.take();
    }
  }
  throw RequestError("'" + subject.kind + "' is no kind of plugin");
}

}  // namespace retort::conformance
