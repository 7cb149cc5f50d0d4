#include <fstream>

#include "io/files.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("every mistake in a configuration is one line and exit code 2") {
  struct Case {
    const char* override_;
    std::initializer_list<const char*> parts;
  };
  const Case cases[] = {
      {"train.stepz=5", {"command line: unknown key 'train.stepz'; did you mean 'steps'?"}},
      {"trian.steps=5", {"unknown table [trian]; did you mean 'train'?"}},
      {"train.steps=many", {"train.steps: is a string, \"many\"; expected integer"}},
      {"train.steps=0", {"train.steps: 0 is out of range; expected >= 1"}},
      {"train.learning_rate=-1", {"expected > 0"}},
      {"solver.type=huen", {"solver.type: no solver plugin is called 'huen'; did you mean 'heun'?"}},
      {"solver.order=3", {"unknown key 'solver.order'"}},
      {"schedule.sigma_min=30", {"schedule.sigma_min: is not below sigma_max"}},
      {"loss.distance=l3", {"loss.distance: 'l3' is unknown; expected one of 'l2'"}},
      {"process.type=vp", {"process.type: 'vp' is unknown"}},
      {"'evaluate.student_steps=[]'", {"evaluate.student_steps: is an empty list; expected at least one"}},
      {"'evaluate.metrics=[\"fdd\"]'", {"no metric plugin is called 'fdd'"}},
      {"metric.od_error.exact_samples=3", {"unknown table [metric.od_error]; did you mean 'ode_error'?"}},
      {"evaluate.features=/no/such.safetensors", {"/no/such.safetensors: no such file"}},
      {"teacher.type=network", {"teacher."}},
      {"dataset.type=fashion_mnist", {"teacher: is for samples of 2, but the data set has 1 x 28 x 28"}},
      {"network.type=unet", {"'unet' is for pictures"}},
      {"process.type=vp_cosine schedule.sigma_max=1e6",
       {"schedule: begins at", "beyond the noisiest time of process 'vp_cosine'"}},
      {"process.type=vp_scaled_linear schedule.sigma_max=80.0",
       {"schedule: its times on process 'vp_scaled_linear' do not fall strictly"}},
      {"nonsense", {"'nonsense' is no override; expected key=value"}},
      {"\"train.steps=[1\"", {"train.steps: is a string, \"[1\"; expected integer"}},
  };
  Folder folder;
  for (const Case& c : cases) {
    CAPTURE(std::string(c.override_));
    CHECK(one_line(run_retort("run " + mixture_config + " run.output=" + folder.string() +
                              "/out train.steps=20 evaluate.at=[5] " + c.override_),
                   2, c.parts));
  }
  CHECK(!std::filesystem::exists(folder / "out" / "results.json"));
}

TEST_CASE("mistakes in a file are found with their line") {
  Folder folder;
  const auto config = [&](const std::string& text) {
    std::ofstream(folder / "c.toml") << text;
    return run_retort("run " + (folder / "c.toml").string());
  };
  CHECK(one_line(config("[run]\nname = \"a\"\nname = \"b\""), 2, {"c.toml:3", "is no valid TOML"}));
  CHECK(one_line(config("[run]\n\n\nsede = 3"), 2, {"c.toml:4: unknown key 'run.sede'; did you mean 'seed'?"}));
  CHECK(one_line(config("[run]\nseed = 1"), 2, {"[loss] is missing"}));
  CHECK(one_line(config(""), 2, {"[loss] is missing"}));
  CHECK(one_line(config("run = 3"), 2, {"c.toml:1: 'run' is an integer; expected a table"}));
  CHECK(one_line(config("[loss]\ntype = \"cm\"\n[network]\ntype=\"mlp\"\n[dataset]\ntype=\"moons\""), 2,
                 {"[teacher] is missing; loss 'cm' distils one"}));
  CHECK(one_line(config(std::string("\xff\xfe\0\1", 4)), 2, {"c.toml"}));
  CHECK(one_line(run_retort("run /no/such/config.toml"), 2, {"/no/such/config.toml: no such file"}));
  CHECK(one_line(run_retort("run '" + source_dir() + "/configs/mixtur.toml'"), 2, {"did you mean", "mixture.toml"}));
  CHECK(one_line(run_retort("run " + folder.string()), 2, {"expected a TOML file"}));
}

TEST_CASE("a teacher for other samples than the data's is refused") {
  CHECK(one_line(run_retort("run " + mixture_config + " teacher.layout=custom 'teacher.means=[[0.0],[1.0]]'"), 2,
                 {"teacher: is for samples of 1, but the data set has 2"}));
}

TEST_CASE("wrong commands") {
  CHECK(one_line(run_retort("rnu x"), 2, {"'rnu' is no command; did you mean 'run'?"}));
  CHECK(one_line(run_retort("run"), 2, {"CONFIG is required"}));
  CHECK(one_line(run_retort("list solvers"), 2, {"'solvers' is no kind of plugin; did you mean 'solver'?"}));
  CHECK(one_line(run_retort("inspect huen"), 2, {"did you mean 'heun'?"}));
  CHECK(one_line(run_retort("--plugin-dir /no/such list"), 2, {"/no/such: no such folder"}));
  CHECK(one_line(run_retort("report /no/such"), 2, {"holds no results.json"}));
  CHECK(run_retort("--help").code == 0);
  CHECK(run_retort("run --help").code == 0);
}

TEST_CASE("an output that cannot be written is one line, and earlier results stay") {
  Folder folder;
  const std::string run =
      "run " + mixture_config + small + " loss.type=direct_cm run.output=" + folder.string() + "/out";
  CHECK(one_line(run_retort("run " + mixture_config + small + " run.output=/proc/no/such"), 1,
                 {"/proc/no/such", "cannot be made"}));
  REQUIRE(run_retort(run).code == 0);
  const std::string before = read_text(folder / "out" / "results.json");
  // A limit on the size of files stands for a full disk.
  const Outcome full = shell("trap '' XFSZ; ulimit -f 1; '" + program() + "' evaluate " + run.substr(4));
  CHECK(full.code == 1);
  CHECK(contains(full.output, "cannot be written"));
  CHECK(read_text(folder / "out" / "results.json") == before);
}

TEST_CASE("a loss that is not finite stops the run with its step and noise level") {
  Folder folder;
  const Outcome out = run_retort(
      "run " + mixture_config + small +
      " loss.type=direct_cm train.optimizer=sgd train.learning_rate=1e30 run.output=" + folder.string() + "/out");
  CHECK(out.code == 1);
  CHECK((contains(out.output, "the loss is not finite at time") || contains(out.output, "the gradient is not finite")));
  CHECK(contains(out.output, "step "));
}

TEST_CASE("what is undefined, or cannot be evaluated, is refused before any work") {
  Folder folder;
  const std::string run = "run " + mixture_config + small + " loss.type=cm run.output=" + folder.string() + "/out ";
  std::ofstream(folder / "flow.toml")
      << "[process]\ntype = \"rectified_flow\"\n[dataset]\ntype = \"gaussian_mixture\"\n[network]\ntype = "
         "\"mlp\"\n[student]\n"
         "parametrisation = \"noise\"\n[solver]\ntype = \"euler\"\n[schedule]\ntype = \"uniform\"\nsteps = "
         "4\n[loss]\ntype = "
         "\"denoising\"\n[train]\nsteps = 5\n[evaluate]\nsamples = 20\nmetrics = [\"fd\"]\n";
  CHECK(one_line(
      run_retort("run " + (folder / "flow.toml").string() + " run.output=" + folder.string() + "/out"), 2,
      {"flow.toml:7: student: the prediction 'noise' is undefined at the grid's time 1.0, where alpha = 0.0"}));
  CHECK(run_retort("run " + (folder / "flow.toml").string() +
                   " student.parametrisation=v run.output=" + folder.string() + "/v")
            .code == 0);
  CHECK(one_line(run_retort(run + "'evaluate.student_steps=[1, 19]'"), 2,
                 {"evaluate.student_steps: 19 sampler steps are more than the grid's 18 interval(s)"}));
  CHECK(
      one_line(run_retort(run + "train.learning_rate=inf"), 2, {"inf is out of range; expected a finite number, > 0"}));
  CHECK(one_line(run_retort(run + "teacher.std=nan"), 2, {"nan is out of range"}));
  std::filesystem::remove_all(folder / "out");
  CHECK(one_line(run_retort(run + "'evaluate.student_steps=[19]'"), 2, {"19"}));
  CHECK(!std::filesystem::exists(folder / "out"));
}

TEST_CASE("exit code 0 means that all is there: of training alone, too") {
  Folder folder;
  const Outcome out =
      run_retort("train " + mixture_config + small +
                 " train.optimizer=sgd train.learning_rate=1e30 evaluate.at=[] run.output=" + folder.string() + "/out");
  CHECK(out.code == 1);
  CHECK(contains(out.output, "2 of 2 cells failed"));
  CHECK(out.output.find("trained;") == std::string::npos);
}

TEST_CASE("a limit on the size of files is an error of the write, and leaves no half of a file") {
  Folder folder;
  const Outcome out = shell("ulimit -f 30; '" + program() + "' run " + mixture_config + small +
                            " network.width=256 loss.type=cm run.output=" + folder.string() + "/out");
  CHECK(out.code == 1);
  CHECK(contains(out.output, "cannot be written: File too large"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.string())) {
    CHECK(entry.path().filename().string().find(".part") == std::string::npos);
  }
}

TEST_CASE("files say what they are of, and are refused in another role") {
  Folder folder;
  const std::string at = folder.string();
  REQUIRE(run_retort("run " + mixture_config + small + " loss.type=cm run.output=" + at + "/s").code == 0);
  const std::string teacher =
      "run '" + source_dir() + "/configs/fashion_mnist.toml' run.output=" + at + "/x teacher.checkpoint=";
  CHECK(one_line(run_retort(teacher + at + "/s/checkpoints/step_000020.safetensors"), 2,
                 {"step_000020.safetensors: is a consistency model", "teacher.checkpoint expects a denoiser"}));
  CHECK(one_line(run_retort(teacher + at + "/s/checkpoints/state.safetensors"), 2,
                 {"state.safetensors: is the saved state of a training run"}));
  // The shipped classifier was saved before files said so: its loss tells.
  CHECK(one_line(run_retort(teacher + "'" + source_dir() + "/configs/weights/fashion_mnist_classifier.safetensors'"), 2,
                 {"is a classifier", "teacher.checkpoint expects a denoiser"}));
  CHECK(one_line(
      run_retort("run '" + source_dir() + "/configs/fashion_mnist.toml' run.output=" + at + "/x evaluate.features='" +
                 source_dir() + "/configs/weights/fashion_mnist_teacher.safetensors'"),
      2, {"evaluate.features: ", "fashion_mnist_teacher.safetensors cannot serve", "has no features"}));
  CHECK(one_line(run_retort("sample " + mixture_config + small + " --checkpoint '" + source_dir() +
                            "/configs/weights/fashion_mnist_teacher.safetensors' --out " + at + "/x.csv"),
                 2, {"is a denoiser, but the configuration's loss makes a consistency model"}));
}

TEST_CASE("the backend is chosen by itself, by what is there and what it is told") {
  Folder folder;
  const auto chosen = [&](const std::string& more) {
    std::filesystem::remove_all(folder / "out");
    const Outcome out =
        run_retort("train " + mixture_config + small + " loss.type=cm run.output=" + folder.string() + "/out " + more);
    CAPTURE(out.output);
    CHECK(out.code == 0);
    CHECK(contains(out.output, "(chosen by auto)"));
    const std::string config = read_text(folder / "out" / "config.toml");
    const size_t at = config.find("[backend]\ntype = \"") + 18;
    return config.substr(at, config.find('"', at) - at);
  };
  CHECK(chosen("backend.precision=float64") == "cpu");  // the only one that has it
  const std::string best = chosen("");
  CHECK(best != "auto");
  const bool has_onednn =
      contains(run_retort("list backend").output, "onednn") && run_retort("check onednn --kind backend").code == 0;
  CHECK((best == "cuda" || best == (has_onednn ? "onednn" : "cpu")));
  CHECK(one_line(run_retort("run " + mixture_config + " backend.theads=1"), 2, {"did you mean 'threads'?"}));
}
