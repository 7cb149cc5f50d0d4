// `retort encode`: shards of latents, made once, whatever interrupts it.
#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <map>

#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

constexpr int64_t pictures = 43;  // 39 to train on, 4 to test on

const std::string own_plugins = "--plugin-dir '" + test_plugin_dir() + "' ";

// Pictures of 6 x 8 with their captions, and a configuration that encodes them, five in a shard.
class Photos {
 public:
  Photos() {
    fs::create_directories(folder_ / "photos");
    const Tensor bytes = at::randint(0, 256, {pictures, 3, 6, 8}, seeded(3, "photos"), at::kLong).to(at::kByte);
    for (int64_t i = 0; i < pictures; ++i) {
      const std::string name = std::to_string(100 + i);
      write_text(folder_ / "photos" / (name + ".png"), encode_png(bytes[i]));
    }
    config("");
  }
  // With captions beside them.
  void caption(const std::string& more) {
    for (int64_t i = 0; i < pictures; ++i) {
      write_text(folder_ / "photos" / (std::to_string(100 + i) + ".txt"), i % 2 == 0 ? "a cat" : "two dogs");
    }
    config(more, "type = \"captions\"\nletters = true\n");
  }
  void config(const std::string& more, const std::string& data = "type = \"image_folder\"\n") {
    write_text(folder_ / "photos.toml", "[backend]\ntype = \"cpu\"\n[dataset]\n" + data +
                                            "folder = \"photos\"\nsize = 8\nresize = \"stretch\"\n[autoencoder]\n"
                                            "type = \"folded\"\n[encode]\nrows = 5\nbatch = 2\n" +
                                            more);
  }
  std::string command(const std::string& more) const {
    return own_plugins + "encode " + (folder_ / "photos.toml").string() + " run.cache=" + folder_.string() + "/cache " +
           more;
  }
  Outcome encode(const std::string& more) const { return run_retort(command(more)); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

 private:
  Folder folder_;
};

std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      out[fs::relative(entry.path(), folder).string()] = read_text(entry.path());
    }
  }
  return out;
}

// Tokens of both captions and of the empty prompt, and an encoder that shows them.
void write_text_encoder(const Photos& photos, const std::string& texts) {
  TensorFile tokens;
  tokens.tensors["input_ids"] = at::tensor({1, 2, 0, 3, 4, 5, 9, 9, 9}, at::kLong).view({3, 3});
  tokens.tensors["attention_mask"] = at::tensor({1, 1, 0, 1, 1, 1, 1, 0, 0}, at::kLong).view({3, 3});
  tokens.metadata["texts"] = texts;
  write_safetensors(photos.at("tokens.safetensors"), tokens);
  torch::jit::Module net("clip");
  net.register_parameter("width", at::ones({1, 1, 4}), false);
  net.define(R"(
    def forward(self, input_ids, attention_mask):
        x = input_ids.unsqueeze(-1) * self.width
        return x, x.sum(1) + attention_mask.sum(1, keepdim=True)
  )");
  net.save(photos.at("clip.ts"));
}

}  // namespace

TEST_CASE("an `encode` that is killed twice and goes on leaves the very files of one that was not") {
  for (const std::string draws : {"mean", "drawn"}) {
    CAPTURE(draws);
    Photos photos;
    photos.config("posterior = \"" + draws + "\"\n[autoencoder.folded]\nwait = 20\n");
    REQUIRE(photos.encode("--out " + photos.at("whole")).code == 0);
    const std::string cut = "--out " + photos.at("cut");
    kill_when(photos.command(cut), [&] { return fs::exists(photos.at("cut/train/00001.safetensors")); });
    kill_when(photos.command(cut), [&] { return fs::exists(photos.at("cut/train/00004.safetensors")); });
    CHECK_FALSE(fs::exists(photos.at("cut/latents.toml")));
    const Outcome rest = photos.encode(cut);
    CAPTURE(rest.output);
    REQUIRE(rest.code == 0);
    CHECK(contains(rest.output, "pictures already; going on"));
    const auto whole = files_in(photos.at("whole"));
    CHECK(whole.size() == 11);  // 8 shards and 1, the manifest and the configuration
    CHECK(whole == files_in(photos.at("cut")));
  }
}

TEST_CASE("what is encoded already is left alone; another encoding is one line") {
  const Photos photos;
  const std::string out = "--out " + photos.at("latents/");
  REQUIRE(photos.encode(out).code == 0);
  const auto before = files_in(photos.at("latents"));
  const auto written = fs::last_write_time(photos.at("latents/train/00000.safetensors"));
  const Outcome again = photos.encode(out);
  CHECK(again.code == 0);
  CHECK(contains(again.output, "they were there already"));
  CHECK(fs::last_write_time(photos.at("latents/train/00000.safetensors")) == written);
  CHECK(photos.encode(out + " backend.threads=1").code == 0);  // changes nothing
  CHECK(one_line(photos.encode(out + " autoencoder.factor=0.25"), 2,
                 {"holds latents that were made with another [autoencoder]", "or --fresh"}));
  CHECK(
      one_line(photos.encode(out + " dataset.flip=true encode.dtype=float32"), 2, {"another [dataset] and [encode]"}));
  CHECK(files_in(photos.at("latents")) == before);
  CHECK(photos.encode(out + " --fresh autoencoder.factor=0.25").code == 0);
  CHECK(files_in(photos.at("latents~1")) == before);
  // A shard that was lost or damaged is made again.
  REQUIRE(photos.encode("--out " + photos.at("b")).code == 0);
  fs::remove(photos.at("b/train/00003.safetensors"));
  fs::resize_file(photos.at("b/train/00004.safetensors"), 300);
  CHECK(photos.encode("--out " + photos.at("b")).code == 0);
  CHECK(files_in(photos.at("b/train")) == files_in(photos.at("latents~1/train")));
}

TEST_CASE("a folder is one by whatever name it is called, and --fresh moves what lies there") {
  const Photos photos;
  fs::create_directories(photos.at("real"));
  fs::create_directory_symlink("real", photos.at("link"));
  REQUIRE(photos.encode("--out " + photos.at("link")).code == 0);
  const auto made = files_in(photos.at("real"));
  CHECK(made.contains("latents.toml"));
  for (const std::string name : {"link/", "./real/.", "real/train/.."}) {
    CAPTURE(name);
    const Outcome again = photos.encode("--out " + photos.at(name));
    CHECK(again.code == 0);
    CHECK(contains(again.output, "there already"));
  }
  CHECK(photos.encode("--fresh --out " + photos.at("link")).code == 0);
  CHECK(fs::is_symlink(photos.at("link")));
  CHECK(files_in(photos.at("real~1")) == made);
  CHECK(files_in(photos.at("real")) == made);
}

TEST_CASE("an edited configuration is written anew, a damaged manifest goes by --fresh, other shards are told") {
  const Photos photos;
  const std::string out = "--out " + photos.at("latents");
  REQUIRE(photos.encode(out).code == 0);
  const auto made = files_in(photos.at("latents"));
  write_text(photos.at("latents/latents.toml"), "[dataset]\n");
  CHECK(photos.encode(out).code == 0);
  CHECK(files_in(photos.at("latents")) == made);
  fs::copy(photos.at("latents/train/00000.safetensors"), photos.at("latents/train/00099.safetensors"));
  CHECK(one_line(photos.encode(out), 2, {"00099.safetensors: is none of these shards"}));
  write_text(photos.at("latents/encode.json"), "{");
  CHECK(one_line(photos.encode(out), 2, {"a damaged encode.json"}));
  CHECK(photos.encode("--fresh " + out).code == 0);
  CHECK(files_in(photos.at("latents")) == made);
  CHECK(fs::exists(photos.at("latents~1/train/00099.safetensors")));
}

TEST_CASE("without --out shards are found by what they are made of") {
  const Photos photos;
  const Outcome first = photos.encode("");
  CAPTURE(first.output);
  REQUIRE(first.code == 0);
  const size_t at = first.output.find(photos.at("cache"));
  REQUIRE(at != std::string::npos);
  const std::string made = first.output.substr(at, first.output.find('\n', at) - at);
  CHECK(fs::exists(made));
  const Outcome again = photos.encode("");
  CHECK(contains(again.output, made));
  CHECK(contains(again.output, "there already"));
  const Outcome other = photos.encode("autoencoder.factor=0.25");
  CHECK(other.code == 0);
  CHECK(other.output.find(made) == std::string::npos);
}

TEST_CASE("the shards hold the pictures' latents, and the configuration beside them reads them") {
  const Photos photos;
  REQUIRE(photos.encode("encode.dtype=float32 --out " + photos.at("latents")).code == 0);
  const TensorFile shard = read_safetensors(photos.at("latents/train/00000.safetensors"));
  CHECK(shard.metadata.at("scaling_factor") == "0.5");
  CHECK(shard.metadata.at("shift") == "0.0");
  const Tensor z = shard.tensors.at("latents");
  REQUIRE(z.sizes() == at::IntArrayRef({5, 12, 4, 4}));
  CHECK(most(z) <= 0.5);
  CHECK(most(z - z[0]) > 0.1);
  const TensorFile last = read_safetensors(photos.at("latents/train/00007.safetensors"));
  CHECK(last.tensors.at("latents").size(0) == 4);
  // A training on latents, with samples as pictures.
  write_text(photos.at("train.toml"),
             "extends = \"latents/latents.toml\"\n[backend]\ntype = \"cpu\"\n[process]\ntype = \"rectified_flow\"\n"
             "[network]\ntype = \"unet\"\nwidths = [8]\nattention = []\ngroups = 4\nembedding = "
             "8\n[student]\nparametrisation = "
             "\"flow\"\n[loss]\ntype = \"denoising\"\n[solver]\ntype = \"euler\"\n[schedule]\ntype = \"uniform\"\n"
             "steps = 2\n[train]\nsteps = 2\nbatch = 4\n[evaluate]\nsamples = 4\npictures = 4\n"
             "metrics = [\"sliced_wasserstein\"]\n");
  const std::string run = own_plugins + "run " + photos.at("train.toml") + " run.output=" + photos.at("run");
  const Outcome out = run_retort(run);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(fs::exists(photos.at("run/samples/data.png")));
  // Trained on latents as they are, so that another decoder trains nothing again.
  const auto trained = fs::last_write_time(photos.at("run/checkpoints/step_000002.safetensors"));
  CHECK(run_retort(run + " autoencoder.factor=0.4").code == 0);
  CHECK(fs::last_write_time(photos.at("run/checkpoints/step_000002.safetensors")) == trained);
  CHECK_FALSE(fs::exists(photos.at("run~1")));
}

TEST_CASE("a text encoder's embeddings go with the latents, and those of the empty prompt with all") {
  Photos photos;
  photos.caption("text_encoder = \"clip.ts\"\ntokens = \"tokens.safetensors\"\ndtype = \"float32\"\n");
  write_text_encoder(photos, R"(["a cat", "two dogs", ""])");
  const Outcome out = photos.encode("--out " + photos.at("latents"));
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const TensorFile shard = read_safetensors(photos.at("latents/train/00000.safetensors"));
  CHECK(shard.tensors.size() == 5);  // and the mask and SDXL's time_ids
  const Tensor prompt = shard.tensors.at("prompt_embeds");
  REQUIRE(prompt.sizes() == at::IntArrayRef({5, 3, 4}));
  CHECK(at::equal(prompt.select(2, 1)[0], at::tensor({1.0F, 2.0F, 0.0F})));
  CHECK(at::equal(prompt.select(2, 1)[1], at::tensor({3.0F, 4.0F, 5.0F})));
  CHECK(at::equal(shard.tensors.at("pooled_prompt_embeds").select(1, 0).narrow(0, 0, 2), at::tensor({5.0F, 15.0F})));
  CHECK((shard.tensors.at("attention_mask").scalar_type() == at::kBool));
  const TensorFile none = read_safetensors(photos.at("latents/train/unconditional.safetensors"));
  CHECK(at::equal(none.tensors.at("uncond_prompt_embeds"), at::full({3, 4}, 9.0F)));
  CHECK(contains(run_retort("inspect latents").output, "unconditional_every"));
  // In the samples' order, where no texts are named.
  TensorFile rows;
  rows.tensors["train.input_ids"] = at::arange(39, at::kLong).view({39, 1}).expand({39, 3}).contiguous();
  rows.tensors["test.input_ids"] = at::zeros({4, 3}, at::kInt);
  rows.tensors["train.attention_mask"] = at::ones({39, 3}, at::kLong);
  rows.tensors["test.attention_mask"] = at::ones({4, 3}, at::kLong);
  write_safetensors(photos.at("rows.safetensors"), rows);
  REQUIRE(photos.encode("encode.tokens=" + photos.at("rows.safetensors") + " --out " + photos.at("by_row")).code == 0);
  const TensorFile second = read_safetensors(photos.at("by_row/train/00001.safetensors"));
  CHECK(at::equal(second.tensors.at("prompt_embeds").select(2, 0).select(1, 0), at::arange(5, 10).to(at::kFloat)));
}

TEST_CASE("embeddings that a type cannot hold are one line, which names one that can") {
  Photos photos;
  photos.caption("text_encoder = \"clip.ts\"\ntokens = \"tokens.safetensors\"\n");
  const std::pair<int64_t, const char*> cases[] = {
      {0, "of training pictures from number 0, as float16, are not finite"},
      {2, "of the empty prompt, as float16, are not finite"}};
  for (const auto& [row, what] : cases) {
    CAPTURE(what);
    write_text_encoder(photos, R"(["a cat", "two dogs", ""])");
    TensorFile tokens = read_safetensors(photos.at("tokens.safetensors"));
    const Tensor ids = tokens.tensors.at("input_ids").clone();
    ids[row].mul_(100000);
    tokens.tensors["input_ids"] = ids;
    write_safetensors(photos.at("tokens.safetensors"), tokens);
    const std::string out = "--out " + photos.at("row" + std::to_string(row));
    const Outcome outcome = photos.encode(out);
    CAPTURE(outcome.output);
    CHECK(outcome.code == 1);
    CHECK(contains(outcome.output, "prompt_embeds "));
    CHECK(contains(outcome.output, what));
    CHECK(contains(outcome.output, "encode.dtype = \"bfloat16\" or \"float32\""));
    CHECK(photos.encode("--fresh encode.dtype=bfloat16 " + out).code == 0);
  }
}

TEST_CASE("what cannot be encoded is one line before the work") {
  Photos photos;
  const std::string out = " --out " + photos.at("latents");
  CHECK(one_line(photos.encode("autoencoder={}" + out), 2, {"autoencoder.type: missing"}));
  write_text(photos.at("none.toml"), "[dataset]\ntype = \"image_folder\"\nfolder = \"photos\"\nsize = 8\n");
  CHECK(one_line(run_retort(own_plugins + "encode " + photos.at("none.toml") + out), 2,
                 {"none.toml: [autoencoder] is missing"}));
  CHECK(one_line(photos.encode("dataset.size=7" + out), 2,
                 {"photos.toml:", "autoencoder: takes the data set's samples of 3 x 7 x 7 neither for pictures"}));
  CHECK(one_line(photos.encode("dataset.mean=0.3" + out), 2, {"takes pictures in [-1, 1]", "mean = 0.5"}));
  CHECK(one_line(photos.encode("--fresh"), 2, {"--fresh"}));
  fs::create_directories(photos.at("mine"));
  write_text(photos.at("mine/diary.txt"), "dear");
  CHECK(one_line(photos.encode("--out " + photos.at("mine")), 2, {"holds other files, and no encode.json"}));
  CHECK(one_line(photos.encode("--fresh --out " + photos.at("mine")), 2, {"holds other files"}));
  CHECK(fs::exists(photos.at("mine/diary.txt")));
  CHECK(one_line(photos.encode("encode.row=3" + out), 2, {"encode.row", "did you mean 'rows'?"}));
  CHECK(one_line(photos.encode("encode.tokens=x.safetensors" + out), 2, {"encode.tokens", "expected a text_encoder"}));
  write_text_encoder(photos, R"(["a cat", "two dogs", ""])");
  const std::string texts =
      "encode.text_encoder=" + photos.at("clip.ts") + " encode.tokens=" + photos.at("tokens.safetensors") + " ";
  CHECK(one_line(photos.encode(texts + out), 2, {"encode.tokens", "the data set gives no captions"}));
  CHECK(one_line(photos.encode(texts + "encode.text_encoder=" + photos.at("photos.toml") + out), 2,
                 {"encode.text_encoder", "cannot be read as TorchScript"}));
  CHECK(one_line(photos.encode(texts + "encode.text_encoder=none.ts" + out), 2,
                 {"encode.text_encoder: none.ts: no such file"}));
  photos.caption("");
  write_text_encoder(photos, R"(["a cat", "three dogs", ""])");
  CHECK(one_line(photos.encode(texts + "encode.batch=5" + out), 2, {"has no text 'two dogs'"}));
  write_text_encoder(photos, R"(["a cat", "two dogs"])");
  CHECK(one_line(photos.encode(texts + out), 2, {"`texts`", "a text for each row"}));
  CHECK_FALSE(fs::exists(photos.at("latents/latents.toml")));
  photos.config("");
  // Shards within what is read would be part of what they are made of.
  const Outcome within = photos.encode("--out " + photos.at("photos/latents"));
  CHECK(within.code == 2);
  CHECK(contains(within.output, "photos/latents: lies in or around what is read by the key 'dataset.folder'"));
  CHECK_FALSE(fs::exists(photos.at("photos/latents")));
  // One configuration encodes; what else is swept is the trainings' own.
  write_text(photos.at("swept.toml"), "extends = \"photos.toml\"\n[sweep]\n\"autoencoder.factor\" = [0.5, 0.25]\n");
  CHECK(one_line(run_retort(own_plugins + "encode " + photos.at("swept.toml") + " --out " + photos.at("swept")), 2,
                 {"swept.toml:2: sweep: has several of [autoencoder]", "sweep={}"}));
  CHECK_FALSE(fs::exists(photos.at("swept")));
  // Latents are not encoded again.
  const Outcome encoded = photos.encode("--fresh" + out);
  CAPTURE(encoded.output);
  REQUIRE(encoded.code == 0);
  CHECK(one_line(run_retort(own_plugins + "encode " + photos.at("latents/latents.toml") + " --out " + photos.at("c")),
                 2, {"are its latents already; expected pictures"}));
}
