#include "config/old_keys.h"

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "support/program.h"
#include "sweep/cells.h"
#include "sweep/overrides.h"

using namespace retort;
using namespace retort::test;

namespace {

Value read(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  Folder folder;
  const std::filesystem::path file = folder / "config.toml";
  write_text(file, toml);
  Value out = read_config(file.string());
  apply_overrides(out, overrides);
  return out;
}

std::string text_at(const Value& config, const std::string& key) {
  const Value* found = at_path(config, key);
  return found != nullptr ? found->text() : "";
}

}  // namespace

TEST_CASE("an old key means what its name of today means: in a file, on the command line, and in [sweep]") {
  const Value config = read("[train]\nclip = 0.5\naccumulate = 2\nschedule = \"cosine\"\n");
  CHECK(text_at(config, "train.max_grad_norm") == "0.5");
  CHECK(text_at(config, "train.gradient_accumulation") == "2");
  CHECK(text_at(config, "train.lr_schedule") == "\"cosine\"");
  CHECK(text_at(config, "train").find("clip") == std::string::npos);
  CHECK(text_at(read("train.clip = 3"), "train.max_grad_norm") == "3");
  CHECK(text_at(read("[train]\nmax_grad_norm = 1\n", {"train.clip=2"}), "train.max_grad_norm") == "2");
  CHECK(text_at(read("[train]\nclip = 1\n", {"train.max_grad_norm=2"}), "train.max_grad_norm") == "2");
  CHECK(text_at(read("", {"train={ clip = 2 }"}), "train.max_grad_norm") == "2");
  for (const char* sweep : {"[sweep]\n\"train.clip\" = [1, 2]\n", "[sweep]\ntrain.max_grad_norm = [1, 2]\n",
                            "[[sweep.cells]]\n\"train.clip\" = 1\n[[sweep.cells]]\n\"train.max_grad_norm\" = 2\n"}) {
    CAPTURE(sweep);
    const std::vector<Cell> cells = expand(read(sweep));
    REQUIRE(cells.size() == 2);
    CHECK(text_at(cells[1].config, "train.max_grad_norm") == "2");
    CHECK(cells[0].name == "max_grad_norm=1");
    CHECK(expand(read(sweep, {"train.clip=3"})).size() == 1);  // no longer swept
  }
  CHECK(text_at(read("[solver]\nschedule = 1\n"), "solver.schedule") == "1");  // another table's key is its own
}

TEST_CASE("what [report] compares may have an old name; what is not swept is refused before the work") {
  Folder folder;
  const std::string run = "run " + mixture_config + small + " 'sweep={ \"train.clip\" = [1.0, 2.0] }' loss.type=cm " +
                          "run.output=" + (folder / "out").string() + " report.compare=";
  const Outcome refused = run_retort(run + "loss.type");
  CHECK(refused.code == 2);
  CHECK(contains(refused.output, "report.compare: 'loss.type' is not swept"));
  CHECK(!std::filesystem::exists(folder / "out"));
  CHECK(run_retort(run + "train.clip").code == 0);
  CHECK(contains(read_text(folder / "out" / "results.json"), "\"compare\": \"train.max_grad_norm\""));
}

TEST_CASE("a key by both of its names is an error, and an old one is named in a warning") {
  CHECK(contains(request_error([] { read("[train]\nclip = 1\nmax_grad_norm = 2\n"); }),
                 ":2: train.clip: is the old name of train.max_grad_norm, which is given too"));
  Folder folder;
  const Outcome out = run_retort("train " + mixture_config + small +
                                 " loss.type=cm train.clip=1 run.output=" + folder.string() + "/out");
  CHECK(out.code == 0);
  CHECK(contains(out.output, "train.clip is called train.max_grad_norm now; the old name works still"));
}
