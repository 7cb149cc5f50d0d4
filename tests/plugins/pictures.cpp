// The reader of pictures against what Pillow and NumPy say; see tests/pictures/make_pictures.py.
#include "shared/pictures/picture.h"

#include <algorithm>

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
