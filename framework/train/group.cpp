#include "train/group.h"

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#if defined(USE_C10D_NCCL) && __has_include(<nccl.h>)
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#define RETORT_WITH_NCCL
#endif

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "retort/error.h"

namespace retort {

namespace {

// A process may have to wait for all that another does between two steps, such as the evaluation of a cell.
constexpr auto patience = std::chrono::hours(24);

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

int64_t number(const char* name, int64_t least, int64_t most) {
  const std::string text = variable(name);
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || out < least || out > most) {
    throw RequestError("environment: " + std::string(name) + " is '" + text + "'; expected a number from " +
                       std::to_string(least) + " to " + std::to_string(most) + ", as torchrun sets it");
  }
  return out;
}

}  // namespace

class Group::Engine {
 public:
  Engine(int64_t rank, int64_t size) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(number("MASTER_PORT", 1, 65535));
    // torchrun keeps the store itself; started by other means, the first process does.
    options.isServer = rank == 0 && variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
    options.timeout = std::chrono::minutes(5);
    const auto tcp = c10::make_intrusive<c10d::TCPStore>(variable("MASTER_ADDR"), options);
    const auto store = c10::make_intrusive<c10d::PrefixStore>(
        "retort/" + variable("TORCHELASTIC_RUN_ID") + "/" + variable("TORCHELASTIC_RESTART_COUNT"), tcp);
    cpu_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
        store, static_cast<int>(rank), static_cast<int>(size),
        c10d::ProcessGroupGloo::Options::create_default(std::chrono::milliseconds(patience)));
#ifdef RETORT_WITH_NCCL
    cuda_ = [store, rank, size] {
      return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", store),
                                                         static_cast<int>(rank), static_cast<int>(size));
    };
#endif
  }

  void sum(Tensor& flat) {
    std::vector<Tensor> list = {flat};
    engine(flat).allreduce(list)->wait();
  }
  void broadcast(Tensor& flat) {
    std::vector<Tensor> list = {flat};
    cpu_->broadcast(list)->wait();
  }

 private:
  c10d::Backend& engine(const Tensor& t) {
    if (!t.is_cuda() || !cuda_) {
      return *cpu_;
    }
    if (!nccl_) {
      nccl_ = cuda_();
    }
    return *nccl_;
  }

  c10::intrusive_ptr<c10d::Backend> cpu_, nccl_;
  std::function<c10::intrusive_ptr<c10d::Backend>()> cuda_;
};

Group& Group::world() {
  static Group group;
  return group;
}

Group::Group() {
  if (variable("WORLD_SIZE").empty() || variable("RANK").empty()) {
    return;
  }
  size_ = number("WORLD_SIZE", 1, 1 << 16);
  rank_ = number("RANK", 0, size_ - 1);
  if (size_ == 1) {
    return;
  }
  try {
    engine_ = std::make_shared<Engine>(rank_, size_);
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {
    const std::string what = e.what();
    throw Error("process " + std::to_string(rank_) + " of " + std::to_string(size_) + " cannot reach the others at " +
                variable("MASTER_ADDR") + ":" + variable("MASTER_PORT") + ": " + what.substr(0, what.find('\n')));
  }
}

namespace {

template <class F>
void together(int64_t rank, int64_t size, F exchange) {
  try {
    exchange();
  } catch (const std::exception&) {
    throw Error("process " + std::to_string(rank) + " of " + std::to_string(size) +
                " has lost another one, which has ended; the same command goes on from the last saved state");
  }
}

}  // namespace

void Group::sum(const std::vector<Tensor>& tensors) {
  if (size_ == 1 || tensors.empty()) {
    return;
  }
  const at::NoGradGuard no_grad;
  std::vector<Tensor> flat;
  for (const Tensor& t : tensors) {
    flat.push_back(t.reshape({-1}).to(tensors[0].options()));
  }
  Tensor all = at::cat(flat);
  together(rank_, size_, [&] { engine_->sum(all); });
  int64_t first = 0;
  for (const Tensor& t : tensors) {
    Tensor(t).copy_(all.narrow(0, first, t.numel()).view(t.sizes()));
    first += t.numel();
  }
}

std::string Group::from_first(const std::string& text) {
  if (size_ == 1) {
    return text;
  }
  Tensor bytes = at::empty({from_first(static_cast<int64_t>(text.size()))}, at::kByte);
  if (first()) {
    std::memcpy(bytes.data_ptr(), text.data(), text.size());
  }
  if (bytes.numel() > 0) {
    together(rank_, size_, [&] { engine_->broadcast(bytes); });
  }
  return {static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel())};
}

void Group::agree(const std::string& what, const std::string& value) {
  if (size_ == 1) {
    return;
  }
  // Everyone learns of a difference, so that nobody waits for one who has left.
  const bool differs = from_first(value) != value;
  const Tensor who = at::zeros({size_}, at::kDouble);
  who[rank_] = differs ? 1.0 : 0.0;
  sum({who});
  const Tensor others = at::nonzero(who).view({-1});
  if (others.numel() > 0) {
    throw Error("process " + std::to_string(rank_) + " of " + std::to_string(size_) + ": processes 0 and " +
                std::to_string(others[0].item<int64_t>()) + " do not have the same " + what);
  }
}

int64_t Group::from_first(int64_t value) {
  if (size_ == 1) {
    return value;
  }
  Tensor number = at::tensor({value}, at::kLong);
  together(rank_, size_, [&] { engine_->broadcast(number); });
  return number.item<int64_t>();
}

}  // namespace retort
