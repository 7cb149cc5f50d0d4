/// A solver that fails in the way that it is told to.
#include <retort/plugin.h>
#include <retort/solver.h>

#undef NDEBUG
#include <cassert>
#include <cstdlib>
#include <stdexcept>

using namespace retort;

class Fails final : public Solver {
 public:
  explicit Fails(Params& p)
      : how_(
            p.choice("how", "not", {"not", "assert", "throw_number", "abort", "step", "step_number", "segfault"}, "")) {
    if (p.is_describing()) {
      return;
    }
    assert(how_ != "assert" && "as it was told");
    if (how_ == "throw_number") {
      throw 42;
    }
    if (how_ == "abort") {
      std::abort();
    }
    if (how_ == "segfault") {
      volatile int* nowhere = nullptr;
      *nowhere = 1;
    }
  }
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override {
    if (how_ == "step") {
      throw std::out_of_range("no such row");
    }
    if (how_ == "step_number") {
      throw 42;
    }
    return x;
  }

 private:
  std::string how_;
};

RETORT_PLUGIN(Fails, solver, fails)
