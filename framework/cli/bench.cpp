#include "bench/bench.h"

#include <cstdio>

#include "cli/commands.h"
#include "io/json.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"

namespace retort {

namespace {

struct Asked {
  RunRequest run;
  BenchRequest bench;
  bool json = false;
};

void print(const Json& result) {
  std::printf(
      "%s\nfrozen networks: %s\ntraining: %s\nbatch %lld; one row through the student: %.3f GFLOP; float32 matrix "
      "product: %.0f GFLOP/s\n\n",
      result["machine"].get<std::string>().c_str(), result["backend"].get<std::string>().c_str(),
      result["training_backend"].get<std::string>().c_str(), static_cast<long long>(result["batch"].get<int64_t>()),
      result["network_gflop"].get<double>(), result["gemm_gflops"].get<double>());
  std::printf("%-32s %10s %10s %10s %14s\n", "stage", "median ms", "low", "high", "of the product");
  for (const Json& stage : result["stages"]) {
    std::printf("%-32s %10.3f %10.3f %10.3f", stage["name"].get<std::string>().c_str(),
                stage["median"].get<double>() * 1e3, stage["low"].get<double>() * 1e3,
                stage["high"].get<double>() * 1e3);
    std::printf(stage.contains("share_of_gemm") ? " %12.0f %%\n" : "\n", stage.value("share_of_gemm", 0.0) * 100);
  }
  std::printf("\nThe most memory held: %.2f GiB.", result["peak_memory_bytes"].get<double>() / (1 << 30));
  if (const auto seconds = result.find("training_seconds"); seconds != result.end()) {
    std::printf(" All %lld training steps: about %s.", static_cast<long long>(result["steps"].get<int64_t>()),
                log::duration(seconds->get<double>()).c_str());
  }
  std::printf("\n");
  if (const auto saved = result.find("teacher_evaluations"); saved != result.end()) {
    const double packed = (*saved)["packed"], unpacked = (*saved)["unpacked"];
    std::printf(
        "\nA solve to the end of the grid costs %.0f teacher evaluations; without packing it would be %.0f, %.2f times "
        "as many.\n",
        packed, unpacked, unpacked / packed);
  }
}

}  // namespace

void add_bench(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<Asked>();
  CLI::App* command = app.add_subcommand("bench", "where the time of a training step goes, against the machine's peak");
  command->add_option("CONFIG", request->run.config, "configuration, TOML")->required();
  command->add_option("OVERRIDES", request->run.overrides, "key=value, such as backend.type=onednn");
  command->add_option("--rounds", request->bench.rounds, "how often each stage is timed")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--stage", request->bench.stages, "only those whose names begin so; may be given several times");
  command->add_flag("--json", request->json, "as JSON");
  command->footer(
      "Stages take turns. Shown are median and quartiles; \"of the product\" is the share of what a large\n"
      "float32 matrix product reaches in the same process. The first cell of a sweep is taken.");
  command->callback([request, &shared] {
    const Value config = expand(load_config(request->run))[0].config;
    Experiment experiment(config, "bench", shared.registry(), Parts::all,
                          model_maker(shared.registry(), Store(shared_folder(config, request->run)), Models::find));
    if (!experiment.loss) {
      throw RequestError(request->run.config + ": [loss] is missing; there is no training step to time");
    }
    const Json result = bench(experiment, request->bench);
    if (request->json) {
      std::printf("%s\n", spell(result, 1).c_str());
    } else {
      print(result);
    }
  });
}

}  // namespace retort
