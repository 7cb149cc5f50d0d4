// The reader of pictures against what Pillow and NumPy say; see tests/pictures/make_pictures.py.
#include "shared/pictures/picture.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "io/files.h"
#include "io/safetensors.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string fixture(const std::string& name) { return source_dir() + "/tests/fixtures/pictures/" + name; }

Picture decode(const std::string& bytes, const std::string& name) {
  return decode_picture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, name);
}

std::vector<std::string> fixtures() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(fixture(""))) {
    if (entry.path().extension() != ".safetensors") {
      out.push_back(entry.path().filename().string());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// [C, H, W]: bytes, or floats of a deep picture.
Tensor tensor(const Picture& picture, bool grey, const std::optional<Colour>& background = {}) {
  const std::vector<int64_t> shape = {grey ? 1 : 3, picture.height, picture.width};
  if (picture.deep) {
    std::vector<float> values = picture_values(picture, grey, background);
    return at::from_blob(values.data(), shape, at::kFloat).clone();
  }
  std::vector<uint8_t> bytes = picture_bytes(picture, grey, background);
  return at::from_blob(bytes.data(), shape, at::kByte).clone();
}

bool is_lossy(const std::string& name) {
  return name.find("jpeg") != std::string::npos || name.starts_with("webp_lossy.") ||
         name.starts_with("webp_lossy_alpha");
}

}  // namespace

TEST_CASE("pictures have the values that Pillow gives, and deeper ones those stored") {
  const TensorFile expected = read_safetensors(fixture("expected.safetensors"));
  int64_t files = 0, values = 0, near = 0;
  for (const std::string& name : fixtures()) {
    CAPTURE(name);
    const std::string bytes = read_text(fixture(name));
    const Picture picture = decode(bytes, name);
    const PictureSize head = probe_picture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, name);
    CHECK((head == PictureSize{picture.width, picture.height}));
    ++files;
    for (const bool grey : {false, true}) {
      const Tensor right = expected.tensors.at(name + (grey ? "/grey" : "/rgb")), here = tensor(picture, grey);
      REQUIRE((here.sizes() == right.sizes()));
      REQUIRE((here.scalar_type() == right.scalar_type()));
      const Tensor off = (here.to(at::kDouble) - right.to(at::kDouble)).abs();
      values += off.numel();
      if (picture.deep) {
        CHECK(most(off) < 1e-6);
      } else {
        near += off.gt(0).sum().item<int64_t>();
        const double allowed = is_lossy(name) ? 2 : 0;
        CHECK(most(off) <= allowed);
      }
    }
  }
  CHECK(files == static_cast<int64_t>(expected.tensors.size()) / 2);
  MESSAGE(files << " files and " << values << " values compared with Pillow " << expected.metadata.at("pillow") << "; "
                << near << " values of lossy files differ, by 2 at most");
}

TEST_CASE("files that are cut off anywhere are refused by a line with their name, and nothing is printed") {
  int64_t refused = 0;
  Folder folder;
  const int printed = open((folder / "printed").c_str(), O_RDWR | O_CREAT, 0600), stderr_before = dup(2);
  dup2(printed, 2);
  for (const std::string& name : fixtures()) {
    CAPTURE(name);
    const std::string whole = read_text(fixture(name));
    // A BMP may lack the padding of its last row or the mark behind its last run, a TIFF the pointer to a next page.
    const size_t last = whole.size() - (name.ends_with(".bmp") || name.ends_with(".tif") ? 8 : 1);
    for (const size_t n : {size_t{0}, size_t{1}, size_t{9}, whole.size() / 4, whole.size() / 2, whole.size() * 3 / 4,
                           whole.size() - whole.size() / 10, last}) {
      CAPTURE(n);
      const std::string message = request_error([&] { decode(whole.substr(0, n), name); });
      CHECK(contains(message, name + ": is "));
      CHECK(message.find('\n') == std::string::npos);
      ++refused;
    }
  }
  dup2(stderr_before, 2);
  close(stderr_before);
  close(printed);
  CHECK(read_text(folder / "printed").empty());
  MESSAGE(refused << " files that are cut off were refused");
}

TEST_CASE("a flipped bit is found where the format has checksums") {
  for (const std::string& name : fixtures()) {
    if (!name.ends_with(".png")) {
      continue;
    }
    CAPTURE(name);
    const std::string whole = read_text(fixture(name));
    for (size_t n = 8; n < whole.size(); n += 7) {
      std::string flipped = whole;
      flipped[n] = static_cast<char>(flipped[n] ^ 4);
      CHECK(contains(request_error([&] { decode(flipped, name); }), name + ": is a"));
    }
  }
  // The checksum of the pixels' stream, with the chunk's own made right again: libpng only warns of it.
  const std::string name = "tiff_deflate.tif";
  std::string whole = read_text(fixture(name));
  const size_t stream = whole.find("\x78\xda");
  REQUIRE(stream != std::string::npos);
  const size_t next = whole.find("\x78\xda", stream + 2);
  REQUIRE(next != std::string::npos);
  whole[next - 1] = static_cast<char>(whole[next - 1] ^ 1);  // the last byte of the first strip
  CHECK(contains(request_error([&] { decode(whole, name); }), name + ": is a damaged TIFF"));
}

TEST_CASE("what is no picture, or too large, is said") {
  CHECK(contains(request_error([] { decode("", "x.png"); }), "x.png: is empty; expected PNG, JPEG"));
  CHECK(contains(request_error([] { decode("some text\n", "x.png"); }), "x.png: is no picture by its first bytes"));
  std::string bytes = read_text(fixture("bmp_rgb24.bmp"));
  bytes[20] = 1;  // a width of 65549
  CHECK(contains(request_error([&] { decode(bytes, "x.bmp"); }), "x.bmp: is a BMP of 65549 x 9 pixels; at most 16384"));
  bytes[20] = 0, bytes[19] = 0x40, bytes[18] = 0, bytes[23] = 0x40, bytes[22] = 0;
  CHECK(contains(request_error([&] { decode(bytes, "x.bmp"); }), "x.bmp: is a BMP of 16384 x 16384 pixels; at most"));
}

TEST_CASE("transparent pixels are laid over a background") {
  const Picture picture = decode(read_text(fixture("gif_transparent.gif")), "x.gif");
  REQUIRE(picture.channels == 4);
  const Tensor plain = tensor(picture, false), over = tensor(picture, false, Colour{9, 8, 7});
  int64_t clear = 0;
  for (int64_t y = 0; y < picture.height; ++y) {
    for (int64_t x = 0; x < picture.width; ++x) {
      const bool opaque = picture.bytes[static_cast<size_t>(4 * (y * picture.width + x) + 3)] == 255;
      const Tensor right = opaque ? plain.select(2, x).select(1, y) : at::tensor({9, 8, 7}, at::kByte);
      CHECK(at::equal(over.select(2, x).select(1, y), right));
      clear += opaque ? 0 : 1;
    }
  }
  CHECK(clear > 0);
  const Picture deep = decode(read_text(fixture("png_rgba16.png")), "x.png");
  const Tensor alpha = at::from_blob(const_cast<float*>(deep.values.data()), {deep.height, deep.width, 4}, at::kFloat)
                           .permute({2, 0, 1});
  const Tensor right = alpha.narrow(0, 0, 3) * alpha[3] + (1 - alpha[3]) * (51.0 / 255);
  CHECK(most(tensor(deep, false, Colour{51, 51, 51}) - right) < 1e-6);
}

TEST_CASE("many threads decode at once") {
  std::vector<std::string> names = fixtures(), files;
  std::vector<Picture> alone;
  for (const std::string& name : names) {
    files.push_back(read_text(fixture(name)));
    alone.push_back(decode(files.back(), name));
  }
  std::atomic<int64_t> same{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < files.size(); ++i) {
        const size_t at = (i + t * files.size() / 4) % files.size();
        const Picture picture = decode(files[at], names[at]);
        same += picture.bytes == alone[at].bytes && picture.values == alone[at].values ? 1 : 0;
        try {  // damaged ones too, as errors have ways of their own
          decode(files[at].substr(0, files[at].size() / 2), names[at]);
        } catch (const RequestError&) {
          ++same;
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(same == 8 * static_cast<int64_t>(files.size()));
}
