#include "encode/shards.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "config/toml.h"
#include "interrupt.h"
#include "io/files.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "log.h"
#include "sample/sampler.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// A tensor's name. A data set is called so too, and the host names none: hence the other quotes.
constexpr const char* latents_name = R"(latents)";
constexpr const char* unconditional_name = "unconditional.safetensors";
constexpr const char* unconditional_prefix = "uncond_";
constexpr const char* shard_ending = ".safetensors";
constexpr const char* made_of_key = "made_of";
// Inputs that are given to networks in the precision of latents; others are stored as they come.
constexpr const char* embeddings[] = {"prompt_embeds", "pooled_prompt_embeds"};

// Whether something lies there that this has not begun.
bool holds_others(const fs::path& folder) {
  std::error_code error;
  return std::any_of(fs::directory_iterator(folder, error), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       return !entry.path().filename().string().starts_with(Shards::manifest_name);
                     });
}

const char* folder_of(Split split) { return split == Split::train ? "train" : "test"; }

const EncodeSettings& check_parts(const Experiment& e) {
  if (!e.dataset) {
    throw RequestError("[dataset] is missing; expected one of pictures, which are to be encoded");
  }
  if (!e.autoencoder) {
    throw RequestError("[autoencoder] is missing; expected the one that pictures are to be encoded with");
  }
  if (!e.latents->encodes()) {
    throw RequestError("autoencoder: the data set's samples of " + spell(at::IntArrayRef(e.latents->data().shape())) +
                       " are its latents already; expected pictures");
  }
  return *e.encode;
}

at::ScalarType stored_type(const std::string& name) {
  return name == "float16" ? at::kHalf : name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

}  // namespace

fs::path Shards::Place::file() const {
  std::string digits = std::to_string(number);
  digits.insert(0, digits.size() < 5 ? 5 - digits.size() : 0, '0');
  return fs::path(folder_of(split)) / (digits + shard_ending);
}

Shards::Shards(const Experiment& experiment)
    : experiment_(experiment), settings_(check_parts(experiment)), data_(experiment.latents->data()) {
  if (!settings_.text_encoder.empty()) {
    texts_ = std::make_unique<TextEncoder>(settings_, data_, experiment_.backend());
    none_ = texts_->unconditional();
  }
  std::string all;
  for (const TableInfo& table : tables()) {
    if (table.decides & Decides::shards) {
      const std::string text = experiment_.fingerprint(table);
      made_of_[table.name] = sha256_of_text(text);
      all += text;
    }
  }
  fingerprint_ = sha256_of_text(all);
  encoded(Split::train, 0, 1);
}

int64_t Shards::pictures() const { return data_.size(Split::train) + data_.size(Split::test); }
int64_t Shards::count() const { return static_cast<int64_t>(places().size()); }

std::vector<Shards::Place> Shards::places() const {
  std::vector<Place> out;
  for (const Split split : {Split::train, Split::test}) {
    const int64_t size = data_.size(split);
    for (int64_t first = 0, number = 0; first < size; first += settings_.rows, ++number) {
      out.push_back({split, number, first, std::min(settings_.rows, size - first)});
    }
  }
  return out;
}

std::string Shards::difference(const fs::path& folder, bool moved_aside) const {
  std::error_code error;
  if (!fs::exists(folder, error)) {
    return "";
  }
  if (!fs::is_directory(folder, error)) {
    throw RequestError(folder.string() + ": is a file; expected a folder for shards of latents");
  }
  const Json manifest = read_json(folder / manifest_name);
  if (!manifest.is_object()) {
    if (manifest.is_null() ? !holds_others(folder) : moved_aside) {
      return "";
    }
    throw RequestError(
        folder.string() + ": holds other files, and " +
        (manifest.is_null() ? "no " + std::string(manifest_name) : "a damaged " + std::string(manifest_name)) +
        " that says what its shards were made of; expected a new folder, or one of `retort encode`");
  }
  const Json& before = json_at(manifest, made_of_key);
  std::string out;
  for (const auto& [table, hash] : made_of_) {
    if (text_at(before, table) != hash) {
      out += (out.empty() ? "[" : " and [") + table + "]";
    }
  }
  return out;
}

bool Shards::complete(const fs::path& folder) const {
  const std::vector<Place> all = places();
  check_left_over(folder, all);
  return fs::exists(folder / config_name) && unconditional_there(folder) &&
         std::all_of(all.begin(), all.end(),
                     [&](const Place& place) { return there(folder / place.file(), latents_name, place.rows); });
}

bool Shards::unconditional_there(const fs::path& folder) const {
  return std::all_of(none_.begin(), none_.end(), [&](const auto& entry) {
    return there(folder / folder_of(Split::train) / unconditional_name, unconditional_prefix + entry.first);
  });
}

// Whoever reads the folder reads all that lies there.
void Shards::check_left_over(const fs::path& folder, const std::vector<Place>& places) const {
  std::set<fs::path> own;
  for (const Place& place : places) {
    own.insert(folder / place.file());
  }
  if (!none_.empty()) {
    own.insert(folder / folder_of(Split::train) / unconditional_name);
  }
  for (const Split split : {Split::train, Split::test}) {
    std::error_code error;
    for (fs::directory_iterator i(folder / folder_of(split), error), end; !error && i != end; i.increment(error)) {
      if (i->path().extension() == shard_ending && !own.contains(i->path())) {
        throw RequestError(i->path().string() +
                           ": is none of these shards, and would be read with them; expected it "
                           "to be elsewhere");
      }
    }
  }
}

// Whole, and made of the same: a file with that tensor, of so many rows where these are told.
bool Shards::there(const fs::path& file, const std::string& name, int64_t rows) const {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) {
    return false;
  }
  try {
    const TensorHeader header = safetensors_header(file).first;
    const auto made_of = header.metadata.find(made_of_key);
    const auto found = std::find_if(header.entries.begin(), header.entries.end(),
                                    [&](const TensorEntry& entry) { return entry.name == name; });
    return made_of != header.metadata.end() && made_of->second == fingerprint_ && found != header.entries.end() &&
           (rows < 0 || (!found->shape.empty() && found->shape[0] == rows));
  } catch (const RequestError& e) {
    log::warn(std::string(e.what()) + "; it is made again");
    return false;
  }
}

Batch Shards::encoded(Split split, int64_t first, int64_t rows) const {
  const Tensor index = at::arange(first, first + rows, at::kLong);
  Batch out = data_.batch(split, index);
  if (texts_) {
    out.condition = (*texts_)(split, index, out.condition);
  }
  Tensor noise;
  if (settings_.drawn) {
    std::vector<Tensor> draws;
    const char* stream = split == Split::train ? "posterior of training data" : "posterior of test data";
    for (int64_t i = first; i < first + rows; ++i) {
      draws.push_back(at::randn(experiment_.spec().shape,
                                seeded(static_cast<uint64_t>(settings_.seed), stream, static_cast<uint64_t>(i)),
                                at::TensorOptions().dtype(at::kFloat)));
    }
    noise = at::stack(draws);
  }
  out.x = encode_rows(*experiment_.autoencoder, experiment_.backend(), out.x, noise);
  return out;
}

Tensor Shards::stored(const std::string& name, const Tensor& rows, const std::string& of) const {
  const bool precise =
      name != latents_name && std::find(std::begin(embeddings), std::end(embeddings), name) == std::end(embeddings);
  const std::string what = name + " " + of;
  require_finite(rows, what);
  Tensor out = rows.to(at::kCPU, precise ? rows.scalar_type() : stored_type(settings_.dtype)).contiguous();
  try {
    require_finite(out, what + ", as " + settings_.dtype + ",");
  } catch (const Error& e) {
    throw Error(e.what() + std::string("; encode.dtype = \"bfloat16\" or \"float32\" holds larger numbers"));
  }
  return out;
}

std::map<std::string, std::string> Shards::metadata() const {
  return {{made_of_key, fingerprint_},
          {"scaling_factor", Value{experiment_.autoencoder->scaling_factor(), {}}.text()},
          {"shift", Value{experiment_.autoencoder->shift(), {}}.text()}};
}

TensorFile Shards::file_of(const Place& place, const std::string& again,
                           const std::function<void(int64_t done)>& progress) const {
  std::map<std::string, std::vector<Tensor>> parts;
  for (int64_t done = 0; done < place.rows; done += settings_.batch) {
    if (stop_requested()) {
      throw Error("interrupted; " + again + " goes on from there");
    }
    const int64_t first = place.first + done;
    const Batch batch = encoded(place.split, first, std::min(settings_.batch, place.rows - done));
    const std::string of =
        std::string("of ") + folder_of(place.split) + "ing pictures from number " + std::to_string(first);
    parts[latents_name].push_back(stored(latents_name, batch.x, of));
    for (const auto& [name, rows] : batch.condition) {
      parts[name].push_back(stored(name, rows, of));
    }
    progress(done + batch.x.size(0));
  }
  TensorFile out{{}, metadata()};
  for (const auto& [name, tensors] : parts) {
    out.tensors[name] = at::cat(tensors);
  }
  return out;
}

// What belongs to all samples: the conditions of an empty prompt.
void Shards::write_unconditional(const fs::path& folder) const {
  if (none_.empty()) {
    return;
  }
  TensorFile out{{}, metadata()};
  for (const auto& [name, row] : none_) {
    out.tensors[unconditional_prefix + name] = stored(name, row, "of the empty prompt")[0];
  }
  write_safetensors(folder / folder_of(Split::train) / unconditional_name, out);
}

// What reads them, to be taken up by `extends`.
void Shards::write_config(const fs::path& folder) const {
  Value out;
  Value& data = out["dataset"];
  data["type"] = Value{std::string(RETORT_DATASET_OF_LATENTS), {}};
  data["folder"] = Value{std::string(folder_of(Split::train)), {}};
  data["test_folder"] = Value{std::string(folder_of(Split::test)), {}};
  if (data_.classes() > 0) {
    data["classes"] = Value{data_.classes(), {}};
  }
  out["autoencoder"] = *experiment_.resolved_for(folder).find(Autoencoder::kind);
  std::string names;
  if (const std::string files = experiment_.autoencoder_files(names); !files.empty()) {
    out["encode"]["made_by"] = Value{files, {}};
  }
  const std::string text = "# Latents of " + std::to_string(pictures()) +
                           " pictures, made by `retort encode`: a configuration to extend.\n" + write_toml(out);
  std::error_code error;
  if (!fs::is_regular_file(folder / config_name, error) || read_text(folder / config_name) != text) {
    write_text(folder / config_name, text);
  }
}

void Shards::make(const fs::path& folder, const std::string& again) const {
  make_folder(folder);
  remove_half_written(folder);
  Json manifest;
  manifest[made_of_key] = made_of_;
  manifest["fingerprint"] = fingerprint_;
  for (const char* table : {"dataset", "autoencoder", "encode"}) {
    manifest["tables"][table] = to_json(*experiment_.resolved_for(folder).find(table));
  }
  for (const Split split : {Split::train, Split::test}) {
    manifest["pictures"][folder_of(split)] = data_.size(split);
  }
  write_text(folder / manifest_name, spell(manifest, 1) + "\n");
  for (const Split split : {Split::train, Split::test}) {
    make_folder(folder / folder_of(split));
    remove_half_written(folder / folder_of(split));
  }
  std::vector<Place> left = places();
  std::erase_if(left, [&](const Place& place) { return there(folder / place.file(), latents_name, place.rows); });
  int64_t to_do = 0;
  for (const Place& place : left) {
    to_do += place.rows;
  }
  if (to_do < pictures()) {
    log::info(folder.string() + " holds " + std::to_string(pictures() - to_do) + " of " + std::to_string(pictures()) +
              " pictures already; going on");
  }
  write_unconditional(folder);
  log::Progress progress("encoding", pictures(), pictures() - to_do);
  int64_t before = pictures() - to_do;
  for (const Place& place : left) {
    write_safetensors(folder / place.file(),
                      file_of(place, again, [&](int64_t done) { progress.update(before + done); }));
    before += place.rows;
  }
  write_config(folder);
}

}  // namespace retort
