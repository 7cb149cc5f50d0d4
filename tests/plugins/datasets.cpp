#include <zlib.h>

#include <cmath>
#include <fstream>

#include "io/files.h"
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
  CHECK(at::equal(batch.condition[inputs::labels], at::tensor({0, 1}, at::kLong)));
}

TEST_CASE("broken idx files get one line each, truncated at any byte") {
  Folder folder;
  TestHost host;
  const auto error = [&](const std::string& bytes) {
    save(folder / "x", bytes);
    return request_error([&] { host.make_plugin<Dataset>("mnist_idx", "images = \"" + folder.string() + "/x\""); });
  };
  const std::string whole = idx({2, 2, 2}, "12345678");
  CHECK(contains(error(""), folder.string() + "/x: is empty"));
  for (size_t n = 1; n < whole.size(); ++n) {
    CHECK(contains(error(whole.substr(0, n)), folder.string() + "/x: is truncated"));
  }
  CHECK(contains(error(whole + "9"), "holds more bytes than its sizes say"));
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

TEST_CASE("a compressed idx file is read to its end, where its checksum and length are") {
  Folder folder;
  TestHost host;
  const std::string path = folder.string() + "/x.gz", toml = "images = \"" + path + "\"";
  const std::string whole = idx({3, 4, 4}, std::string(48, 'x'));
  const gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, whole.data(), static_cast<unsigned>(whole.size())) == static_cast<int>(whole.size()));
  gzclose(file);
  CHECK(host.make_plugin<Dataset>("mnist_idx", toml)->size(Split::train) == 3);
  const std::string packed = read_text(path);
  for (size_t n = 1; n < packed.size(); ++n) {
    save(path, packed.substr(0, n));
    CHECK(contains(request_error([&] { host.make_plugin<Dataset>("mnist_idx", toml); }), path + ": is "));
  }
  for (size_t n = packed.size() - 8; n < packed.size(); ++n) {
    std::string flipped = packed;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    save(path, flipped);
    CHECK(contains(request_error([&] { host.make_plugin<Dataset>("mnist_idx", toml); }), "damaged"));
  }
}

TEST_CASE("an idx file that was replaced is read again, and labels without pictures are an error") {
  Folder folder;
  TestHost host;
  const std::string x = folder.string() + "/x", toml = "mean = 0\nstd = 1\nimages = \"" + x + "\"\n";
  save(x, idx({1, 1, 1}, "a"));
  save(folder / "y", idx({1}, {0}));
  const auto value = [&] {
    const auto data = host.make_plugin<Dataset>("mnist_idx", toml);
    return std::lround(data->batch(Split::train, at::zeros({1}, at::kLong)).x.item<double>() * 255);
  };
  CHECK(value() == 'a');
  const auto time = std::filesystem::last_write_time(x);
  save(folder / "new", idx({1, 1, 1}, "b"));
  std::filesystem::rename(folder / "new", x);
  std::filesystem::last_write_time(x, time);
  CHECK(value() == 'b');
  const std::string y = "\"" + folder.string() + "/y\"\n";
  const auto error = [&](const std::string& more) {
    return request_error([&] { host.make_plugin<Dataset>("mnist_idx", toml + more); });
  };
  CHECK(contains(error("labels = " + y + "test_labels = " + y), "test_labels"));
  CHECK(contains(error("test_images = \"" + x + "\"\ntest_labels = " + y), "the training pictures have no labels"));
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
