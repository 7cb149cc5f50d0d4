#include <fstream>

#include "io/files.h"
#include "io/png.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string idx(const std::vector<uint32_t>& sizes, const std::string& bytes) {
  std::string out = {0, 0, 8, static_cast<char>(sizes.size())};
  for (const uint32_t n : sizes) {
    out += {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8), static_cast<char>(n)};
  }
  return out + bytes;
}

void save(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("idx files are read with their labels") {
  Folder folder;
  save(folder / "x", idx({2, 1, 2}, {0, static_cast<char>(255), 51, 102}));
  save(folder / "y", idx({2}, {1, 0}));
  TestHost host;
  const auto data = host.make_plugin<Dataset>(
      "mnist_idx", "images = \"" + folder.string() + "/x\"\nlabels = \"" + folder.string() + "/y\"\nmean = 0\nstd = 1");
  CHECK(data->shape() == std::vector<int64_t>{1, 1, 2});
  CHECK(data->classes() == 2);
  const Batch batch = data->batch(Split::train, at::tensor({1, 0}, at::kLong));
  CHECK(most(batch.x.view({2, 2}).to(at::kDouble) - times({0.2, 0.4, 0, 1}).view({2, 2})) < 1e-6);
  CHECK(at::equal(batch.condition.labels, at::tensor({0, 1}, at::kLong)));
}

TEST_CASE("broken idx files get one line each, truncated at any byte") {
  Folder folder;
  TestHost host;
  const auto error = [&](const std::string& bytes) {
    save(folder / "x", bytes);
    return request_error([&] { host.make_plugin<Dataset>("mnist_idx", "images = \"" + folder.string() + "/x\""); });
  };
  const std::string whole = idx({2, 2, 2}, "12345678");
  for (size_t n = 0; n < whole.size(); ++n) {
    CHECK(contains(error(whole.substr(0, n)), folder.string() + "/x: is truncated"));
  }
  CHECK(contains(error("\x89PNG not an idx file"), "is no idx file"));
  CHECK(contains(error(idx({0xffffffff, 0xffffffff, 0xffffffff}, "")), "declares an impossible size"));
  CHECK(contains(error(idx({0x10000, 0x100, 0x100}, "few")), "is truncated"));
  save(folder / "x", whole);
  save(folder / "y", idx({3}, "123"));
  CHECK(contains(request_error([&] {
                   host.make_plugin<Dataset>(
                       "mnist_idx", "images = \"" + folder.string() + "/x\"\nlabels = \"" + folder.string() + "/y\"");
                 }),
                 "has 3 labels for the 2 pictures"));
  CHECK(contains(request_error([&] { host.make_plugin<Dataset>("mnist_idx", "images = \"/no/such/file\""); }),
                 "/no/such/file: no such file"));
}

TEST_CASE("a folder of PNG files is a data set, with sub-folders as classes") {
  Folder folder;
  for (const char* name : {"cat", "dog"}) {
    std::filesystem::create_directories(folder / name);
    for (int i = 0; i < 6; ++i) {
      const Tensor picture = at::full({3, 4, 5}, 20 * i + (name[0] == 'd' ? 100 : 0), at::kByte);
      save(folder / (std::string(name) + "/" + std::to_string(i) + ".png"), encode_png(picture));
    }
  }
  TestHost host;
  const auto data = host.make_plugin<Dataset>(
      "image_folder", "folder = \"" + folder.string() + "\"\ntest_every = 6\nmean = 0\nstd = 1");
  CHECK(data->shape() == std::vector<int64_t>{3, 4, 5});
  CHECK(data->class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(data->size(Split::train) == 10);
  CHECK(data->size(Split::test) == 2);
  const Batch last = data->batch(Split::test, at::tensor({1}, at::kLong));
  CHECK(last.condition.labels.item<int64_t>() == 1);
  CHECK(most(last.x * 255 - 200) < 1e-4);
}

TEST_CASE("broken PNG files get one line, truncated at any byte") {
  Folder folder;
  TestHost host;
  const std::string whole = encode_png(at::randint(0, 255, {3, 6, 6}, at::kByte));
  save(folder / "a.png", whole);
  const std::string toml = "folder = \"" + folder.string() + "\"";
  constexpr size_t end_chunk = 16;  // libpng reads a picture whose closing chunk alone is missing
  for (size_t n = 0; n + end_chunk < whole.size(); n += 3) {
    save(folder / "b.png", whole.substr(0, n));
    const std::string message = request_error([&] { host.make_plugin<Dataset>("image_folder", toml); });
    CHECK(contains(message, "b.png: is"));
  }
  save(folder / "b.png", encode_png(at::zeros({3, 5, 6}, at::kByte)));
  CHECK(contains(request_error([&] { host.make_plugin<Dataset>("image_folder", toml); }),
                 "b.png: is 6 x 5 pixels; the first picture has 6 x 6"));
}

TEST_CASE("toy data sets are fixed by their seed and bounded") {
  TestHost host;
  for (const char* name : {"rings", "moons", "checkerboard", "gaussian_mixture"}) {
    CAPTURE(std::string(name));
    const std::string toml = std::string(name) == "gaussian_mixture" ? "layout = \"ring\"\n" : "";
    const Tensor index = at::arange(2000, at::kLong);
    const auto a = host.make_plugin<Dataset>(name, toml), b = host.make_plugin<Dataset>(name, toml),
               c = host.make_plugin<Dataset>(name, toml + "seed = 1");
    CHECK(at::equal(a->batch(Split::train, index).x, b->batch(Split::train, index).x));
    CHECK(!at::equal(a->batch(Split::train, index).x, c->batch(Split::train, index).x));
    CHECK(!at::equal(a->batch(Split::train, index).x, a->batch(Split::test, index).x));
    CHECK(most(a->batch(Split::train, index).x) < 1.6);
  }
  const Tensor squares =
      ((host.make_plugin<Dataset>("checkerboard")->batch(Split::train, at::arange(2000, at::kLong)).x + 1) * 2)
          .floor()
          .sum(1);
  CHECK(most(squares.remainder(2)) == 0);  // dark squares only
}
