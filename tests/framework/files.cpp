#include <fstream>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "run/run.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("safetensors come back as they were written") {
  Folder folder;
  TensorFile file;
  file.tensors = {{"a", normal({3, 4})},
                  {"b", at::arange(5, at::kLong)},
                  {"c", at::ones({2}, at::kHalf)},
                  {"empty", at::zeros({0, 3})}};
  file.metadata = {{"key", "value \"quoted\""}};
  write_safetensors(folder / "x.safetensors", file);
  const TensorFile back = read_safetensors(folder / "x.safetensors");
  CHECK(back.metadata == file.metadata);
  for (const auto& [name, tensor] : file.tensors) {
    CHECK(at::equal(back.tensors.at(name), tensor));
  }
}

TEST_CASE("damaged safetensors are one line, whatever the bytes") {
  Folder folder;
  write_safetensors(folder / "good.safetensors", {{{"x", normal({4, 4})}}, {}});
  const std::string good = read_text(folder / "good.safetensors");
  const auto error = [&](const std::string& bytes) {
    std::ofstream(folder / "x.safetensors", std::ios::binary) << bytes;
    const std::string message = request_error([&] { read_safetensors(folder / "x.safetensors"); });
    CHECK(message.find('\n') == std::string::npos);
    return message;
  };
  for (size_t size = 0; size < good.size(); size += 5) {
    error(good.substr(0, size));
  }
  std::string huge = good;
  huge[6] = 0x7f;
  CHECK(contains(error(huge), "header is longer than the file"));
  const auto with_header = [](const std::string& json) {
    return std::string(1, static_cast<char>(json.size())) + std::string(7, '\0') + json;
  };
  CHECK(contains(error(with_header(R"({"x":{"dtype":"F32","shape":[999999999,999999999],"data_offsets":[0,4]}})")),
                 "does not fit the file"));
  CHECK(contains(error(with_header(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}})")),
                 "does not fit the file"));
  CHECK(contains(error(with_header(R"({"x":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}})")),
                 "'x' is of type Q4, which is not supported"));
  CHECK(contains(error(with_header("[1, 2]")), "damaged"));
}

TEST_CASE("what the format of safetensors forbids is refused, and what it allows is read") {
  Folder folder;
  const auto write = [&](const std::string& json, size_t bytes) {
    std::string length(8, '\0');
    length[0] = static_cast<char>(json.size() & 255);
    length[1] = static_cast<char>(json.size() >> 8);
    std::ofstream(folder / "x.safetensors", std::ios::binary) << length << json << std::string(bytes, '\1');
  };
  struct Case {
    const char* json;
    size_t bytes;
    const char* part;
  };
  const Case forbidden[] = {
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       1, "names 'a' twice"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", 0, "names 'k' twice"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "shares bytes with another"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       3, "leaves a gap"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2, "1 bytes that belong to no tensor"},
      {R"({})", 5, "belong to no tensor"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "does not fit the file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8, "do not fit its shape"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "no count"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "no count"},
      {R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})", 0, "does not fit the file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "do not fit its shape"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}})", 4, "alone"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "alone"},
      {R"({"__metadata__":{"k":1}})", 0, "damaged"},
      {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "damaged"},
      {" {}", 0, "does not begin with {"},
      {"{\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}", 0, "nested too deeply"},
  };
  for (const Case& c : forbidden) {
    CAPTURE(std::string(c.json));
    write(c.json, c.bytes);
    CHECK(contains(request_error([&] { read_safetensors(folder / "x.safetensors"); }), c.part));
  }
  write(
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I32","shape":[],"data_offsets":[1,5]},"none":{"dtype":"F64","shape":[3,0],"data_offsets":[5,5]}}   )",
      5);
  const TensorFile file = read_safetensors(folder / "x.safetensors");
  CHECK(file.tensors.at("a").item<int64_t>() == 0x01010101);
  CHECK(file.tensors.at("none").sizes().vec() == std::vector<int64_t>{3, 0});
}

TEST_CASE("an empty file is read as such, and one that is not there is a line") {
  Folder folder;
  write_text(folder / "empty", "");
  CHECK(read_text(folder / "empty").empty());
  CHECK(contains(request_error([&] { read_text(folder / "missing"); }), "missing: cannot be read"));
  CHECK(contains(request_error([&] { read_text(folder.string()); }), "cannot be read"));
}

TEST_CASE("what killed writers left is told from files, and removed") {
  Folder folder;
  for (const char* name : {"a.safetensors.part123", "b.part9", "report.html", "x.party", "y.part12a"}) {
    write_text(folder / name, "x");
  }
  remove_half_written(folder.string());
  CHECK(!std::filesystem::exists(folder / "a.safetensors.part123"));
  CHECK(!std::filesystem::exists(folder / "b.part9"));
  for (const char* name : {"report.html", "x.party", "y.part12a"}) {
    CHECK(std::filesystem::exists(folder / name));
  }
}

TEST_CASE("CSV numbers round-trip") {
  Folder folder;
  const Tensor x = normal({20, 3}) * at::pow(10.0, normal({20, 3}, 2) * 30);
  write_samples(folder / "x.csv", x);
  CHECK(at::equal(read_samples(folder / "x.csv", {3}), x));
}

TEST_CASE("a file is replaced as a whole or not at all") {
  Folder folder;
  write_text(folder / "x", "old");
  CHECK_THROWS_AS(write_atomically(folder / "x",
                                   [](std::ostream& out) {
                                     out << "half";
                                     out.setstate(std::ios::badbit);
                                   }),
                  Error);
  CHECK(read_text(folder / "x") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.string()), {}) == 1);
}

TEST_CASE("SHA-256 is the standard's") {
  Folder folder;
  write_text(folder / "x", "abc");
  CHECK(sha256_of_file(folder / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("TOML comes back from its own spelling") {
  const std::string text = "[a]\nb = 1\nc = [1.5, inf, \"x\\\"y\"]\n\n[a.d]\n\"odd key\" = true\n";
  const Value value = parse_toml(text, "x.toml");
  CHECK(parse_toml(write_toml(value), "y.toml") == value);
  CHECK(from_json(to_json(parse_toml("a = 3\nb = [1, 2.5]\nc = \"s\"", "x")), "y") ==
        parse_toml("a = 3\nb = [1, 2.5]\nc = \"s\"", "x"));
}

TEST_CASE("overrides are TOML, with bare words as strings") {
  Value root = parse_toml("[a]\nb = 1", "x.toml");
  apply_override(root, "a.b=2.5");
  apply_override(root, "a.c=word");
  apply_override(root, "d.e.f=[1, 2]");
  CHECK(root.text() == R"({ a = { b = 2.5, c = "word" }, d = { e = { f = [1, 2] } } })");
}

TEST_CASE("a configuration extends another one, less its sweep") {
  Folder folder;
  std::filesystem::create_directories(folder / "deep");
  write_text(folder / "base.toml",
             "[a]\nx = 1\ny = 2\n[b]\ntype = \"one\"\nonly_one = 3\n[c]\npath = \"p\"\n[sweep]\n\"a.x\" = [1, 2]\n");
  write_text(folder / "deep" / "middle.toml", "extends = \"../base.toml\"\n[a]\ny = 5\n[b]\ntype = \"two\"\n");
  write_text(folder / "deep" / "top.toml", "extends = \"middle.toml\"\n[a]\nz = 6\n");
  const Value top = read_config((folder / "deep" / "top.toml").string());
  CHECK(top.text() == R"({ a = { x = 1, y = 5, z = 6 }, b = { type = "two", only_one = 3 }, c = { path = "p" } })");
  CHECK(top.find("c")->find("path")->origin.file ==
        (folder / "deep" / ".." / "base.toml").string());  // paths count from there
  write_text(folder / "round.toml", "extends = \"round.toml\"\n");
  CHECK(contains(request_error([&] { read_config((folder / "round.toml").string()); }), "goes round in a circle"));
  write_text(folder / "lost.toml", "extends = \"bace.toml\"\n");
  CHECK(contains(request_error([&] { read_config((folder / "lost.toml").string()); }), "no such file; did you mean"));
}
