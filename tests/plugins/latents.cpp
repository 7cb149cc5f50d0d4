// Latents in shards of safetensors: which rows come out, in which order, and what is said of damaged files.
#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// `n` samples of 2 x 3 x 3 with texts, whose first number is that of the sample.
TensorFile shard(int64_t first, int64_t n, at::ScalarType type = at::kFloat) {
  TensorFile out;
  const Tensor number = at::arange(first, first + n, at::kDouble);
  const auto rows_like = [&](std::vector<int64_t> shape) {
    Tensor x = normal(shape, static_cast<uint64_t>(first));
    x.flatten(1).select(1, 0).copy_(number);
    return x.to(type);
  };
  out.tensors = {{"latents", rows_like({n, 2, 3, 3})},
                 {"prompt_embeds", rows_like({n, 4, 5})},
                 {"pooled_prompt_embeds", rows_like({n, 6})},
                 {"time_ids", number.view({n, 1}).expand({n, 6}).to(at::kInt).contiguous()},
                 {"attention_mask", at::arange(4, at::kLong).expand({n, 4}) < number.remainder(4).view({n, 1})},
                 {"labels", number.remainder(3).to(at::kLong)}};
  return out;
}

// Shards of 5, 1, 0 and 6 samples, of the three types.
struct Shards {
  Shards() {
    write("a", shard(0, 5, at::kHalf));
    write("b", shard(5, 1, at::kBFloat16));
    write("c", shard(6, 0));
    write("d", shard(6, 6));
  }
  std::string path(const std::string& name) const { return (folder / (name + ".safetensors")).string(); }
  void write(const std::string& name, const TensorFile& file) { write_safetensors(path(name), file); }
  std::shared_ptr<Dataset> open(const std::string& more = "") {
    return host.make_plugin<Dataset>("latents", "folder = \"" + folder.string() + "\"\n" + more);
  }
  std::string error(const std::string& more = "") {
    return request_error([&] { open(more); });
  }
  // The error with that shard in place of b, which is put back.
  std::string with(const TensorFile& file) {
    write("b", file);
    const std::string line = error();
    write("b", shard(5, 1, at::kBFloat16));
    return line;
  }

  Folder folder;
  TestHost host;
};

Batch all_of(const Dataset& data, Split split = Split::train) {
  return data.batch(split, at::arange(data.size(split), at::kLong));
}

std::vector<int64_t> numbers(const Tensor& rows) {
  const Tensor first = rows.flatten(1).select(1, 0).to(at::kLong).contiguous();
  return {first.data_ptr<int64_t>(), first.data_ptr<int64_t>() + first.numel()};
}

}  // namespace

TEST_CASE("rows of all shards come out as they were stored, in the order that is asked for") {
  Shards shards;
  const auto data = shards.open("test_every = 4");
  CHECK(data->shape() == std::vector<int64_t>{2, 3, 3});
  CHECK(data->size(Split::train) == 9);
  CHECK(data->size(Split::test) == 3);
  CHECK(data->notes().empty());
  CHECK(!data->pictures(all_of(*data).x).defined());
  CHECK(numbers(all_of(*data).x) == std::vector<int64_t>{0, 1, 2, 4, 5, 6, 8, 9, 10});
  CHECK(numbers(all_of(*data, Split::test).x) == std::vector<int64_t>{3, 7, 11});
  const Batch batch = data->batch(Split::train, at::tensor({8, 0, 4, 0, 5}, at::kLong));
  CHECK(numbers(batch.x) == std::vector<int64_t>{10, 0, 5, 0, 6});
  for (const char* name : {"prompt_embeds", "pooled_prompt_embeds", "time_ids"}) {
    CHECK(numbers(batch.condition[name]) == std::vector<int64_t>{10, 0, 5, 0, 6});
    CHECK((batch.condition[name].scalar_type() == at::kFloat));
  }
  const auto stored = [&](const TensorFile& file, const char* name, int64_t row) {
    return file.tensors.at(name)[row].to(at::kFloat);
  };
  const TensorFile a = shard(0, 5, at::kHalf), b = shard(5, 1, at::kBFloat16), d = shard(6, 6);
  CHECK(at::equal(batch.x[0], stored(d, "latents", 4)));
  CHECK(at::equal(batch.x[1], stored(a, "latents", 0)));
  CHECK(at::equal(batch.condition["prompt_embeds"][2], stored(b, "prompt_embeds", 0)));
  CHECK(at::equal(batch.condition["attention_mask"][0], d.tensors.at("attention_mask")[4]));
  CHECK(at::equal(batch.condition[inputs::labels], at::tensor({1, 0, 2, 0, 0}, at::kLong)));
}

TEST_CASE("inputs() says what batches have, and only what is asked for is read") {
  Shards shards;
  const auto data = shards.open();
  std::vector<std::string> names;
  const Batch batch = all_of(*data);
  for (const Input& input : data->inputs()) {
    names.push_back(input.name);
    CHECK(batch.condition[input.name].sizes().slice(1) == at::IntArrayRef(input.shape));
    CHECK((batch.condition[input.name].scalar_type() == input.dtype));
  }
  CHECK(names ==
        std::vector<std::string>{"labels", "attention_mask", "pooled_prompt_embeds", "prompt_embeds", "time_ids"});
  CHECK(data->classes() == 3);
  CHECK(shards.open("classes = 7")->classes() == 7);
  CHECK(contains(shards.error("classes = 2"), "tensor 'labels' has 2; expected labels from 0 to 1"));
  const auto some = shards.open("inputs = [\"prompt_embeds\"]");
  REQUIRE(some->inputs().size() == 1);
  CHECK(some->classes() == 0);
  CHECK(!some->labels(Split::train).defined());
  CHECK(!all_of(*some).condition.has("time_ids"));
  CHECK(contains(shards.error("inputs = [\"prompt_embed\"]"), "dataset.inputs: 'prompt_embed' is no tensor of"));
}

TEST_CASE("latents as an autoencoder gives them are shifted and scaled; those that are already are not again") {
  Shards shards;
  const Tensor as_stored = all_of(*shards.open()).x, scaled = all_of(*shards.open("scaling_factor = 0.5\nshift = 3")).x;
  CHECK(most(scaled - (as_stored - 3) * 0.5) < 1e-6);
  TensorFile file = shard(0, 4);
  file.metadata = {{"scaling_factor", "0.18215"}};
  Folder folder;
  write_safetensors(folder / "a.safetensors", file);
  TestHost host;
  const auto open = [&](const std::string& more) {
    return host.make_plugin<Dataset>("latents", "folder = \"" + folder.string() + "\"\n" + more);
  };
  CHECK(open("shift = 1")->size(Split::train) > 0);
  CHECK(contains(request_error([&] { open("scaling_factor = 0.5"); }), "dataset.scaling_factor: the metadata of"));
  file.metadata = {{"scaling_factor", "0.13025"}};
  write_safetensors(folder / "b.safetensors", file);
  CHECK(contains(request_error([&] { open(""); }), "b.safetensors: has scaling_factor '0.13025' in its metadata"));
  file.metadata = {{"scaling_factor", "much"}};
  write_safetensors(folder / "a.safetensors", file);
  write_safetensors(folder / "b.safetensors", file);
  CHECK(contains(request_error([&] { open(""); }), "has scaling_factor 'much' in its metadata; expected a number"));
}

TEST_CASE("the conditions of an empty prompt stand in for every so many-th pass over the training samples") {
  Shards shards;
  CHECK(contains(shards.error("unconditional_every = 3"), "there is no tensor such as 'uncond_prompt_embeds'"));
  TensorFile none;
  none.tensors = {{"uncond_prompt_embeds", at::full({1, 4, 5}, -7.0).to(at::kHalf)},
                  {"uncond_pooled_prompt_embeds", at::full({6}, -8.0)}};
  shards.write("unconditional", none);
  const auto plain = shards.open(), data = shards.open("unconditional_every = 3");
  const int64_t n = plain->size(Split::train);
  REQUIRE(data->size(Split::train) == 3 * n);
  CHECK(data->size(Split::test) == plain->size(Split::test));
  const Batch batch = all_of(*data), own = all_of(*plain);
  for (int64_t pass = 0; pass < 3; ++pass) {
    const auto of_pass = [&](const Tensor& rows) { return rows.narrow(0, pass * n, n); };
    CHECK(at::equal(of_pass(batch.x), own.x));
    CHECK(at::equal(of_pass(batch.condition["time_ids"]), own.condition["time_ids"]));
    const Tensor prompt = of_pass(batch.condition["prompt_embeds"]),
                 pooled = of_pass(batch.condition["pooled_prompt_embeds"]);
    CHECK(at::equal(prompt, pass < 2 ? own.condition["prompt_embeds"] : at::full({n, 4, 5}, -7.0F)));
    CHECK(at::equal(pooled, pass < 2 ? own.condition["pooled_prompt_embeds"] : at::full({n, 6}, -8.0F)));
  }
  CHECK(at::equal(data->labels(Split::train), batch.condition[inputs::labels]));
  none.tensors["uncond_prompt_embeds"] = at::zeros({4, 6});
  shards.write("unconditional", none);
  CHECK(contains(shards.error(), "tensor 'uncond_prompt_embeds' has another shape than a row of 'prompt_embeds'"));
}

TEST_CASE("a folder of its own may be the test split") {
  Shards shards, other;
  const std::string test = "test_folder = \"" + other.folder.string() + "\"";
  const auto data = shards.open(test);
  CHECK(data->size(Split::train) == 12);
  CHECK(data->size(Split::test) == 12);
  TensorFile file = shard(0, 2);
  file.tensors.erase("time_ids");
  for (const char* name : {"a", "b", "c", "d"}) {
    other.write(name, file);
  }
  CHECK(contains(shards.error(test), "has no tensor 'time_ids', which "));
}

TEST_CASE("shards that do not belong together get a line that names file and tensor") {
  Shards shards;
  const auto change = [](const std::function<void(std::map<std::string, Tensor>&)>& how) {
    TensorFile file = shard(5, 1);
    how(file.tensors);
    return file;
  };
  const std::string b = shards.path("b") + ": ", a = shards.path("a");
  CHECK(shards.with(change([](auto& t) {
    t["latents"] = at::zeros({1, 2, 3, 4});
  })) == b + "tensor 'latents' is [n, 2, 3, 4]; expected [n, 2, 3, 3], as in " + a);
  CHECK(shards.with(change([](auto& t) { t.erase("time_ids"); })) ==
        b + "has no tensor 'time_ids', which " + a + " has");
  CHECK(shards.with(change([](auto& t) {
    t["more"] = at::zeros({1, 2});
  })) == b + "has a tensor 'more', which " + a + " has not");
  CHECK(shards.with(change([](auto& t) { t["labels"] = at::zeros({2}, at::kLong); })) ==
        b + "tensor 'labels' has 2 rows; expected 1, as 'latents' has");
  CHECK(shards.with(change([](auto& t) { t["labels"] = at::zeros({1}); })) ==
        b + "tensor 'labels' is of type Float; expected Long, as in " + a);
  CHECK(contains(shards.with(change([](auto& t) { t.erase("latents"); })), b + "has no tensor 'latents'"));
  CHECK(contains(shards.with(change([](auto& t) { t["latents"] = at::zeros({1}, at::kLong); })),
                 b + "tensor 'latents' is [n] Long; expected floats [n, C, H, W]"));
  CHECK(contains(shards.with(change([](auto& t) { t["labels"].fill_(-1); })), "tensor 'labels' has -1"));
  CHECK(shards.open()->size(Split::train) == 11);
}

TEST_CASE("a folder without latents, and one that is not there, get a line; other files are said") {
  Folder folder;
  TestHost host;
  const auto error = [&](const std::string& path) {
    return request_error([&] { host.make_plugin<Dataset>("latents", "folder = \"" + path + "\""); });
  };
  CHECK(contains(error(folder.string()), folder.string() + ": holds no file with tensor 'latents'"));
  CHECK(contains(error((folder / "no").string()), "/no: does not exist; expected a folder of safetensors files"));
  CHECK(contains(error(""), "dataset.folder: missing"));
  write_text(folder / "a.safetensors", "");
  CHECK(contains(error(folder.string()), "a.safetensors: is too short for a safetensors file"));
  Shards shards;
  write_text(shards.folder / "readme.md", "words");
  std::filesystem::create_directories(shards.folder / "more");
  CHECK(shards.open()->notes() == "left out are entries that are no .safetensors: 2 in " + shards.folder.string());
  TestHost another;  // a single file is a data set too
  CHECK(another.make_plugin<Dataset>("latents", "folder = \"" + shards.path("d") + "\"")->size(Split::train) == 6);
}

TEST_CASE("a shard that is truncated at any byte, or whose header lies, gets a line") {
  Folder folder;
  TestHost host;
  const std::string path = (folder / "x.safetensors").string();
  const auto error = [&](const std::string& bytes) {
    write_text(path, bytes);
    return request_error([&] { host.make_plugin<Dataset>("latents", "folder = \"" + folder.string() + "\""); });
  };
  TensorFile file;
  file.tensors = {{"latents", at::ones({2, 1, 2})}, {"prompt_embeds", at::ones({2, 1, 1})}};
  write_safetensors(path, file);
  const std::string whole = read_text(path);
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::string line = error(whole.substr(0, n));
    CHECK(line.starts_with(path + ": is "));
    CHECK(line.find('\n') == std::string::npos);
  }
  CHECK(contains(error(whole + "x"), "it has 1 bytes that belong to no tensor"));
  CHECK(contains(error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "a pointer of Git LFS"));
  const auto header = [&](const std::string& text, size_t data) {
    std::string length(8, '\0');
    length[0] = static_cast<char>(text.size());
    return error(length + text + std::string(data, '\0'));
  };
  const std::string x = R"("latents":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]})";
  CHECK(contains(header("{" + x + "," + x + "}", 8), "its header names 'latents' twice"));
  CHECK(contains(header("{" + x + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
                 "tensor 'y' shares bytes with another"));
  CHECK(contains(header("{" + x + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16),
                 "tensor 'y' leaves a gap before it"));
  CHECK(contains(header(R"({"latents":{"dtype":"F8_E4M3","shape":[1,8],"data_offsets":[0,8]}})", 8),
                 "the data type F8_E4M3 is not supported"));
  CHECK(contains(header(R"({"latents":{"dtype":"F32","shape":[1,-2],"data_offsets":[0,8]}})", 8),
                 "tensor 'latents' has a size that is no count"));
  CHECK(contains(header(R"({"latents":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8),
                 "tensor 'latents' has a shape that does not fit the file"));
  CHECK(contains(header(R"({"latents":{"dtype":"F32","shape":[1,2],"data_offsets":[0,80]}})", 8),
                 "tensor 'latents' has offsets that do not fit its shape, or reach beyond the file"));
  CHECK(contains(header("[1]", 0), "its header does not begin with {"));
}

TEST_CASE("a shard that shrinks, changes or goes away while it is in use ends in a line") {
  Shards shards;
  const auto data = shards.open();
  const Tensor index = at::arange(data->size(Split::train), at::kLong);
  CHECK(data->batch(Split::train, index).x.size(0) == 11);
  const std::string path = shards.path("d"), whole = read_text(path);
  const auto line = [&] { return request_error([&] { data->batch(Split::train, index); }); };
  std::filesystem::resize_file(path, whole.size() - 100);
  CHECK(contains(line(), path + ": has shrunk from " + std::to_string(whole.size()) + " to "));
  std::filesystem::remove(path);
  CHECK(contains(line(), path + ": cannot be read: "));
  shards.write("d", shard(100, 8));
  CHECK(contains(line(), path + ": has changed while it is in use"));
  CHECK(data->batch(Split::train, at::arange(5, at::kLong)).x.size(0) == 5);  // of the others
}

TEST_CASE("what Python's safetensors wrote is read to the bit, as PyTorch casts it") {
  const std::string folder = source_dir() + "/tests/fixtures/latents";
  TestHost host;
  const auto data = host.make_plugin<Dataset>("latents", "folder = \"" + folder + "\"\ntest_every = 100");
  const Json expected = Json::parse(read_text(source_dir() + "/tests/parity/latents.json"));
  const Batch batch = all_of(*data);
  REQUIRE(batch.x.size(0) == expected.at("samples").get<int64_t>());
  const auto check = [&](const std::string& name, const Tensor& rows) {
    CAPTURE(name);
    const auto values = expected.at("rows").at(name).get<std::vector<double>>();
    REQUIRE(rows.numel() == static_cast<int64_t>(values.size()));
    CHECK(at::equal(rows.flatten().to(at::kDouble), at::tensor(values, at::kDouble)));
  };
  check("latents", batch.x);
  for (const Input& input : data->inputs()) {
    check(input.name, batch.condition[input.name]);
  }
  CHECK(data->inputs().size() + 1 == expected.at("rows").size());
}
