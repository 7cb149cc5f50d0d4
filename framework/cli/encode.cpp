#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "encode/shards.h"
#include "io/hashes.h"
#include "log.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "share/claim.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct EncodeRequest {
  RunRequest run;
  std::string out;
};

// A folder that is named. Returns whether anything was left to do.
bool make_in(const Shards& shards, const fs::path& folder, bool fresh) {
  const auto claim = Claim::take(folder);
  if (!claim) {
    throw RequestError("--out " + folder.string() + ": is being written by " + Claim::holder(folder) +
                       "; expected another folder");
  }
  const std::string differs = shards.difference(folder);
  if (fresh && fs::exists(folder)) {
    set_aside(folder, "--fresh begins anew");
  } else if (!differs.empty()) {
    throw RequestError("--out " + folder.string() + ": holds latents that were made with another " + differs +
                       "; expected another folder, or --fresh, which moves them aside");
  } else if (shards.complete(folder)) {
    return false;
  }
  shards.make(folder);
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
  return made;
}

void encode_pictures(const EncodeRequest& request, const Registry& registry) {
  const Value config = expand(load_config(request.run))[0].config;
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
  fs::path folder = request.out;
  if (!folder.empty() && !folder.has_filename()) {
    folder = folder.parent_path();  // "latents/"
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
