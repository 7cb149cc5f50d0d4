// Retort's side of peers.py: keeps one experiment ready and times what it is asked for, a line in, a line out.
//
//   evaluate ROWS TIMES   the network, frozen: seconds of each evaluation
//   stage TIMES NAME      a stage of `retort bench`: seconds of each time
//   trajectories ROWS     solves from the noisiest time, which serve the pairs of a reused trajectory: seconds
//   output ROWS FILE      writes x, noise and the network's output
//   solve FILE            writes x, the intervals in which its rows begin, the grid, and the ends of the packed solve
//   about                 the backend, and GFLOP/s of a matrix product
#include <ATen/ATen.h>
#include <malloc.h>
#include <torch/nn/module.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>

#include "bench/bench.h"
#include "io/safetensors.h"
#include "run/run.h"

using namespace retort;

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

void time_often(int64_t times, const std::function<void()>& work) {
  for (int64_t i = 0; i < times; ++i) {
    std::cout << seconds_of(work) << ' ';
  }
}

class Server {
 public:
  explicit Server(Experiment& e) : e_(e), network_(e.new_network()) {
    network_->module()->eval();
    frozen_ = e.backend().compile(network_);
  }

  void answer(const std::string& line) {
    std::istringstream in(line);
    std::string what, text;
    int64_t rows = 0, times = 0;
    in >> what;
    if (what == "evaluate" && in >> rows >> times) {
      const auto& [x, noise] = inputs(rows);
      time_often(times, [&, &x = x, &noise = noise] { (*frozen_)(x, noise, {}); });
    } else if (what == "output" && in >> rows >> text) {
      const auto& [x, noise] = inputs(rows);
      write_safetensors(text, {{{"x", x}, {"noise", noise}, {"output", (*frozen_)(x, noise, {})}}, {}});
      std::cout << "written";
    } else if (what == "stage" && in >> times && std::getline(in >> std::ws, text)) {
      for (Stage& stage : bench().stages) {
        if (stage.name == text) {
          time_often(times, stage.work);
        }
      }
    } else if (what == "solve" && in >> text) {
      const at::NoGradGuard no_grad;
      const Workbench& b = bench();
      const Ode ode(*e_.teacher, b.data.condition);
      write_safetensors(text, {{{"x", b.x},
                                {"intervals", b.intervals},
                                {"grid", b.grid},
                                {"ends", solve(ode, *e_.solver, b.grid, b.x, b.t)}},
                               {}});
      std::cout << "written";
    } else if (what == "trajectories" && in >> rows) {
      const at::NoGradGuard no_grad;
      const Workbench& b = bench();
      const Ode ode(*e_.teacher, b.data.condition.first(rows));
      time_often(1, [&] { solve(ode, *e_.solver, b.grid, b.x.narrow(0, 0, rows)); });
    } else if (what == "about") {
      std::cout << e_.backend().describe() << "; training: " << e_.training_backend().describe();
    } else {
      std::cout << "error: not understood: " << line;
    }
    std::cout << std::endl;
  }

 private:
  const std::pair<Tensor, Tensor>& inputs(int64_t rows) {
    auto& made = inputs_[rows];
    if (!made.first.defined()) {
      std::vector<int64_t> shape = e_.dataset->shape();
      shape.insert(shape.begin(), rows);
      made = {at::randn(shape, seeded(0, "peers")), at::linspace(-1, 1, rows)};
    }
    return made;
  }
  Workbench& bench() {
    if (!bench_) {
      bench_.emplace(e_);
    }
    return *bench_;
  }

  Experiment& e_;
  std::shared_ptr<Network> network_;
  std::shared_ptr<CompiledNetwork> frozen_;
  std::map<int64_t, std::pair<Tensor, Tensor>> inputs_;
  std::optional<Workbench> bench_;
};

}  // namespace

// server PLUGINS CONFIG key=value …
int main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // as the program does
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  try {
    const Registry registry({argc > 1 ? argv[1] : ""});
    RunRequest request;
    request.config = argc > 2 ? argv[2] : "";
    request.overrides.assign(argv + std::min(argc, 3), argv + argc);
    Experiment experiment(expand(load_config(request))[0].config, "peers", registry);
    Server server(experiment);
    for (std::string line; std::getline(std::cin, line);) {
      server.answer(line);
    }
  } catch (const std::exception& e) {
    std::cout << "error: " << e.what() << std::endl;
    return 1;
  }
}
