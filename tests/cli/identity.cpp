// Runs, cells and caches are told apart by what determines them; and what only looks changes nothing.
#include <fstream>
#include <map>

#include "io/files.h"
#include "io/json.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// Every file below a folder with its content and time.
std::map<std::string, std::string> snapshot(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      out[entry.path().string()] =
          sha256_of_file(entry.path()) + " " + std::to_string(entry.last_write_time().time_since_epoch().count());
    }
  }
  return out;
}

const std::string quick =
    small + " backend.type=cpu loss.type=cm evaluate.student_steps=[1] 'evaluate.metrics=[\"fd\"]' ";

std::string quoted(const std::string& text) { return " '" + text + "'"; }

fs::file_time_type trained(const fs::path& folder) {
  return fs::last_write_time(folder / "checkpoints" / "step_000020.safetensors");
}

// An idx file: pictures of 2 x 2 pixels of one grey each, or labels.
void write_idx(const fs::path& path, const std::vector<int>& values, bool labels) {
  std::string out = {0, 0, 8, static_cast<char>(labels ? 1 : 3)};
  const auto number = [&](size_t n) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      out += static_cast<char>((n >> shift) & 255);
    }
  };
  number(values.size());
  if (!labels) {
    number(2);
    number(2);
  }
  for (const int value : values) {
    out += std::string(labels ? 1 : 4, static_cast<char>(value));
  }
  write_text(path, out);
}

}  // namespace

TEST_CASE("commands that only look leave a folder as it was, whatever they are told") {
  Folder folder;
  const std::string out = folder.string() + "/out", told = mixture_config + quick + "run.output=" + out + " ";
  REQUIRE(run_retort("run " + told).code == 0);
  const auto before = snapshot(out);
  std::ofstream(folder / "start.csv") << "1.0,0.5\n";
  const std::string side = folder.string() + "/side";
  const std::string commands[] = {
      "evaluate " + told + "train.learning_rate=0.5",
      "evaluate " + told + "train.steps=40",
      "evaluate " + told + "evaluate.at=[7]",
      "evaluate " + told + "'sweep.train.steps=[10, 20]'",
      "sweep " + told + "train.learning_rate=0.5 --dry-run",
      "sweep " + told + "'sweep.train.steps=[10, 20]' --dry-run",
      "bench " + told + "train.learning_rate=0.5 --rounds 1",
      "inspect --compiled " + told,
      "list",
      "solve " + told + "--start " + folder.string() + "/start.csv --out " + side + ".csv",
      "sample " + told + "--steps 0 --count 3 --out " + side + ".csv",
      "sample " + told + "--checkpoint " + out + "/checkpoints/step_000020.safetensors --count 3 --out " + side +
          ".csv",
  };
  for (const std::string& command : commands) {
    CAPTURE(command);
    CAPTURE(run_retort(command).output);
    CHECK(snapshot(out) == before);
    CHECK(!fs::exists(out + "~1"));
    CHECK(!fs::exists(out + "/cells"));
  }
  CHECK(one_line(run_retort("evaluate " + told + "train.learning_rate=0.5"), 2,
                 {"holds another training: it was trained with train.learning_rate = 0.001, not 0.5"}));
  CHECK(one_line(run_retort("evaluate " + told + "evaluate.at=[7]"), 2, {"holds no weights after step 7"}));
  CHECK(one_line(run_retort("evaluate " + mixture_config + quick + "run.output=" + side), 2,
                 {"holds no training of this configuration"}));
  CHECK(!fs::exists(side));
  // A model that would have to be trained first is not.
  write_text(folder / "teacher.toml",
             "[dataset]\ntype = \"gaussian_mixture\"\n[network]\ntype = \"mlp\"\nwidth = 8\n"
             "[loss]\ntype = \"denoising\"\n[train]\nsteps = 3\n[evaluate]\nmetrics = []\n");
  const std::string teacher =
      "teacher.type=network teacher.checkpoint=" + folder.string() + "/teacher.toml run.output=" + side;
  CHECK(one_line(run_retort("sample " + mixture_config + " " + teacher + " --steps 0 --out " + side + ".csv"), 2,
                 {"its model is not trained yet, and this command trains nothing"}));
  const Outcome plan = run_retort("sweep " + mixture_config + " " + teacher + " --dry-run");
  CHECK(plan.code == 0);
  CHECK(contains(plan.output, "2 cells. What they cost cannot be told yet"));
  CHECK(!fs::exists(side));
}

TEST_CASE("only what can change a result invalidates it") {
  Folder folder;
  const fs::path out = folder / "out";
  const std::string told = "run " + mixture_config + quick + "run.output=" + out.string() + " ";
  REQUIRE(run_retort(told).code == 0);
  const auto weights = trained(out);
  for (const char* nothing : {"train.log_every=7", "train.save_every=5.0", "run.name=other", "report.columns=[\"fd\"]",
                              "backend.threads=1", "plugins.prefer=\"\""}) {
    CAPTURE(nothing);
    const Outcome again = run_retort(told + quoted(nothing));
    CAPTURE(again.output);
    CHECK(contains(again.output, "these results are complete"));
    CHECK(trained(out) == weights);
  }
  CHECK(contains(read_text(out / "report.html"), "fd"));
  for (const char* measured : {"evaluate.samples=150", "evaluate.student_steps=[1,2]", "evaluate.at=[]"}) {
    CAPTURE(measured);
    const Outcome again = run_retort(told + quoted(measured));
    CAPTURE(again.output);
    CHECK(!contains(again.output, "these results are complete"));
    CHECK(trained(out) == weights);
  }
  const Outcome passed = run_retort(told + "evaluate.at=[7]");
  CHECK(contains(passed.output, "is now in " + out.string() + "~1, as it holds no weights after step 7"));
  const Outcome other = run_retort(told + "evaluate.at=[7] train.learning_rate=0.5");
  CHECK(contains(other.output, "as it was trained with train.learning_rate = 0.001, not 0.5"));
}

TEST_CASE("another number of threads goes on, with a word") {
  Folder folder;
  const std::string told = "train " + mixture_config + quick +
                           "train.steps=100000 train.save_every=0.1 backend.threads=1 " +
                           "evaluate.at=[] run.output=" + folder.string() + "/out ";
  CHECK(shell("timeout -s TERM 4 '" + program() + "' " + told).code != 0);
  const Outcome on = shell("timeout -s TERM 4 '" + program() + "' " + told + "backend.threads=2");
  CAPTURE(on.output);
  CHECK(contains(on.output, "goes on with backend.threads = 2, begun with 1"));
  CHECK(contains(on.output, "goes on from step"));
}

namespace {

// An exact teacher of the pictures in `p`, measured against them by a student that hardly trains.
void write_pictures_config(const Folder& folder, const std::string& labels, bool conditional) {
  const std::string data = "images = \"" + folder.string() + "/p\"" + labels;
  std::string keys = data;
  std::replace(keys.begin(), keys.end(), ',', '\n');
  write_text(
      folder / "c.toml",
      "[backend]\ntype = \"cpu\"\n[process]\ntype = \"ve\"\n[dataset]\ntype = \"mnist_idx\"\n" + keys +
          "\n[teacher]\ntype = \"empirical\"\nconditional = " + (conditional ? "true" : "false") +
          "\ndataset = { type = \"mnist_idx\", " + data +
          " }\n[solver]\ntype = \"euler\"\n[schedule]\ntype = "
          "\"karras\"\nsteps = 6\n[network]\ntype = \"mlp\"\nwidth = 8\ndepth = 1\n[loss]\ntype = \"cm\"\n[train]\n"
          "steps = 2\nbatch = 4\n[evaluate]\nsamples = 200\nreference_samples = 200\n"
          "metrics = [\"fd\", \"sliced_wasserstein\"]\n");
}

}  // namespace

TEST_CASE("what a file holds is what counts, not its name or its time") {
  Folder folder;
  std::vector<int> grey;
  for (int i = 0; i < 12; ++i) {
    grey.push_back(20 * i);
  }
  write_idx(folder / "p", grey, false);
  write_pictures_config(folder, "", false);
  const std::string told = "run " + folder.string() + "/c.toml run.cache=" + folder.string() + "/cache run.output=";
  const fs::path out = folder / "out";
  const auto fd = [&](const fs::path& place) {
    const Outcome done = run_retort(told + place.string());
    CAPTURE(done.output);
    REQUIRE(done.code == 0);
    return Json::parse(read_text(place / "results.json"))["teacher"]["metrics"]["fd"].get<double>();
  };
  const double first = fd(out);
  fs::last_write_time(folder / "p", fs::last_write_time(folder / "p") + std::chrono::hours(1));
  CHECK(contains(run_retort(told + out.string()).output, "these results are complete"));
  for (int& value : grey) {
    value = 255 - value / 2;
  }
  write_idx(folder / "p", grey, false);
  CHECK(!contains(run_retort(told + out.string()).output, "these results are complete"));
  CHECK(fd(folder / "out2") == fd(out));  // no stale features from the cache
  CHECK(fd(out) != first);
}

TEST_CASE("subsets are drawn over the whole, and samples have the classes of the data") {
  Folder folder;
  // In order of class, as a folder's pictures are; the second time one class is rare.
  for (const int rare : {400, 40}) {
    CAPTURE(rare);
    std::vector<int> grey(400, 0), label(400, 0);
    grey.resize(static_cast<size_t>(400 + rare), 255);
    label.resize(static_cast<size_t>(400 + rare), 1);
    write_idx(folder / "p", grey, false);
    write_idx(folder / "l", label, true);
    write_pictures_config(folder, ", labels = \"" + folder.string() + "/l\"", true);
    const auto teacher = [&](const std::string& more) {
      const Outcome done =
          run_retort("run " + folder.string() + "/c.toml --fresh run.output=" + folder.string() + "/out " + more);
      CAPTURE(done.output);
      REQUIRE(done.code == 0);
      return Json::parse(read_text(folder / "out" / "results.json"))["teacher"]["metrics"];
    };
    // Of an exact teacher nothing is left but which rows were drawn; the first 200 rows alone would give sqrt(2).
    const Json exact = teacher("");
    CHECK(exact["sliced_wasserstein"].get<double>() < 0.6);
    if (rare == 40) {
      CHECK(teacher("evaluate.labels=equal")["fd"].get<double>() > 10 * exact["fd"].get<double>() + 0.1);
    }
  }
}

TEST_CASE("paths may hold any character, and a saved configuration runs again from any folder") {
  Folder folder;
  for (const std::string& name :
       {std::string("lr=0.1"), std::string("user's run"), std::string("\xe6\x95\xb0 a\"b,{c}#")}) {
    CAPTURE(name);
    std::string told = "run.output=" + folder.string() + "/" + name, typed = "'";
    for (const char c : told) {
      typed += c == '\'' ? "'\\''" : std::string(1, c);
    }
    const Outcome done = run_retort("run " + mixture_config + quick + typed + "'");
    CAPTURE(done.output);
    CHECK(done.code == 0);
    CHECK(fs::exists(folder / name / "report.html"));
  }
  // From elsewhere: the configuration of a run, of a sweep over types, and one whose type was swapped.
  fs::create_directories(folder / "elsewhere");
  const auto again = [&](const std::string& command, const std::string& more, const std::string& name) {
    const std::string out = folder.string() + "/" + name;
    const Outcome first = run_retort(command + " " + mixture_config + quick + more + " run.output=" + out);
    CAPTURE(first.output);
    REQUIRE(first.code == 0);
    const Outcome second = shell("cd " + folder.string() + "/elsewhere && '" + program() + "' " + command + " " + out +
                                 "/config.toml run.output=" + out + "_again");
    CAPTURE(second.output);
    CHECK(second.code == 0);
    const auto metrics = [](const fs::path& of) {
      const Json results = Json::parse(read_text(of / "results.json"));
      Json all = Json::array();
      for (const Json& row : results["progress"]) {
        all.push_back({row.value("swept", Json::object()), row["metrics"]});
      }
      return all;
    };
    CHECK(metrics(out) == metrics(out + "_again"));
  };
  again("run", "", "run");
  again("run", "schedule.type=uniform schedule.t_max=20.0", "swapped");
  again("sweep",
        "'sweep.solver.type=[\"heun\", { type = \"dpm_solver\", order = 3 }, { type = \"dpm_solver\", order = 2 }]'",
        "swept");
}

TEST_CASE("left-over keys are named and left out; keys given beside a swap must be known") {
  Folder folder;
  const std::string run = "run " + mixture_config + quick + "run.output=" + folder.string() + "/out ";
  const Outcome swapped = run_retort(run + "schedule.type=uniform");
  CAPTURE(swapped.output);
  CHECK(swapped.code == 0);
  CHECK(contains(swapped.output,
                 "schedule.type is 'uniform' now, which does not know these: left out schedule.sigma_max"));
  CHECK(one_line(run_retort(run + "schedule.type=uniform schedule.sigma_min=0.1"), 2, {"unknown key 'schedule.sigma_min'"}));
  CHECK(one_line(run_retort(run + "schedule.sigma_min=0.1 schedule.type=uniform"), 2, {"unknown key 'schedule.sigma_min'"}));
  CHECK(run_retort(run + "dataset.type=rings").code == 0);
}

TEST_CASE("points beyond the end are dropped with a word") {
  Folder folder;
  const Outcome out =
      run_retort("run " + mixture_config + quick + "'evaluate.at=[5,700]' run.output=" + folder.string() + "/out");
  CAPTURE(out.output);
  CHECK(out.code == 0);
  CHECK(contains(out.output, "evaluate.at: left out 700, beyond train.steps = 20"));
}
