#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "config/reads.h"
#include "encode/shards.h"
#include "io/hashes.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "share/claim.h"
#include "sweep/cells.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct EncodeRequest {
  RunRequest run;
  std::string out;
};

// What is written into a folder that is read would be part of what it is made of.
void check_place(const Experiment& experiment, const fs::path& folder, const std::string& place) {
  for (const char* table : {Dataset::kind, Autoencoder::kind, "encode"}) {
    const Value* value = experiment.resolved().find(table);
    if (const std::string key = value != nullptr ? key_that_reads(*value, table, folder) : ""; !key.empty()) {
      throw RequestError(place + ": lies in or around what is read by the key '" + key + "'; expected a folder apart");
    }
  }
}

// Latents are those of one configuration, whatever else is swept.
Value one_config(const RunRequest& request) {
  const Value all = load_config(request);
  const std::vector<Cell> cells = expand(all);
  for (const TableInfo& table : tables()) {
    const auto text = [&](const Cell& cell) {
      const Value* found = cell.config.find(table.name);
      return found != nullptr ? found->text() : "";
    };
    if (table.decides & Decides::shards &&
        std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return text(cell) != text(cells[0]); })) {
      throw RequestError(to_string(all.find("sweep")->origin) + ": sweep: has several of [" + table.name +
                         "], and pictures are encoded by one; expected sweep={} behind the command, and that one");
    }
  }
  return cells[0].config;
}

// A folder that is named. Returns whether anything was left to do.
bool make_in(const Shards& shards, const fs::path& folder, bool fresh) {
  const auto claim = Claim::take(folder);
  if (!claim) {
    throw RequestError("--out " + folder.string() + ": is being written by " + Claim::holder(folder) +
                       "; expected another folder");
  }
  const std::string differs = shards.difference(folder, fresh);
  if (fresh && fs::exists(folder)) {
    set_aside(folder, "--fresh begins anew");
  } else if (!differs.empty()) {
    throw RequestError("--out " + folder.string() + ": holds latents that were made with another " + differs +
                       "; expected another folder, or --fresh, which moves them aside");
  } else if (shards.complete(folder)) {
    shards.write_config(folder);
    return false;
  }
  shards.make(folder, fresh ? "without --fresh, the same command" : "the same command");
  return true;
}

// A folder that all runs find by what the shards are made of.
bool make_in_store(const Shards& shards, const Store& store, fs::path& folder) {
  const std::string key = "latents " + shards.fingerprint();
  if (!shards.complete(store.folder_of(key))) {  // something was taken away
    std::error_code ignored;
    fs::remove(store.folder_of(key) / Shards::config_name, ignored);
  }
  bool made = false;
  folder = store
               .make(key, Shards::config_name,
                     [&](const fs::path& place) {
                       shards.make(place);
                       made = true;
                     })
               .parent_path();
  if (!made) {
    shards.write_config(folder);
  }
  return made;
}

void encode_pictures(const EncodeRequest& request, const Registry& registry) {
  const Value config = one_config(request.run);
  const Store store(shared_folder(config, request.run));
  const fs::path hashes = store.folder() / "hashes.json";
  load_hashes(hashes);
  const Experiment experiment(config, "encode", registry, Parts::encoding, model_maker(registry, store, Models::find));
  const std::unique_ptr<Shards> shards = [&] {
    try {
      return std::make_unique<Shards>(experiment);
    } catch (const RequestError& e) {
      throw RequestError(request.run.config + ": " + e.what());
    }
  }();
  fs::path folder;
  if (!request.out.empty()) {
    folder = settled(request.out);
    check_place(experiment, folder, "--out " + request.out);
  } else {
    check_place(experiment, store.folder() / "latents", "the folder that runs share, " + store.folder().string());
  }
  const bool made =
      folder.empty() ? make_in_store(*shards, store, folder) : make_in(*shards, folder, request.run.fresh);
  save_hashes(hashes);
  log::info(std::to_string(shards->pictures()) + " pictures are in " + std::to_string(shards->count()) +
            (made ? " shards" : " shards; they were there already"));
  std::printf("%s\n", (folder / Shards::config_name).c_str());
}

}  // namespace

void add_encode(CLI::App& app, Shared& shared) {
  auto request = std::make_shared<EncodeRequest>();
  CLI::App* command =
      app.add_subcommand("encode",
                         "make latents of the pictures of [dataset] with [autoencoder], once for all trainings; goes "
                         "on where an earlier call stopped");
  command
      ->add_option("CONFIG", request->run.config, "configuration with [dataset] and [autoencoder]; see also [encode]")
      ->required();
  command->add_option("OVERRIDES", request->run.overrides, "key=value");
  CLI::Option* out = command->add_option(
      "--out", request->out,
      "folder for the shards; by default one that all runs share. latents.toml in it is a configuration to extend");
  command->add_flag("--fresh", request->run.fresh, "begin anew; what --out holds is moved aside, not lost")->needs(out);
  command->footer(
      "Rows per shard, their type, and a text encoder are keys of [encode]: retort inspect encode\n"
      "Example:\n"
      "  retort encode photos.toml --out latents");
  command->callback([request, &shared] { encode_pictures(*request, shared.registry()); });
}

}  // namespace retort
