// What a sweep will cost: print_plan.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "bench/bench.h"
#include "log.h"
#include "run/plan.h"

namespace retort {

namespace {

using Clock = std::chrono::steady_clock;

// Times a few steps of each kind of cell, as long as that takes little: a sweep may have a thousand kinds.
class Costs {
 public:
  explicit Costs(Plan& plan) : plan_(plan) {
    std::set<std::string> kinds;
    for (size_t i = 0; i < plan.size(); ++i) {
      if (!plan[i].finished && plan[i].batches > 0) {
        kinds.insert(plan[i].cost);
      }
    }
    kinds_ = kinds.size();
  }

  // What a cell's training costs; nothing where its kind was not timed.
  std::optional<TrainingCost> of(size_t i) {
    if (plan_[i].batches == 0) {
      return TrainingCost{};
    }
    const auto found = known_.find(plan_[i].cost);
    const std::optional<TrainingCost> batch = found != known_.end() ? found->second : time(i);
    if (!batch) {
      return {};
    }
    double batches = plan_[i].batches;
    if (plan_[i].evaluations > 0 && batch->evaluations > 0) {
      batches = std::min(batches, plan_[i].evaluations / batch->evaluations);
    }
    if (plan_[i].seconds > 0) {
      batches = std::min(batches, plan_[i].seconds / batch->seconds);
    }
    return TrainingCost{batch->seconds * batches, batch->evaluations * batches};
  }

  size_t kinds() const { return kinds_; }
  size_t timed() const { return known_.size(); }

 private:
  std::optional<TrainingCost> time(size_t i) {
    constexpr size_t always = 12;  // kinds
    constexpr double enough = 1;   // seconds, of all kinds together
    constexpr double most = 0.5;   // seconds, of one
    if (known_.size() >= always && spent_ > enough) {
      return {};
    }
    const auto began = Clock::now();
    const std::unique_ptr<CellRun> cell = plan_.open(i);
    const double each = std::min(most, 0.5 * enough / static_cast<double>(std::max<size_t>(kinds_, 1)));
    const TrainingCost cost = Workbench(cell->experiment()).training_cost(each);
    spent_ += std::chrono::duration<double>(Clock::now() - began).count();
    return known_[plan_[i].cost] = cost;
  }

  Plan& plan_;
  size_t kinds_ = 0;
  std::map<std::string, TrainingCost> known_;  // of one batch
  double spent_ = 0;
};

// What is known of all cells together; those that were not timed count as the mean of the others, batch for batch.
struct Total {
  double seconds = 0, evaluations = 0, batches = 0, unknown = 0;

  void add(const std::optional<TrainingCost>& cost, double its_batches) {
    (cost ? batches : unknown) += its_batches;
    seconds += cost ? cost->seconds : 0;
    evaluations += cost ? cost->evaluations : 0;
  }
  double scale() const { return batches > 0 ? 1 + unknown / batches : 1; }
};

void print_cell(const std::string& name, const std::optional<TrainingCost>& cost) {
  const std::string shown = name.empty() ? "(nothing is swept)" : name;
  if (cost) {
    std::printf("%-50s  %-8s  %14.0f  %10s\n", shown.c_str(), "to do", cost->evaluations,
                log::duration(cost->seconds).c_str());
  } else {
    std::printf("%-50s  %-8s  %14s  %10s\n", shown.c_str(), "to do", "-", "-");
  }
  std::fflush(stdout);
}

// Returns whether all is done, or has told what it was for.
bool print_costs(const RunRequest& request, Work work, Registry& registry) {
  Plan plan(request, std::move(work), registry, Plan::For::looking);
  Costs costs(plan);
  Total total;
  size_t done = 0;
  std::printf("%-50s  %-8s  %14s  %10s\n", "cell", "state", "teacher evals", "training");
  for (size_t i = 0; i < plan.size(); ++i) {
    const std::string& name = plan.cells()[i].name;
    if (plan[i].finished) {
      std::printf("%-50s  %-8s\n", name.empty() ? "(nothing is swept)" : name.c_str(), "done");
      done += 1;
      continue;
    }
    const std::optional<TrainingCost> cost = costs.of(i);
    total.add(cost, plan[i].batches);
    print_cell(name, cost);
  }
  std::printf(
      "\n%zu cells, %zu done. The rest trains for about %s on one process (solves that cells share are counted for "
      "each of them), with %.3g teacher evaluations; sampling and metrics come on top.\n",
      plan.size(), done, log::duration(total.seconds * total.scale()).c_str(), total.evaluations * total.scale());
  if (costs.timed() < costs.kinds()) {
    std::printf("Of %zu kinds of cells, %zu were timed; the others are taken to cost as much, batch for batch.\n",
                costs.kinds(), costs.timed());
  }
  return plan.complete() || known_choices(plan.output(), plan.prints()).is_object();
}

// Of [sweep.tune] first what explores; what comes after is known when that is done.
void print_works(const RunRequest& request, Registry& registry) {
  if (std::optional<Work> first = exploring_work(request)) {
    std::printf("First, to choose what [sweep.tune] asks for:\n\n");
    if (!print_costs(request, std::move(*first), registry)) {
      std::printf("\nThen %zu cells, each with what was chosen for it.\n", work_of(request).cells.size());
      return;
    }
    std::printf("\nThen, with what was chosen:\n\n");
  }
  print_costs(request, work_of(request), registry);
}

}  // namespace

void print_plan(const RunRequest& request, Registry& registry) {
  try {
    print_works(request, registry);
  } catch (const NotTrained& e) {
    const std::optional<Work> first = exploring_work(request);
    const std::vector<Cell> cells = first ? first->cells : work_of(request).cells;
    for (const Cell& cell : cells) {
      std::printf("%s\n", cell.name.c_str());
    }
    std::printf("\n%zu cells. What they cost cannot be told yet: %s\n", cells.size(), e.what());
  }
}

}  // namespace retort
