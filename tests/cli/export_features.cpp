// sdk/python/export_features.py on tiny models of the classes that it exports, where Python has transformers.
#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("export_features.py writes CLIP, DINOv2, Inception's layers and LAION's predictor as they are in Python") {
  const std::string& python =
      python_that_imports("transformers, safetensors");  // tests/fixtures/features has what it wrote
  if (python.empty()) {
    return;
  }
  const Folder folder;
  const std::string scripts = source_dir() + "/sdk/python";
  const Outcome out =
      shell("'" + std::string(python) + "' '" + source_dir() + "/tests/support/python/check_export_features.py' '" +
            scripts + "' '" + folder.string() + "'");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "all agree"));
  const std::string said = read_text(folder / "said.toml");
  for (const char* line : {"[evaluate.features]", "file = \"out.pt\"", "size = 299", "size = 12", "quantise = true",
                           "mean = [0.485, 0.456, 0.406]", "[metric.aesthetic]\nfile = \"taste.safetensors\""}) {
    CHECK(contains(said, line));
  }
}
