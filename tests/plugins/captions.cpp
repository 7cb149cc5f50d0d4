// Captions of pictures and of other data sets' samples: where they are found, and what is made of them.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// Four pictures of 2 x 3 to train on, two to test, in idx files.
struct Pictures {
  Pictures() {
    const auto idx = [](int64_t n, bool labels) {
      std::string out = {0, 0, 8, static_cast<char>(labels ? 1 : 3), 0, 0, 0, static_cast<char>(n)};
      if (labels) {
        return out + std::string("\0\1\2\1", static_cast<size_t>(n));
      }
      out += std::string("\0\0\0\2\0\0\0\3", 8);
      for (int64_t i = 0; i < n * 6; ++i) {
        out += static_cast<char>(i * 7);
      }
      return out;
    };
    for (const auto& [name, n] : {std::pair("train", 4), std::pair("test", 2)}) {
      write_text(folder / (std::string(name) + "_x"), idx(n, false));
      write_text(folder / (std::string(name) + "_y"), idx(n, true));
    }
  }
  std::string inner() const {
    return "\n[dataset]\ntype = \"mnist_idx\"\nimages = \"" + path("train_x") + "\"\nlabels = \"" + path("train_y") +
           "\"\ntest_images = \"" + path("test_x") + "\"\ntest_labels = \"" + path("test_y") + "\"\n";
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  std::shared_ptr<Dataset> captions(const std::string& toml) {
    return host.make_plugin<Dataset>("captions", toml + inner());
  }
  std::string error(const std::string& toml) {
    return request_error([&] { captions(toml); });
  }
  // With the captions in files of that ending.
  std::string files(const std::string& train, const std::string& test, const std::string& ending = ".txt") {
    write_text(folder / ("train" + ending), train);
    write_text(folder / ("test" + ending), test);
    return "file = \"" + path("train" + ending) + "\"\ntest_file = \"" + path("test" + ending) + "\"\n";
  }

  Folder folder;
  TestHost host;
};

Tensor row(const Dataset& data, int64_t i, const char* name, Split split = Split::train) {
  return data.batch(split, at::tensor({i}, at::kLong)).condition[name][0];
}

const std::vector<std::string> text_inputs = {"prompt_embeds", "attention_mask", "pooled_prompt_embeds", "time_ids"};

}  // namespace

TEST_CASE("captions are given as inputs() says, with labels only where they are asked for") {
  TestHost host;
  const Tensor index = at::tensor({5, 0, 59999}, at::kLong);
  for (const bool labels : {false, true}) {
    const auto data = host.make_plugin<Dataset>("captions", labels ? "labels = true" : "");
    const auto inner = host.make_plugin<Dataset>("fashion_mnist");
    std::vector<std::string> names = labels ? std::vector<std::string>{"labels"} : std::vector<std::string>{};
    names.insert(names.end(), text_inputs.begin(), text_inputs.end());
    const Batch batch = data->batch(Split::train, index);
    std::vector<std::string> given;
    for (const Input& input : data->inputs()) {
      given.push_back(input.name);
      CHECK(input.null == 0);
      CHECK(batch.condition[input.name].sizes().slice(1) == at::IntArrayRef(input.shape));
      CHECK((batch.condition[input.name].scalar_type() == input.dtype));
    }
    CHECK(given == names);
    CHECK(batch.condition.has(inputs::labels) == labels);
    CHECK(data->classes() == (labels ? 10 : 0));
    CHECK(data->class_names().size() == (labels ? 10 : 0));
    CHECK(data->labels(Split::test).defined() == labels);
    CHECK(at::equal(batch.x, inner->batch(Split::train, index).x));
    CHECK(at::equal(data->pictures(batch.x), inner->pictures(batch.x)));
    CHECK(data->size(Split::test) == 10000);
    CHECK(at::equal(batch.condition["time_ids"][0], at::tensor({28.0F, 28.0F, 0.0F, 0.0F, 28.0F, 28.0F})));
  }
}

TEST_CASE("equal texts have equal embeddings, others others, and words mean the same anywhere") {
  Pictures pictures;
  const auto data = pictures.captions(
      "length = 4\nwidth = 16\n" + pictures.files("a red shoe\nA \"red\" shoe!\nshoe\n\n", "blue shoe\na red shoe\n"));
  const Tensor first = row(*data, 0, "prompt_embeds");
  CHECK(at::equal(first, row(*data, 1, "prompt_embeds")));
  CHECK(at::equal(first, row(*data, 1, "prompt_embeds", Split::test)));
  CHECK(at::equal(first[2], row(*data, 2, "prompt_embeds")[0]));
  CHECK(at::equal(first[2], row(*data, 0, "prompt_embeds", Split::test)[1]));
  CHECK(!at::equal(first[0], first[1]));
  CHECK(most(first[3]) == 0);  // padding
  CHECK(at::equal(row(*data, 0, "attention_mask"), at::arange(4, at::kLong) < 3));
  CHECK(most(row(*data, 0, "pooled_prompt_embeds") - first.narrow(0, 0, 3).mean(0)) < 1e-6);
  for (const char* name : {"prompt_embeds", "pooled_prompt_embeds", "attention_mask"}) {  // of no word
    CHECK(most(row(*data, 3, name).to(at::kFloat)) == 0);
  }
  // On this machine as on any other.
  CHECK(first[2][0].item<double>() == doctest::Approx(-1.80812).epsilon(1e-5));
  const auto words = pictures.captions("width = 256\ntemplate = \"word\"");
  const Tensor numbers = row(*words, 0, "prompt_embeds")[0];
  CHECK(std::abs(numbers.mean().item<double>()) < 0.25);
  CHECK(std::abs(numbers.std().item<double>() - 1) < 0.2);
}

TEST_CASE("a template is filled with each sample's class name, and only with that") {
  TestHost host;
  const auto data = host.make_plugin<Dataset>("captions", "template = \"{class} on {class}\"\nlength = 5");
  const Tensor labels = host.make_plugin<Dataset>("fashion_mnist")->labels(Split::train);
  const auto of_class = [&](int64_t label) { return at::nonzero(labels == label)[7].item<int64_t>(); };
  const Tensor bag = row(*data, of_class(8), "prompt_embeds"), boot = row(*data, of_class(9), "prompt_embeds");
  CHECK(at::equal(bag[0], bag[2]));    // bag on bag
  CHECK(at::equal(boot[0], boot[3]));  // ankle boot on ankle boot
  CHECK(at::equal(bag[1], boot[2]));
  CHECK(most(bag[3]) == 0);
  Pictures pictures;
  CHECK(contains(pictures.error("template = \"a {colour} {class}\""),
                 "dataset.template: '{colour}' is unknown; expected {class}"));
  CHECK(contains(pictures.error(""), "has no names of classes to fill in"));
  const auto same = pictures.captions("template = \"a picture\"");
  CHECK(at::equal(row(*same, 0, "prompt_embeds"), row(*same, 3, "prompt_embeds")));
}

TEST_CASE("JSON lines name their samples, or follow their order") {
  Pictures pictures;
  const std::string toml = pictures.files(
      "{\"index\": 2, \"text\": \"two\"}\n{\"index\": 0, \"text\": \"none\"}\n\n{\"index\": 3, \"text\": \"two\"}\r\n"
      "{\"index\": 1, \"text\": \"one\"}",
      "{\"text\": \"none\"}\n{\"text\": \"one\"}\n", ".jsonl");
  const auto data = pictures.captions(toml);
  CHECK(at::equal(row(*data, 2, "prompt_embeds"), row(*data, 3, "prompt_embeds")));
  CHECK(at::equal(row(*data, 0, "prompt_embeds"), row(*data, 0, "prompt_embeds", Split::test)));
  CHECK(at::equal(row(*data, 1, "prompt_embeds"), row(*data, 1, "prompt_embeds", Split::test)));
  const auto error = [&](const std::string& lines) { return pictures.error(pictures.files(lines, "", ".jsonl")); };
  CHECK(contains(error("{\"index\": 0, \"text\": \"a\"}\n"), "has no caption for sample 1 of the 4 training samples"));
  CHECK(contains(error("{\"index\": 4, \"text\": \"a\"}\n"), "line 1 is of sample 4, beyond the 4 training samples"));
  CHECK(contains(error("{\"text\": \"a\"}\n{\"index\": 0, \"text\": \"a\"}\n"),
                 "line 2 is a second caption of sample 0"));
  CHECK(contains(error("{\"index\": \"x\", \"text\": \"a\"}\n"), "line 1 has an index that is no whole number"));
  CHECK(contains(error("{\"file_name\": \"a.png\", \"text\": \"a\"}\n"), "line 1 has a file_name"));
  for (const char* line : {"[1]\n", "{\"text\": 3}\n", "{\"index\": 0\n", "words\n"}) {
    CHECK(contains(error(line), "line 1 is not as {\"index\": 0, \"text\": "));
  }
}

TEST_CASE("files of captions that are missing or do not fit get a line, and long captions a note") {
  Pictures pictures;
  CHECK(contains(pictures.error("file = \"nowhere.txt\"\ntest_file = \"nowhere.txt\""), "nowhere.txt: no such file"));
  CHECK(contains(pictures.error("file = \"nowhere.txt\""), "dataset.test_file: missing"));
  CHECK(contains(pictures.error(pictures.files("a\nb\n", "a\nb\n")), "has 2 lines for the 4 training samples"));
  CHECK(contains(pictures.error(pictures.files("a\nb\nc\nd\n", "a\n")), "has 1 lines for the 2 test samples"));
  const std::string toml = pictures.files("a b c d\nb\nc d e\nd\n", "a\nb\n");
  CHECK(pictures.captions(toml)->notes().empty());
  const auto data = pictures.captions(toml + "length = 2\n");
  CHECK(data->notes() == "2 caption(s) cut to 2 words, such as \"a b c d\"");
  CHECK(at::equal(row(*data, 0, "prompt_embeds")[1], row(*data, 1, "prompt_embeds")[0]));
}

TEST_CASE("embeddings made elsewhere are read from their file") {
  Pictures pictures;
  TensorFile file;
  file.tensors = {{"train.prompt_embeds", normal({4, 3, 5}).to(at::kHalf)},
                  {"train.pooled_prompt_embeds", normal({4, 7}, 1)},
                  {"train.attention_mask", normal({4, 3}, 2) > 0},
                  {"test.prompt_embeds", normal({2, 3, 5}, 3).to(at::kHalf)},
                  {"test.pooled_prompt_embeds", normal({2, 7}, 4)},
                  {"test.attention_mask", normal({2, 3}, 5) > 0}};
  const auto toml = [&] {
    write_safetensors(pictures.folder / "e.safetensors", file);
    return "embeddings = \"" + pictures.path("e.safetensors") + "\"\n";
  };
  const auto data = pictures.captions(toml());
  CHECK(data->inputs().size() == 4);
  for (const auto& [split, name] : {std::pair(Split::train, "train."), std::pair(Split::test, "test.")}) {
    const Batch batch = data->batch(split, at::tensor({1, 0}, at::kLong));
    for (const char* input : {"prompt_embeds", "pooled_prompt_embeds", "attention_mask"}) {
      const Tensor given = batch.condition[input], wanted = file.tensors.at(std::string(name) + input);
      CHECK((given.scalar_type() == (std::string(input) == "attention_mask" ? at::kBool : at::kFloat)));
      CHECK(at::equal(given, wanted.narrow(0, 0, 2).flip({0}).to(given.scalar_type())));
    }
  }
  const auto with = [&](const std::string& name, const Tensor& rows) {
    const TensorFile before = file;
    file.tensors[name] = rows;
    if (!rows.defined()) {
      file.tensors.erase(name);
    }
    const std::string line = pictures.error(toml());
    file = before;
    return line;
  };
  CHECK(contains(with("train.prompt_embeds", {}), "has no tensor 'train.prompt_embeds'"));
  CHECK(contains(with("test.pooled_prompt_embeds", {}), "train and test have different 'pooled_prompt_embeds'"));
  CHECK(contains(with("train.prompt_embeds", normal({5, 3, 5})), "'train.prompt_embeds' has 3 dimensions and 5 rows"));
  CHECK(contains(with("test.prompt_embeds", normal({2, 3, 6})), "train and test have different 'prompt_embeds'"));
  CHECK(contains(pictures.error(toml() + "file = \"a\"\ntest_file = \"a\"\n"), "there is a `file` of these"));
}

TEST_CASE("a broken file of embeddings gets one line, truncated at any byte") {
  Pictures pictures;
  const std::string path = pictures.path("e.safetensors"), toml = "embeddings = \"" + path + "\"\n";
  TensorFile file;
  file.tensors = {{"train.prompt_embeds", at::ones({4, 1, 1})}, {"test.prompt_embeds", at::ones({2, 1, 1})}};
  write_safetensors(path, file);
  CHECK(pictures.captions(toml)->inputs().size() == 2);
  const std::string whole = read_text(path);
  for (size_t n = 0; n < whole.size(); ++n) {
    write_text(path, whole.substr(0, n));
    CHECK(contains(pictures.error(toml), path + ": is "));
  }
  for (const auto& [from, to] : {std::pair("\"F32\"", "\"X32\""), std::pair("[4,1,1]", "[4,1,2]"),
                                 std::pair("[4,1,1]", "[-4,1]"), std::pair("shape", "shapf")}) {
    std::string broken = whole;
    broken.replace(broken.find(from), std::string(from).size(), to);
    broken.replace(0, 1,
                   std::string(1, static_cast<char>(whole[0] + static_cast<int>(std::string(to).size()) -
                                                    static_cast<int>(std::string(from).size()))));
    write_text(path, broken);
    CHECK(contains(pictures.error(toml), "is a damaged safetensors file: tensor '"));
  }
  CHECK(contains(pictures.error("embeddings = \"/no/such.safetensors\""), "/no/such.safetensors: no such file"));
}

namespace {

// A folder of pictures of one colour each, whose red is their number.
struct Photos {
  void picture(const std::string& name, int red) {
    std::filesystem::create_directories((folder / name).parent_path());
    Tensor x = at::zeros({3, 2, 2}, at::kByte);
    x[0].fill_(red);
    write_text(folder / name, encode_png(x));
  }
  void text(const std::string& name, const std::string& words) {
    std::filesystem::create_directories((folder / name).parent_path());
    write_text(folder / name, words);
  }
  std::shared_ptr<Dataset> open(const std::string& more = "", const std::string& source = "") {
    return host.make_plugin<Dataset>("captions", "folder = \"" + (source.empty() ? folder.string() : source) +
                                                     "\"\nmean = 0\nstd = 1\ntest_every = 100\n" +
                                                     (contains_word(more, "embeddings") ? "" : "letters = true\n") +
                                                     more);
  }
  std::string error(const std::string& more = "") {
    return request_error([&] { open(more); });
  }
  static bool contains_word(const std::string& text, const char* word) { return text.find(word) != std::string::npos; }

  Folder folder;
  TestHost host;
};

// The red of each picture, with its caption.
std::map<int, std::string> texts_of(const Dataset& data) {
  const Batch batch = data.batch(Split::train, at::arange(data.size(Split::train), at::kLong));
  std::map<int, std::string> out;
  for (int64_t i = 0; i < batch.x.size(0); ++i) {
    const Tensor bytes = batch.condition["caption"][i].contiguous();
    const auto* at = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
    std::string text(at, static_cast<size_t>(bytes.numel()));
    text = text.substr(0, text.find('\0'));
    const int red = static_cast<int>(std::lround(batch.x[i][0][0][0].item<double>() * 255));
    const auto [known, fresh] = out.emplace(red, text);
    CHECK((fresh || known->second == text));  // a picture that is met twice has one caption
  }
  return out;
}

using Texts = std::map<int, std::string>;

}  // namespace

TEST_CASE("captions stand beside their pictures, in .txt or .json; pictures without are left out and counted") {
  Photos photos;
  photos.picture("1.png", 1);
  photos.text("1.txt", "\xef\xbb\xbfone,\r\nin words\n");
  photos.picture("a/2.PNG", 2);
  photos.text("a/2.TXT", "two");
  photos.picture("a/3.b.png", 3);
  photos.text("a/3.b.json", R"({"caption": "three", "url": "x"})");
  photos.picture("4.png", 4);  // none
  photos.picture("5.png", 5);
  photos.text("5.txt", "five");
  photos.text("5.json", R"({"width": 3})");
  photos.text("6.txt", "of no picture");
  photos.text(".7.txt", "hidden");
  const auto data = photos.open();
  CHECK(texts_of(*data) == Texts{{1, "one,  in words"}, {2, "two"}, {3, "three"}, {5, "five"}});
  CHECK(data->classes() == 0);
  CHECK(data->notes() == "1 file that is no picture, 1 hidden file, 1 picture without a caption were left out");
  // What words are made of them is what a file of captions gives.
  const auto plain = photos.host.make_plugin<Dataset>("captions", "dataset = \"moons\"\ntemplate = \"one in words\"");
  CHECK(at::equal(row(*data, 0, "prompt_embeds"), row(*plain, 0, "prompt_embeds")));
  CHECK(contains(photos.error("text_keys = [\"description\"]"), "a/3.b.json: has no text under 'description'"));
  CHECK(texts_of(*photos.open("text_keys = [\"description\"]\ndamaged = \"skip\"")).size() == 3);
  photos.text("1.txt", "no \xff text");
  CHECK(contains(photos.error(), "1.txt: is no text in UTF-8; expected a caption"));
}

TEST_CASE("metadata.jsonl names its pictures from its own folder, and comes before texts beside them") {
  Photos photos;
  photos.picture("1.png", 1);
  photos.picture("a/2.png", 2);
  photos.picture("b/3.png", 3);
  photos.picture("b/4.png", 4);
  photos.text("1.txt", "not this");
  photos.text(
      "metadata.jsonl",
      "{\"file_name\": \"1.png\", \"text\": \" one \"}\r\n\n{\"file_name\": \"./a/2.png\", \"caption\": \"two\"}");
  photos.text("b/metadata.jsonl", "{\"file_name\": \"3.png\", \"text\": \"three\"}\n");
  const auto data = photos.open();
  CHECK(texts_of(*data) == Texts{{1, "one"}, {2, "two"}, {3, "three"}});
  CHECK(data->notes() == "1 file that is no picture, 1 picture without a caption were left out");
  CHECK(contains(photos.error("captions = \"files\""), "holds 1 picture(s)"));
  photos.text("b/metadata.jsonl", "{\"image\": \"3.png\", \"text\": \"drei\"}\n");
  photos.text("metadata.jsonl", "{\"image\": \"1.png\", \"prompt\": \"eins\", \"text\": \"no\"}\n");
  CHECK(texts_of(*photos.open("file_key = \"image\"\ntext_keys = [\"prompt\", \"text\"]")) ==
        Texts{{1, "eins"}, {3, "drei"}});
}

TEST_CASE("lines of metadata.jsonl that are damaged, or of no picture, are named by their number, or passed over") {
  Photos photos;
  for (int i = 1; i <= 3; ++i) {
    photos.picture(std::to_string(i) + ".png", i);
  }
  const std::string good =
      "{\"file_name\": \"1.png\", \"text\": \"one\"}\n{\"file_name\": \"2.png\", \"text\": \"two\"}\n\n";
  const auto with = [&](const std::string& line) {
    photos.text("metadata.jsonl", good + line + "\n");
    CHECK(texts_of(*photos.open("damaged = \"skip\"")) == Texts{{1, "one"}, {2, "two"}});
    return photos.error();
  };
  const std::string where = (photos.folder / "metadata.jsonl").string() + ": line 4 ";
  CHECK(contains(with("{\"file_name\": \"3.png\", \"text"), where + "is no JSON object; expected {\"file_name\": "));
  CHECK(contains(with("[3]"), where + "is no JSON object"));
  CHECK(contains(with("{\"text\": \"three\"}"), where + "has no text under 'file_name'"));
  CHECK(contains(with("{\"file_name\": \"3.png\", \"text\": 3}"), where + "has no text under 'text' or 'caption'"));
  CHECK(contains(with("{\"file_name\": \"4.png\", \"text\": \"x\"}"),
                 where + "is of '4.png', and there is no such picture"));
  CHECK(contains(with("{\"file_name\": \"../3.png\", \"text\": \"x\"}"), "there is no such picture"));
  CHECK(contains(with("{\"file_name\": \"1.png\", \"text\": \"x\"}"), where + "is a second caption of '1.png'"));
  CHECK(contains(with("{\"file_name\": \"3\\n.png\", \"text\": \"x\"}"), "is of '3 .png'"));
}

TEST_CASE("pictures without any captions get a line; a template takes their folders' names") {
  Photos photos;
  for (int i = 0; i < 3; ++i) {
    photos.picture("cat/" + std::to_string(i) + ".png", i);
    photos.picture("dog/" + std::to_string(i) + ".png", 10 + i);
  }
  CHECK(contains(photos.error(), photos.folder.string() + ": has no captions; expected a metadata.jsonl, or NAME.txt"));
  CHECK(contains(photos.error("captions = \"metadata\""), "has no metadata.jsonl"));
  const auto data = photos.open("captions = \"template\"\ntemplate = \"a {class}\"");
  CHECK(data->classes() == 0);
  CHECK(texts_of(*data).at(2) == "a cat");
  CHECK(texts_of(*data).at(10) == "a dog");
  const auto labelled = photos.open("captions = \"template\"\nlabels = true\nflip = true");
  CHECK(labelled->class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(labelled->size(Split::train) == 12);
  CHECK(texts_of(*labelled).at(12) == "a photo of a dog");
  photos.text("metadata.jsonl", "\n");
  CHECK(contains(photos.error(), "has no caption for any of its pictures"));
}

TEST_CASE("a tar of pairs is read as the folder that it was made of") {
  Photos photos;
  for (int i = 1; i <= 4; ++i) {
    photos.picture("set/00" + std::to_string(i) + ".png", i);
    photos.text("set/00" + std::to_string(i) + (i % 2 == 0 ? ".txt" : ".json"),
                i % 2 == 0 ? "even " + std::to_string(i) : "{\"text\": \"odd " + std::to_string(i) + "\"}");
  }
  const std::string tar = (photos.folder / "pairs.tar").string();
  REQUIRE(std::system(("tar -cf '" + tar + "' -C '" + photos.folder.string() + "' set").c_str()) == 0);
  const Texts right = {{1, "odd 1"}, {2, "even 2"}, {3, "odd 3"}, {4, "even 4"}};
  CHECK(texts_of(*photos.open("", tar)) == right);
  CHECK(photos.open("", tar)->notes().empty());
  CHECK(texts_of(*photos.open("", (photos.folder / "set").string())) == right);
  photos.text("set/003.json", "{\"text\": ");
  REQUIRE(std::system(("tar -cf '" + tar + "' -C '" + photos.folder.string() + "' set").c_str()) == 0);
  CHECK(contains(request_error([&] { photos.open("", tar); }), tar + ": set/003.json: is no JSON object"));
}

TEST_CASE("captions follow their pictures where one that is met later turns out to be damaged") {
  Photos photos;
  for (int i = 1; i <= 4; ++i) {
    photos.picture(std::to_string(i) + ".png", i);
    photos.text(std::to_string(i) + ".txt", "number " + std::to_string(i));
  }
  std::string bytes = read_text(photos.folder / "2.png");
  bytes[bytes.size() - 20] = static_cast<char>(bytes[bytes.size() - 20] ^ 1);  // its pixels' checksum
  photos.text("2.png", bytes);
  CHECK(contains(photos.error(), "2.png: is a damaged PNG"));
  const auto data = photos.open("damaged = \"skip\"\nmemory = 0");
  CHECK(data->size(Split::train) == 4);
  CHECK(texts_of(*data) == Texts{{1, "number 1"}, {3, "number 3"}, {4, "number 4"}});
}

TEST_CASE("embeddings brought along for a folder find their pictures by name, in any order") {
  Photos photos;
  for (int i = 0; i < 4; ++i) {
    photos.picture("a/" + std::to_string(i) + ".png", i);
  }
  TensorFile file;
  file.tensors = {{"prompt_embeds", at::arange(5, at::kFloat).view({5, 1, 1}).expand({5, 2, 3}).contiguous()},
                  {"pooled_prompt_embeds", at::arange(5, at::kFloat).view({5, 1}).to(at::kHalf)}};
  const auto toml = [&](const std::string& names) {
    file.metadata = {{"file_names", names}};
    write_safetensors(photos.folder / "e.safetensors", file);
    return "embeddings = \"" + (photos.folder / "e.safetensors").string() + "\"";
  };
  const auto data = photos.open(toml(R"(["a/3.png", "a/1.png", "other.png", "a/0.png", "a/2.png"])"));
  const Batch batch = data->batch(Split::train, at::arange(4, at::kLong));
  const Tensor right = at::tensor({3.0F, 1.0F, 4.0F, 0.0F});  // rows of 0, 1, 2 and 3
  CHECK(at::equal(batch.condition["prompt_embeds"].select(2, 2).select(1, 1), right));
  CHECK(at::equal(batch.condition["pooled_prompt_embeds"].flatten(), right));
  CHECK(contains(photos.error(toml(R"(["a/3.png", "a/1.png", "x", "y", "z"])")),
                 "e.safetensors: has no row of 'a/0.png'"));
  CHECK(contains(photos.error(toml(R"(["a/3.png", "a/1.png", "a/3.png"])")), "names 'a/3.png' twice"));
  CHECK(contains(photos.error(toml("{}")), "has no 'file_names' in its metadata"));
  CHECK(contains(photos.error(toml(R"(["a/0.png", "a/1.png", "a/2.png", "a/3.png"])")),
                 "'prompt_embeds' has 3 dimensions and 5 rows; expected 3, and a row for each of the 4"));
}

TEST_CASE("keys that say nothing where they stand are errors") {
  Photos photos;
  photos.picture("1.png", 1);
  const auto error = [&](const std::string& toml) {
    return request_error([&] { photos.host.make_plugin<Dataset>("captions", toml); });
  };
  const std::string folder = "folder = \"" + photos.folder.string() + "\"\n";
  CHECK(contains(error(folder + "dataset = \"moons\""), "dataset.dataset: stands beside `folder`"));
  CHECK(contains(error(folder + "file = \"a\"\ntest_file = \"b\""), "dataset.file: stands beside `folder`"));
  CHECK(contains(error("size = 8\ntemplate = \"x\"\ndataset = \"moons\""), "dataset.size: says how pictures"));
  CHECK(contains(error("captions = \"files\"\ndataset = \"moons\""), "dataset.captions: \"files\" is for pictures"));
  CHECK(contains(error(folder + "text_keys = []"), "dataset.text_keys: is empty"));
}

TEST_CASE("texts are those that Hugging Face's datasets and webdataset give, less blanks at their ends") {
  Photos photos;
  const Json expected = Json::parse(read_text(source_dir() + "/tests/parity/captions.json"));
  for (const char* name : {"imagefolder", "pairs.tar"}) {
    CAPTURE(name);
    Texts right;
    for (const Json& pair : expected.at(name)) {
      auto text = pair.at(1).get<std::string>();
      std::replace(text.begin(), text.end(), '\n', ' ');
      text = text.substr(text.find_first_not_of(' '));
      right[pair.at(0).get<int>()] = text.substr(0, text.find_last_not_of(' ') + 1);
    }
    const auto data = photos.open("", source_dir() + "/tests/fixtures/captions/" + name);
    CHECK(texts_of(*data) == right);
    CHECK(data->notes().empty());
  }
}
