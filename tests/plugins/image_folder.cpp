// Data sets of pictures: what is read, in which order, and what is said of the rest.
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "io/files.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string fixtures() { return source_dir() + "/tests/fixtures/"; }

void save(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string png(int value, int64_t height = 4, int64_t width = 5) {
  return encode_png(at::full({3, height, width}, value, at::kByte));
}

std::shared_ptr<Dataset> open(const std::string& folder, const std::string& more = "") {
  static TestHost host;
  const std::string source = folder.starts_with('[') ? folder : "\"" + folder + "\"";
  return host.make_plugin<Dataset>("image_folder", "folder = " + source + "\nmean = 0\nstd = 1\n" + more);
}

std::string error(const std::string& folder, const std::string& more = "") {
  return request_error([&] { open(folder, more); });
}

Batch all_of(const Dataset& data, Split split = Split::train) {
  return data.batch(split, at::arange(data.size(split), at::kLong));
}

// The first channel of the first pixel of each, as a byte.
std::vector<int> firsts(const Dataset& data, Split split = Split::train) {
  const Tensor x = all_of(data, split).x.select(3, 0).select(2, 0).select(1, 0).mul(255).round().to(at::kInt);
  return {x.data_ptr<int>(), x.data_ptr<int>() + x.size(0)};
}

void check_same(const Dataset& a, const Dataset& b) {
  CHECK(a.class_names() == b.class_names());
  for (const Split split : {Split::train, Split::test}) {
    REQUIRE(a.size(split) == b.size(split));
    const Batch left = all_of(a, split), right = all_of(b, split);
    CHECK(at::equal(left.x, right.x));
    CHECK(left.condition[inputs::labels].defined() == right.condition[inputs::labels].defined());
    if (left.condition[inputs::labels].defined()) {
      CHECK(at::equal(left.condition[inputs::labels], right.condition[inputs::labels]));
      CHECK(at::equal(left.condition[inputs::labels], a.labels(split)));
    } else {
      CHECK(!a.labels(split).defined());
    }
  }
}

}  // namespace

TEST_CASE("a folder of pictures is a data set, with sub-folders as classes") {
  Folder folder;
  for (const char* name : {"cat", "dog"}) {
    for (int i = 0; i < 6; ++i) {
      save(folder / (std::string(name) + "/" + std::to_string(i) + ".png"), png(20 * i + (name[0] == 'd' ? 100 : 0)));
    }
  }
  const auto data = open(folder.string(), "test_every = 6");
  CHECK(data->shape() == std::vector<int64_t>{3, 4, 5});
  CHECK(data->class_names() == std::vector<std::string>{"cat", "dog"});
  CHECK(data->size(Split::train) == 10);
  CHECK(data->size(Split::test) == 2);
  CHECK(firsts(*data, Split::test) == std::vector<int>{100, 200});
  CHECK(at::equal(data->labels(Split::test), at::tensor({0, 1}, at::kLong)));
  CHECK(data->notes().empty());
  const auto flat = open((folder / "cat").string(), "test_every = 6");
  CHECK(flat->classes() == 0);
  CHECK(firsts(*flat) == std::vector<int>{0, 20, 40, 60, 80});
  CHECK(!flat->labels(Split::train).defined());
}

TEST_CASE("endings in any case, links and levels are followed; hidden entries and other files are said") {
  const auto data = open(fixtures() + "picture_sets/plain", "size = 8\ntest_every = 100");
  CHECK(data->class_names() == std::vector<std::string>{"ant", "bee"});
  CHECK(data->size(Split::train) == 7);
  CHECK(at::equal(data->labels(Split::train), at::tensor({0, 0, 0, 1, 1, 1, 1}, at::kLong)));
  CHECK(data->notes() ==
        "1 file that is no picture, 1 hidden file, 2 hidden folders, 1 picture beside class folders were left out");
  const auto flat = open(fixtures() + "picture_sets/plain", "size = 8\nlabels = \"none\"");
  CHECK(flat->classes() == 0);
  CHECK(flat->size(Split::train) == 8);
  CHECK(flat->notes() == "1 file that is no picture, 1 hidden file, 2 hidden folders were left out");

  Folder folder;
  save(folder / "kept/x.png", png(7));
  save(folder / "set/a/1.png", png(1));
  std::filesystem::create_symlink(folder / "kept/x.png", folder / "set/a/2.png");
  std::filesystem::create_directory_symlink(folder / "kept", folder / "set/b");
  std::filesystem::create_directory_symlink(folder / "set", folder / "set/a/round");
  CHECK(firsts(*open((folder / "set").string())) == std::vector<int>{1, 7, 7});
}

TEST_CASE("a class without pictures, and too few pictures, are errors that name the folder") {
  Folder folder;
  save(folder / "a/1.png", png(1));
  save(folder / "c/1.png", png(2));
  save(folder / "b/.hidden.png", png(3));
  CHECK(contains(error(folder.string()), folder.string() + "/b: holds no picture"));
  CHECK(open(folder.string(), "labels = \"none\"")->size(Split::train) == 2);
  CHECK(contains(error((folder / "a").string()), "/a holds 1 picture(s); expected two or more"));
  CHECK(contains(error((folder / "b").string()), "/b holds 0 picture(s); expected two or more"));
  CHECK(contains(error((folder / "none").string()), "/none does not exist"));
  CHECK(contains(error((folder / "a/1.png").string()), "1.png is no folder, and no .zip"));
}

TEST_CASE("pictures of different sizes are named, and resized as Pillow does it") {
  Folder folder;
  save(folder / "a.png", png(0, 6, 6));
  save(folder / "b.png", png(0, 5, 6));
  for (const char* memory : {"2.0", "0"}) {
    const std::string message = error(folder.string(), "memory = " + std::string(memory));
    CHECK(contains(message, "/b.png: is 6 x 5 pixels; the first picture, " + folder.string() + "/a.png, has 6 x 6"));
    CHECK(contains(message, "'size = N' resizes all of them"));
  }
  const TensorFile right = read_safetensors(fixtures() + "pictures/resized.safetensors");
  double off = 0;
  for (const auto& [key, value] : right.tensors) {
    const size_t how = key.find('/'), side = key.rfind('/');
    const std::string name = key.substr(0, how);
    Folder alone;
    for (const char* copy : {"1", "2"}) {
      save(alone / (copy + name), read_text(fixtures() + "pictures/" + name));
    }
    const auto data = open(alone.string(),
                           "resize = \"" + key.substr(how + 1, side - how - 1) + "\"\nsize = " + key.substr(side + 1));
    const Tensor x = all_of(*data).x[0] * 255;
    REQUIRE((x.sizes() == value.sizes()));
    CAPTURE(key);
    CHECK(most(x - value.to(at::kFloat)) < 1.01);
    off = std::max(off, most(x - value.to(at::kFloat)));
  }
  CHECK(right.tensors.size() == 27);
  MESSAGE(right.tensors.size() << " resized pictures differ by " << off << " of 255 at most");
}

TEST_CASE("transparency is dropped, or laid over a background that also fills the bars") {
  Folder folder;
  save(folder / "a.png", read_text(fixtures() + "pictures/png_rgba8.png"));
  save(folder / "b.png", png(200, 9, 13));
  const Tensor dropped = all_of(*open(folder.string())).x[0];
  const TensorFile right = read_safetensors(fixtures() + "pictures/expected.safetensors");
  CHECK(most(dropped * 255 - right.tensors.at("png_rgba8.png/rgb").to(at::kFloat)) < 1e-4);
  const Tensor over = all_of(*open(folder.string(), "background = \"#ff0080\"")).x[0];
  CHECK(most(over - dropped) > 0.1);
  const auto fitted = open(folder.string(), "background = \"#ff0080\"\nsize = 13\nresize = \"fit\"");
  const Tensor corner = all_of(*fitted).x[1].select(2, 0).select(1, 0) * 255;
  CHECK(most(corner - at::tensor({255.0F, 0.0F, 128.0F})) < 1e-4);
  const auto grey = open(folder.string(), "background = \"white\"\nsize = 13\nresize = \"fit\"\ngrey = true");
  CHECK(grey->shape() == std::vector<int64_t>{1, 13, 13});
  CHECK(most(all_of(*grey).x[1][0][0] - 1) == 0);
  CHECK(contains(error(folder.string(), "background = \"#ff00\""), "'#ff00' is no colour"));
}

TEST_CASE("flip doubles the training split with mirrored pictures") {
  Folder folder;
  for (int i = 0; i < 6; ++i) {
    save(folder / (std::string(i < 3 ? "a/" : "b/") + std::to_string(i) + ".png"),
         encode_png(at::randint(0, 255, {3, 4, 5}, at::kByte)));
  }
  const auto plain = open(folder.string(), "test_every = 3"),
             data = open(folder.string(), "test_every = 3\nflip = true");
  CHECK(data->size(Split::train) == 8);
  CHECK(data->size(Split::test) == 2);
  const Batch once = all_of(*plain), both = all_of(*data);
  CHECK(at::equal(both.x, at::cat({once.x, once.x.flip({3})})));
  CHECK(at::equal(both.condition[inputs::labels], at::cat({once.condition[inputs::labels], once.condition[inputs::labels]})));
  CHECK(at::equal(both.condition[inputs::labels], data->labels(Split::train)));
  CHECK(at::equal(all_of(*data, Split::test).x, all_of(*plain, Split::test).x));
  CHECK_THROWS(data->batch(Split::train, at::tensor({8}, at::kLong)));
}

TEST_CASE("archives are read like the folder that they hold") {
  const std::string sets = fixtures() + "picture_sets/";
  const auto folder = open(sets + "plain", "size = 8\ntest_every = 3");
  for (const char* name : {"plain.zip", "plain.tar", "plain.tgz"}) {
    CAPTURE(std::string(name));
    for (const char* memory : {"memory = 2.0", "memory = 0"}) {
      const auto data = open(sets + name, "size = 8\ntest_every = 3\n" + std::string(memory));
      check_same(*folder, *data);
      CHECK(data->notes() == folder->notes());
    }
  }
  const auto both = open("[\"" + sets + "plain\", \"" + sets + "plain.zip\"]", "size = 8\ntest_every = 100");
  CHECK(both->size(Split::train) == 14);
  CHECK(both->classes() == 2);
  CHECK(both->labels(Split::train).sum().item<int64_t>() == 8);
  CHECK(contains(error("[\"" + sets + "plain\", \"" + sets + "plain/ant/more/below\"]", "size = 8"),
                 "below: has no class folders, unlike the others"));
}

TEST_CASE("damaged archives get one line, cut off or with a wrong checksum") {
  Folder folder;
  const std::string sets = fixtures() + "picture_sets/";
  for (const char* name : {"plain.zip", "plain.tgz", "plain.tar"}) {
    CAPTURE(std::string(name));
    const std::string whole = read_text(sets + name);
    for (const size_t n : {size_t{0}, size_t{5}, whole.size() / 2, whole.size() - 20}) {
      if (std::string(name) == "plain.tar" && n + 20 == whole.size()) {
        continue;  // nothing but padding is missed
      }
      save(folder / name, whole.substr(0, n));
      CHECK(contains(error((folder / name).string(), "size = 8\ndamaged = \"skip\""), name));
    }
  }
  std::string flipped = read_text(sets + "plain.tgz");
  flipped[flipped.size() - 6] ^= 1;  // in the checksum behind the data
  save(folder / "x.tar.gz", flipped);
  CHECK(contains(error((folder / "x.tar.gz").string(), "size = 8"), "x.tar.gz: is a damaged archive"));
  // A picture with a wrong checksum in a zip is a damaged picture.
  flipped = read_text(sets + "plain.zip");
  const size_t at = flipped.find("RIFF");
  REQUIRE(at != std::string::npos);
  flipped[at + 30] ^= 1;
  save(folder / "x.zip", flipped);
  CHECK(contains(error((folder / "x.zip").string(), "size = 8"), "3.webp: is damaged in its archive"));
  const auto rest = open((folder / "x.zip").string(), "size = 8\ntest_every = 100\ndamaged = \"skip\"");
  CHECK(rest->size(Split::train) == 6);
  CHECK(contains(rest->notes(), "; 1 damaged picture was skipped: "));
}

TEST_CASE("damaged pictures stop, or are skipped and said; the batches do not depend on the memory") {
  Folder folder;
  for (int i = 0; i < 12; ++i) {
    save(folder / (std::string(i < 6 ? "a/" : "b/") + std::to_string(10 + i) + ".png"), png(10 * i));
  }
  const std::string cut = png(200).substr(0, 60);
  check_same(*open(folder.string()), *open(folder.string(), "memory = 0"));
  check_same(*open(folder.string()), *open(folder.string(), "memory = 0.0000003"));
  save(folder / "a/12.png", cut);
  save(folder / "b/20.png", "no picture");
  CHECK(contains(error(folder.string()), "/a/12.png: is a damaged PNG: it is cut off"));
  const auto kept = open(folder.string(), "damaged = \"skip\"\ntest_every = 100");
  CHECK(firsts(*kept) == std::vector<int>{0, 10, 30, 40, 50, 60, 70, 80, 90, 110});
  CHECK(kept->notes() == "2 damaged pictures were skipped, the first: " + folder.string() + "/a/12.png");
  // Heads alone are read at first, so the first of the two is met in a batch, and the next of its class taken.
  const auto later = open(folder.string(), "damaged = \"skip\"\ntest_every = 100\nmemory = 0");
  CHECK(firsts(*later) == std::vector<int>{0, 10, 30, 30, 40, 50, 60, 70, 80, 90, 110});
  CHECK(at::equal(all_of(*later).condition[inputs::labels], later->labels(Split::train)));
  CHECK(contains(later->notes(), "2 damaged pictures were skipped"));
  std::filesystem::remove(folder / "b/20.png");
  const auto stops = open(folder.string(), "memory = 0");
  CHECK(contains(request_error([&] { all_of(*stops); }), "/a/12.png: is a damaged PNG: it is cut off"));
}

TEST_CASE("a changed file is read again, and deep pictures stay deep beside others") {
  Folder folder;
  save(folder / "a.png", png(10));
  save(folder / "b.png", png(20));
  const auto before = open(folder.string());
  save(folder / "b.png", png(30));
  CHECK(firsts(*open(folder.string())) == std::vector<int>{10, 30});
  CHECK(firsts(*before) == std::vector<int>{10, 20});
  save(folder / "a.png", read_text(fixtures() + "pictures/png_grey16.png"));
  save(folder / "b.png", png(30, 7, 5));
  const TensorFile right = read_safetensors(fixtures() + "pictures/expected.safetensors");
  for (const char* memory : {"2.0", "0"}) {
    const Tensor x = all_of(*open(folder.string(), "memory = " + std::string(memory))).x;
    CHECK(most(x[0] - right.tensors.at("png_grey16.png/rgb")) < 1e-6);
    CHECK(most(x[1] - 30.0 / 255) < 1e-6);
  }
}

TEST_CASE("broken PNG files get one line, truncated at any byte") {
  Folder folder;
  const std::string whole = encode_png(at::randint(0, 255, {3, 6, 6}, at::kByte));
  save(folder / "a.png", whole);
  for (size_t n = 0; n < whole.size(); n += 3) {
    save(folder / "b.png", whole.substr(0, n));
    CHECK(contains(error(folder.string()), "b.png: is"));
  }
}
