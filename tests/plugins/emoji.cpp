// The data set of emoji: its pictures, its names as conditions, and the combinations that it holds out.
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <filesystem>
#include <map>
#include <set>

#include "../../plugins/shared/emoji_names.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr const char *font = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
                     *list = "/usr/share/unicode/emoji/emoji-test.txt";

// Where the plugin was not built, or its packages are not there, there is nothing to test.
bool is_here() {
  const std::vector<std::string> names = registry().names(Dataset::kind);
  const bool here = std::find(names.begin(), names.end(), "emoji") != names.end() && std::filesystem::exists(font) &&
                    std::filesystem::exists(list);
  if (!here) {
    MESSAGE("left out: the data set of emoji, or a package that it reads, is not here");
  }
  return here;
}

std::shared_ptr<Dataset> emoji(const std::string& toml) {
  TestHost host;
  return host.make_plugin<Dataset>("emoji", toml);
}

// Every sample of a split by its name.
struct Named {
  explicit Named(const std::shared_ptr<Dataset>& data, Split split = Split::test)
      : all(data->batch(split, at::arange(data->size(split), at::kLong))) {
    const Tensor captions = all.condition["caption"];
    for (int64_t i = 0; i < captions.size(0); ++i) {
      std::string name(reinterpret_cast<const char*>(captions[i].const_data_ptr<uint8_t>()),
                       static_cast<size_t>(captions.size(1)));
      name.resize(std::min(name.find('\0'), name.size()));
      of[name] = i;
    }
  }
  Tensor picture(const std::string& name) const { return all.x[of.at(name)]; }
  Tensor condition(const char* which, const std::string& name) const { return all.condition[which][of.at(name)]; }
  Batch all;
  std::map<std::string, int64_t> of;
};

std::vector<Emoji> all_names() {
  std::vector<Emoji> out = EmojiFile(list, 15.0).read();
  hold_out(out);
  return out;
}

}  // namespace

TEST_CASE("nearly every emoji of the list is there once, in one split or in both") {
  if (!is_here()) {
    return;
  }
  const auto data = emoji("test = \"both\"\nsize = 8\nconditions = [\"caption\"]");
  const auto unseen = emoji("size = 8"), seen = emoji("size = 8\ntest = \"seen\"");
  const int64_t count = data->size(Split::test);
  CHECK(count > 3500);
  CHECK(count <= static_cast<int64_t>(all_names().size()));
  CHECK(Named(data).of.size() == static_cast<size_t>(count));  // no name twice
  CHECK(unseen->size(Split::train) + unseen->size(Split::test) == count);
  CHECK(seen->size(Split::test) == seen->size(Split::train));
  CHECK(data->size(Split::train) == unseen->size(Split::train));
  CHECK(unseen->size(Split::test) > 150);
  CHECK(unseen->size(Split::test) < count / 10);
}

TEST_CASE("each part of a held-out combination is trained on: every word, and its person or thing in another form") {
  if (!is_here()) {
    return;
  }
  const std::vector<Emoji> all = all_names();
  std::set<std::string> trained;
  std::map<std::string, int> bases;  // of those in training
  for (const Emoji& e : all) {
    if (!e.unseen) {
      trained.insert(e.name);
      bases[TonedName(e.name).base] += 1;
    }
  }
  int tones = 0, pairs = 0, roles = 0, colours = 0;
  for (const Emoji& e : all) {
    if (!e.unseen) {
      continue;
    }
    CAPTURE(e.name);
    const TonedName name(e.name);
    if (bases.contains(name.base)) {  // all but one of the skin tones, or most of the pairs
      CHECK(bases[name.base] >= (name.tones.size() == 1 ? 4 : 15));
      CHECK(!name.tones.empty());
      ++(name.tones.size() == 1 ? tones : pairs);
    } else if (name.base.starts_with("man ") || name.base.starts_with("woman ")) {
      const bool man = name.base.starts_with("man ");
      CHECK(bases[(man ? "wo" + name.base : name.base.substr(2))] > 0);
      ++roles;
    } else {
      const size_t blank = name.base.rfind(' ');
      for (const char* shape : {" heart", " circle", " square"}) {
        CHECK(trained.contains(name.base.substr(0, blank) + shape) == (name.base.substr(blank) != shape));
      }
      ++colours;
    }
  }
  CHECK(tones > 80);
  CHECK(pairs == 65);
  CHECK(roles > 20);
  CHECK(colours >= 3);
  const auto data = emoji("size = 8\nconditions = [\"input_ids\"]");
  const auto words = [&](Split split) {
    const Tensor ids = data->batch(split, at::arange(data->size(split), at::kLong)).condition["input_ids"].contiguous();
    return std::set<int64_t>(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
  };
  const std::set<int64_t> in_training = words(Split::train), in_test = words(Split::test);
  CHECK(std::includes(in_training.begin(), in_training.end(), in_test.begin(), in_test.end()));
  CHECK(in_test.size() > 50);
}

TEST_CASE("pictures are those of their names, on white") {
  if (!is_here()) {
    return;
  }
  const auto data = emoji("test = \"both\"\nsize = 32\nconditions = [\"caption\"]");
  const Named named(data);
  CHECK(most(named.all.x) <= 1);
  for (const char* name : {"red heart", "blue circle", "waving hand: dark skin tone", "woman firefighter"}) {
    CAPTURE(std::string(name));
    const Tensor x = named.picture(name);
    CHECK(x.select(1, 0).select(1, 0).eq(1).all().item<bool>());  // the corner
    CHECK(x.min().item<double>() < 0.5);
  }
  // Red, green, blue: which is strongest where the picture is.
  const auto strongest = [&](const char* name) {
    return named.picture(name).narrow(1, 10, 12).narrow(2, 10, 12).mean(at::IntArrayRef{1, 2}).argmax().item<int64_t>();
  };
  CHECK(strongest("red heart") == 0);
  CHECK(strongest("green circle") == 1);
  CHECK(strongest("blue square") == 2);
  const auto light = [&](const std::string& name) { return named.picture(name).mean().item<double>(); };
  double before = 1;
  for (const char* tone : {"light", "medium-light", "medium", "medium-dark", "dark"}) {
    const double now = light("raised hand: " + std::string(tone) + " skin tone");
    CHECK(now < before);
    before = now;
  }
  // Sequences are pictures of their own: a joined one, a flag of two letters, a flag of tags, a key.
  for (const char* name : {"woman firefighter: medium-dark skin tone", "flag: Japan", "flag: Scotland", "keycap: 7",
                           "people holding hands: light skin tone, dark skin tone"}) {
    CHECK(named.of.contains(name));
  }
  CHECK(most(named.picture("woman firefighter") - named.picture("woman firefighter: light skin tone")) > 0.1);
  CHECK(most(named.picture("flag: Japan") - named.picture("flag: Scotland")) > 0.5);
}

TEST_CASE("a smaller picture is the mean over the areas of a larger one, and x is (pixel - mean) / std") {
  if (!is_here()) {
    return;
  }
  const std::string some = "groups = [\"Food & Drink\"]\ntest = \"seen\"\nsize = ";
  const auto all_of = [&](const std::string& toml) {
    const auto data = emoji(some + toml);
    return data->batch(Split::test, at::arange(data->size(Split::test), at::kLong)).x;
  };
  const Tensor large = all_of("64");
  CHECK(large.size(0) > 100);
  CHECK(most(at::avg_pool2d(large, 2) - all_of("32")) < 2.01 / 255);  // of rounding
  CHECK(most(at::avg_pool2d(large, 4) - all_of("16")) < 2.01 / 255);
  CHECK(most((large * 0.5 + 0.5 - 0.2) / 4 - all_of("64\nmean = 0.2\nstd = 4")) < 1e-6);
  const auto data = emoji(some + "64\nmean = 0.2\nstd = 4");
  const Batch first = data->batch(Split::test, at::arange(3, at::kLong));
  CHECK(most(data->pictures(first.x) - (large.narrow(0, 0, 3) * 0.5 + 0.5)) < 1e-6);
  CHECK(data->shape() == std::vector<int64_t>{3, 64, 64});
}

TEST_CASE("a word has one number wherever it stands, in the order of all words, and 0 stands behind the last") {
  if (!is_here()) {
    return;
  }
  const Named named(emoji("test = \"both\"\nsize = 8\nconditions = [\"input_ids\", \"caption\", \"time_ids\"]"));
  const auto ids = [&](const std::string& name) { return named.condition("input_ids", name); };
  CHECK(ids("flag: Japan").size(0) == 12);
  CHECK(ids("flag: Japan")[0].equal(ids("flag: Norway")[0]));
  CHECK(ids("flag: Japan")[1].item<int64_t>() < ids("flag: Norway")[1].item<int64_t>());
  CHECK(ids("woman firefighter: medium-dark skin tone")
            .narrow(0, 2, 3)
            .equal(ids("raised hand: medium-dark skin tone").narrow(0, 2, 3)));
  CHECK(most(ids("flag: Japan").narrow(0, 2, 10)) == 0);
  CHECK(ids("keycap: #")[1].item<int64_t>() == 1);                        // the first of all words, in bytes
  CHECK(named.all.condition["input_ids"].max().item<int64_t>() == 1749);  // of version 15.0
  CHECK(at::equal(named.condition("time_ids", "flag: Japan"), at::tensor({8.0F, 8.0F, 0.0F, 0.0F, 8.0F, 8.0F})));
}

TEST_CASE("conditions are those that are asked for, and the words' vectors are the captions'") {
  if (!is_here()) {
    return;
  }
  const std::string head = "test = \"both\"\nsize = 8\ngroups = [\"Flags\"]\n";
  CHECK(emoji(head + "conditions = []")->inputs().empty());
  const auto data =
      emoji(head + "length = 3\nwidth = 6\nconditions = [\"caption\", \"prompt_embeds\", \"attention_mask\"]");
  std::vector<std::string> given;
  for (const Input& input : data->inputs()) {
    given.push_back(input.name);
  }
  CHECK(given == std::vector<std::string>{"prompt_embeds", "attention_mask", "caption"});
  const Named named(data);
  CHECK(!named.all.condition.has("pooled_prompt_embeds"));
  const Tensor japan = named.condition("prompt_embeds", "flag: Japan"),
               norway = named.condition("prompt_embeds", "flag: Norway");
  CHECK(japan.sizes() == at::IntArrayRef({3, 6}));
  CHECK(at::equal(japan[0], norway[0]));
  CHECK(!at::equal(japan[1], norway[1]));
  CHECK(most(japan[2]) == 0);
  CHECK(at::equal(named.condition("attention_mask", "flag: Japan"), at::arange(3, at::kLong) < 2));
  TestHost host;
  const auto captions =
      host.make_plugin<Dataset>("captions", "length = 3\nwidth = 6\ntemplate = \"Flag japan\"\ndataset = \"moons\"");
  CHECK(at::equal(captions->batch(Split::train, at::zeros({1}, at::kLong)).condition["prompt_embeds"][0], japan));
}

namespace {

// A host with one checkpoint: of `clip`, or of what the test says.
class WithEncoder final : public Host {
 public:
  WithEncoder(const std::string& network_toml, const ModelSpec& spec)
      : inner_("type = \"ve\"", spec), network_(inner_.make_plugin<Network>("clip", network_toml)) {
    Value model;
    model["network"] = parse_toml(network_toml, "");
    write_spec(spec, model);
    checkpoint_.config["model"] = model;
  }
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return inner_.make(kind, name, params);
  }
  const Process& process() const override { return inner_.process(); }
  bool process_given() const override { return true; }
  ModelSpec spec() const override { return inner_.spec(); }
  const Backend& backend() const override { return inner_.backend(); }
  Checkpoint checkpoint(const std::string&) override { return checkpoint_; }
  std::shared_ptr<Network> network(const Checkpoint&, const std::string&) override { return network_; }

  std::shared_ptr<Dataset> data(const std::string& toml) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "dataset", this);
    return std::static_pointer_cast<Dataset>(registry().make("dataset", "emoji", p));
  }
  Checkpoint checkpoint_;

 private:
  TestHost inner_;

 public:
  std::shared_ptr<Network> network_;
};

ModelSpec words(int64_t length) {
  return {{3, 16, 16}, {{.name = "input_ids", .shape = {length}, .dtype = at::kLong}}};
}

}  // namespace

TEST_CASE("a text encoder's words and texts are the conditions") {
  if (!is_here()) {
    return;
  }
  const std::string small = "vocabulary = 1750\nwidths = [8]\nwidth = 8\nlayers = 1\nheads = 2\ndropout = 0.5\n";
  WithEncoder host(small, words(12));
  const std::string toml = "size = 16\ngroups = [\"Flags\"]\ntest = \"both\"\ntext_encoder = \"clip.safetensors\"\n";
  const auto data =
      host.data(toml + "conditions = [\"prompt_embeds\", \"attention_mask\", \"pooled_prompt_embeds\", \"input_ids\"]");
  for (const Input& input : data->inputs()) {
    if (input.name == "prompt_embeds") {
      CHECK(input.shape == std::vector<int64_t>{12, 8});
    }
  }
  const Batch batch = data->batch(Split::test, at::arange(40, at::kLong));
  const at::NoGradGuard no_grad;
  const Tensor text = host.network_->forward({}, {}, {{"input_ids", batch.condition["input_ids"]}});
  const Tensor mask = batch.condition["attention_mask"];
  CHECK(at::equal(mask, batch.condition["input_ids"] > 0));
  CHECK(most(batch.condition["prompt_embeds"] - text.narrow(1, 0, 12) * mask.unsqueeze(2)) < 1e-5);
  CHECK(most(batch.condition["pooled_prompt_embeds"] - text.select(1, 12)) < 1e-5);
  CHECK(contains(request_error([&] { host.data(toml + "length = 9"); }),
                 "dataset.length: 9 words are not what the encoder clip.safetensors was trained with; expected 12"));
  CHECK(
      contains(request_error([&] { WithEncoder("vocabulary = 99\n", words(12)).data(toml); }),
               "dataset.text_encoder: clip.safetensors knows a vocabulary of 99, and these captions have one of 1750"));
  host.checkpoint_.config["model"].erase("inputs");
  CHECK(contains(request_error([&] { host.data(toml); }),
                 "dataset.text_encoder: clip.safetensors is of a network that takes no input_ids"));
  CHECK(contains(request_error([&] { host.data(toml + "embeddings = \"x\""); }),
                 "dataset.embeddings: stand beside `text_encoder`"));
}

TEST_CASE("a file of embeddings is read by the names") {
  if (!is_here()) {
    return;
  }
  const Folder folder;
  const std::string head = "size = 8\ngroups = [\"Flags\"]\ntest = \"both\"\n";
  const Named named(emoji(head + "conditions = [\"caption\"]"));
  std::string names;
  Tensor numbers = at::zeros({static_cast<int64_t>(named.of.size()), 2, 3});
  for (const auto& [name, i] : named.of) {
    numbers[static_cast<int64_t>(std::distance(named.of.begin(), named.of.find(name)))].fill_(i);
    names += (names.empty() ? "\"" : ", \"") + name + "\"";
  }
  write_safetensors(folder / "texts.safetensors", {{{"prompt_embeds", numbers}}, {{"file_names", "[" + names + "]"}}});
  const std::string file = "embeddings = \"" + (folder / "texts.safetensors").string() + "\"\n";
  const auto data = emoji(head + file + "conditions = [\"prompt_embeds\"]");
  const Tensor read = data->batch(Split::test, at::tensor({7, 0, 9}, at::kLong)).condition["prompt_embeds"];
  CHECK(most(read - at::tensor({7.0, 0.0, 9.0}).view({3, 1, 1})) == 0);
  CHECK(contains(request_error([&] { emoji(head + file); }),
                 "dataset.embeddings: have no attention_mask, which `conditions` asks for"));
}

TEST_CASE("what is not there, or is not what it should be, is said in one line") {
  if (!is_here()) {
    return;
  }
  const auto refused = [](const std::string& toml) { return request_error([&] { emoji(toml); }); };
  CHECK(contains(refused("font = \"/no/such.ttf\""),
                 "/no/such.ttf: no such file; install Debian's fonts-noto-color-emoji"));
  CHECK(contains(refused("names = \"/no/list.txt\""), "/no/list.txt: no such file; install Debian's unicode-data"));
  CHECK(contains(refused("groups = [\"Flag\"]"),
                 "dataset.groups: 'Flag' is no group of the list; did you mean 'Flags'?"));
  CHECK(contains(refused("groups = [\"Flags\"]"), "dataset.test: \"unseen\" leaves nothing to test"));
  CHECK(
      contains(refused("conditions = [\"promt_embeds\"]"), "dataset.conditions: 'promt_embeds' describes no picture"));
  const Folder folder;
  const auto names = [&](const std::string& text) {
    write_text(folder / "names.txt", text);
    return "names = \"" + (folder / "names.txt").string() + "\"\ntest = \"seen\"\nsize = 8\n";
  };
  write_text(folder / "font.ttf", "no font");
  CHECK(contains(refused("font = \"" + (folder / "font.ttf").string() + "\""),
                 "font.ttf: is no font that FreeType can read"));
  CHECK(contains(refused(names("# nothing\n")), "names.txt: has no fully-qualified emoji"));
  CHECK(contains(refused(names("1F600 fully-qualified grinning face\n")), "names.txt:1: is not as \"CODES ; STATUS"));
  CHECK(contains(refused(names("\n1F6Q0 ; fully-qualified # x E1.0 face\n")), "names.txt:2: '1F6Q0' is no code point"));
  CHECK(contains(refused(names("1F600 ; fully-qualified # x Eone face\n")), "names.txt:1: 'one' is no version"));
  CHECK(contains(refused(names("0041 0042 ; fully-qualified # AB E1.0 two letters\n")),
                 "dataset.font: has no picture of any"));
  const auto some =
      emoji(names("1F600 ; fully-qualified # x E1.0 a face\n0041 0042 ; fully-qualified # AB E1.0 two letters\n"
                  "1F601 ; unqualified # x E1.0 other face\n1F602 ; fully-qualified # x E16.0 later face\n"));
  CHECK(some->size(Split::train) == 1);
  CHECK(some->notes() == "1 emoji left out that the font has no picture of, such as \"two letters\"");
}
