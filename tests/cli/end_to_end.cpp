#include <fstream>
#include <thread>

#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/program.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;

namespace {

int64_t lines_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return std::count(std::istreambuf_iterator<char>(in), {}, '\n');
}

bool same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const TensorFile x = read_safetensors(a), y = read_safetensors(b);
  if (x.tensors.size() != y.tensors.size()) {
    return false;
  }
  for (const auto& [name, tensor] : x.tensors) {
    if (!at::equal(tensor, y.tensors.at(name))) {
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("the main job in small: two losses, three samplers, a table and a report") {
  Folder folder;
  const std::string command = "run " + mixture_config + small + " run.output=" + folder.string() + "/out";
  const Outcome out = run_retort(command);
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  CHECK(contains(out.output, "ode_error"));
  const Json results = Json::parse(read_text(folder / "out" / "results.json"));
  REQUIRE(results["students"].size() == 6);
  REQUIRE(results["progress"].size() == 12);
  for (const Json& row : results["students"]) {
    CHECK(row["train_steps"] == 20);
    CHECK(row["metrics"]["ode_error"].get<double>() > 0);
    CHECK(row["metrics"]["fd"].get<double>() >= 0);
  }
  CHECK(results["students"][0]["loss"] == "cm");
  CHECK(results["students"][3]["loss"] == "direct_cm");
  // cm: one Heun step (two evaluations, one into sigma = 0) a row; direct_cm: the rest of the grid
  CHECK(results["students"][0]["teacher_evaluations"].get<int64_t>() <= 20 * 128 * 2);
  CHECK(results["students"][3]["teacher_evaluations"].get<int64_t>() >
        5 * results["students"][0]["teacher_evaluations"].get<int64_t>());
  CHECK(results["teacher"]["evaluations"].get<int64_t>() == 200 * 35);
  for (const Json& plugin : results["plugins"]) {
    CHECK(plugin["sha256"].get<std::string>().size() == 64);
  }
  const std::string report = read_text(folder / "out" / "report.html");
  CHECK(contains(report, "Chart.js"));
  for (const char* mark : {"{{title}}", "{{data}}", "{{chart.js}}"}) {
    CHECK(report.find(mark) == std::string::npos);
  }
  CHECK(report.find("src=\"http") == std::string::npos);
  CHECK(contains(run_retort(command).output, "these results are complete"));
  CHECK(run_retort("report " + folder.string() + "/out").code == 0);
  // The resolved copy is enough to run it again, to the bit.
  REQUIRE(
      run_retort("run " + (folder / "out").string() + "/config.toml run.output=" + folder.string() + "/again").code ==
      0);
  for (const char* cell : {"cm", "direct_cm"}) {
    const std::string path = std::string("cells/") + cell + "/checkpoints/step_000020.safetensors";
    CHECK(same_tensors(folder / "out" / path, folder / "again" / path));
  }
  CHECK(Json::parse(read_text(folder / "again" / "results.json"))["students"][4]["metrics"] ==
        results["students"][4]["metrics"]);
}

namespace {

// `length`: how long it trains, which is 300 steps.
void hold_killed_against_whole(const std::string& length) {
  Folder folder;
  const std::string options = "train " + mixture_config + small + length +
                              " loss.type=cm loss.target=ema train.optimizer=radam evaluate.at=[150] "
                              "train.gradient_accumulation=2 "
                              "train.save_every=1e-9 train.log_every=7 train.batch=32 run.output=" +
                              folder.string() + "/";
  REQUIRE(run_retort(options + "whole").code == 0);
  const auto log = folder / "killed" / "metrics.jsonl";
  kill_when(options + "killed", [&] { return lines_of(log) >= 10; });
  REQUIRE(!std::filesystem::exists(folder / "killed" / "checkpoints" / "step_000300.safetensors"));
  const Outcome resumed = run_retort(options + "killed");
  REQUIRE(resumed.code == 0);
  CHECK(contains(resumed.output, "goes on from step"));
  for (const char* name : {"step_000150", "step_000300", "state"}) {
    CHECK(same_tensors(folder / "whole" / "checkpoints" / (std::string(name) + ".safetensors"),
                       folder / "killed" / "checkpoints" / (std::string(name) + ".safetensors")));
  }
  std::ifstream a(folder / "whole" / "metrics.jsonl"), b(log);
  for (std::string x, y; std::getline(a, x);) {
    REQUIRE(std::getline(b, y));
    const Json p = Json::parse(x), q = Json::parse(y);
    CHECK(p["step"] == q["step"]);
    CHECK(p["loss"] == q["loss"]);
    CHECK(p["teacher_evaluations"] == q["teacher_evaluations"]);
  }
}

}  // namespace

TEST_CASE("killed and resumed equals uninterrupted, bit for bit") {
  hold_killed_against_whole("train.steps=300");
  // An evaluation of Euler's for each of 64 rows.
  hold_killed_against_whole("solver.type=euler train.steps=100000 train.evaluations=19200");
}

TEST_CASE("what interrupts, ends, hangs up or warns a process saves the state and says how to go on") {
  for (const std::string signal : {"INT", "TERM", "HUP", "USR1"}) {
    CAPTURE(signal);
    Folder folder;
    const std::string options =
        "train " + mixture_config + small + " loss.type=cm train.steps=100000 run.output=" + folder.string() + "/out";
    Outcome out{0, ""};
    std::thread victim(
        [&] { out = shell("echo $$ > " + folder.string() + "/pid; exec '" + program() + "' " + options); });
    for (int i = 0; i < 12000 && lines_of(folder / "out" / "metrics.jsonl") < 5; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    shell("kill -" + signal + " $(cat " + folder.string() + "/pid)");
    victim.join();
    CHECK(out.code == 1);
    CHECK(contains(out.output, "interrupted at step"));
    CHECK(contains(out.output, "the same command goes on from there"));
    CHECK(std::filesystem::exists(folder / "out" / "checkpoints" / "state.safetensors"));
  }
}

TEST_CASE("a long step heeds a signal between its parts, and loses nothing that was done before it") {
  Folder folder;
  const std::string options =
      "train " + mixture_config + small +
      " loss.type=cm train.steps=3 evaluate.at=[] train.gradient_accumulation=1000000 run.output=" + folder.string() +
      "/out";
  const Outcome out = shell("timeout -s TERM 5 '" + program() + "' " + options);
  CHECK(contains(out.output, "interrupted at step 0 of 3"));
  CHECK(std::filesystem::exists(folder / "out" / "checkpoints" / "state.safetensors"));
}

TEST_CASE("a worker that is killed but gets on is never given up; one that dies at one place is, after three times") {
  Folder folder;
  const std::string options = "train " + mixture_config + small +
                              " loss.type=cm train.steps=100000 train.save_every=1e-9 "
                              "evaluate.at=[] run.output=" +
                              folder.string() + "/";
  const auto killed = [&](const std::string& name, const std::string& more) {
    return shell("timeout -s KILL 3 '" + program() + "' " + options + name + more);
  };
  for (int i = 0; i < 5; ++i) {
    const Outcome out = killed("on", "");
    CAPTURE(out.output);
    CHECK(out.output.find("not tried again") == std::string::npos);
  }
  Outcome out{0, ""};
  for (int i = 0; i < 4; ++i) {
    out = killed("stuck", " train.gradient_accumulation=1000000");
  }
  CHECK(out.code == 1);
  CHECK(contains(out.output, "its worker died 3 times at it without getting on (step 0"));
}

TEST_CASE("a file system without hard links has claims all the same") {
  Folder folder;
  write_text(folder / "nolink.c",
             "#include <errno.h>\nint link(const char* a, const char* b) { (void)a; (void)b; errno = EPERM; "
             "return -1; }\n");
  REQUIRE(shell("cd " + folder.string() + " && cc -shared -fPIC -o nolink.so nolink.c").code == 0);
  const std::string run = "run " + mixture_config + small + " loss.type=cm run.output=" + folder.string() + "/out";
  // AddressSanitizer wants to be the first library otherwise.
  const Outcome out = shell("ASAN_OPTIONS=verify_asan_link_order=0:detect_odr_violation=0:detect_leaks=0 LD_PRELOAD=" +
                            folder.string() + "/nolink.so timeout 100 '" + program() + "' " + run);
  CAPTURE(out.output);
  CHECK(out.code == 0);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.string())) {
    CHECK(entry.path().filename().string().find(".claim") == std::string::npos);
  }
}

TEST_CASE("results of another configuration are moved aside, not lost") {
  Folder folder;
  const std::string command = "run " + mixture_config + small + " loss.type=cm run.output=" + folder.string() + "/out";
  REQUIRE(run_retort(command).code == 0);
  const std::string first = read_text(folder / "out" / "results.json");
  REQUIRE(run_retort(command + " run.seed=1").code == 0);
  CHECK(read_text(folder / "out~1" / "results.json") == first);
  CHECK(read_text(folder / "out" / "results.json") != first);
}

TEST_CASE("pictures end to end: a teacher and a classifier trained, then distilled and sampled") {
  Folder folder;
  const std::string data =
      "[backend]\ntype = \"cpu\"\n[dataset]\ntype = \"image_folder\"\nfolder = \"data\"\ngrey = true\n";
  for (const char* name : {"dark", "light"}) {
    std::filesystem::create_directories(folder / "data" / name);
    for (int i = 0; i < 10; ++i) {
      const Tensor picture = at::randint(name[0] == 'd' ? 0 : 128, name[0] == 'd' ? 128 : 255, {1, 8, 8},
                                         seeded(static_cast<uint64_t>(i), name), at::kByte);
      write_text(folder / "data" / name / (std::to_string(i) + ".png"), encode_png(picture));
    }
  }
  std::ofstream(folder / "classifier.toml")
      << data
      << "[network]\ntype = \"convnet\"\nwidth = 8\n[loss]\ntype = \"cross_entropy\"\n[train]\nsteps = 60\nbatch = "
         "8\nlearning_rate = 0.01\n[evaluate]\nmetrics = [\"accuracy\"]\n";
  std::ofstream(folder / "teacher.toml")
      << data
      << "[process]\ntype = \"ve\"\n[network]\ntype = \"unet\"\nwidths = [8, 16]\n[loss]\ntype = "
         "\"denoising\"\n[solver]\ntype = \"heun\"\n[schedule]\ntype = \"karras\"\nsteps = 5\n"
      << "[train]\nsteps = 10\nbatch = 8\nema = 0.9\n[evaluate]\nsamples = 12\nmetrics = [\"fd\", \"kid\"]\nfeatures = "
         "\"c/checkpoints/step_000060.safetensors\"\n";
  std::ofstream(folder / "student.toml")
      << data
      << "[teacher]\ntype = \"network\"\ncheckpoint = \"t/checkpoints/step_000010.safetensors\"\nguidance = "
         "2.0\n[student]\ninit = \"teacher\"\n[loss]\ntype = \"direct_cm\"\n"
      << "[solver]\ntype = \"euler\"\n[schedule]\ntype = \"karras\"\nsteps = 5\n[train]\nsteps = 3\nbatch = "
         "8\n[evaluate]\nsamples = 12\nmetrics = [\"ode_error\", \"fd\", \"precision_recall\", \"consistency_error\"]\n"
      << "features = \"c/checkpoints/step_000060.safetensors\"\n[metric.ode_error]\nexact_samples = "
         "2\n[metric.ode_error.reference]\ntype = \"rk45\"\nrtol = 1e-3\natol = 1e-3\n";
  const std::string at = folder.string();
  const Outcome classifier = run_retort("run " + at + "/classifier.toml run.output=" + at + "/c");
  CAPTURE(classifier.output);
  REQUIRE(classifier.code == 0);
  CHECK(Json::parse(read_text(folder / "c" / "results.json"))["students"][0]["metrics"]["accuracy"].get<double>() ==
        1.0);
  const Outcome teacher = run_retort("run " + at + "/teacher.toml run.output=" + at + "/t");
  CAPTURE(teacher.output);
  REQUIRE(teacher.code == 0);
  const Outcome student = run_retort("run " + at + "/student.toml run.output=" + at + "/s");
  CAPTURE(student.output);
  REQUIRE(student.code == 0);
  const Json results = Json::parse(read_text(folder / "s" / "results.json"));
  CHECK(results["teacher"]["evaluations"].get<int64_t>() == 12 * 5 * 2);  // guidance: two evaluations a row
  CHECK(results["students"][0]["series"]["ode_error_by_noise"].size() > 1);
  CHECK(std::filesystem::exists(folder / "s" / "samples" / "teacher.png"));
  const Outcome sample = run_retort("sample " + at + "/student.toml --checkpoint " + at +
                                    "/s/checkpoints/step_000003.safetensors --steps 2 --count 5 --out " + at +
                                    "/x.safetensors --picture " + at + "/x.png");
  CAPTURE(sample.output);
  REQUIRE(sample.code == 0);
  CHECK(read_safetensors(folder / "x.safetensors").tensors.at("x").sizes().vec() == std::vector<int64_t>{5, 1, 8, 8});
  // A student of a range of guidance weights, measured at two of them; at each, its teacher is the one of that fixed
  // weight.
  const std::string guided = "run " + at + "/student.toml teacher.guidance_range=[1,4] evaluate.guidance=[2,3.5] ";
  const Outcome range = run_retort(guided + "run.output=" + at + "/g");
  CAPTURE(range.output);
  REQUIRE(range.code == 0);
  const Json by_weight = Json::parse(read_text(folder / "g" / "results.json"));
  REQUIRE(by_weight["students"].size() == 2);
  CHECK(by_weight["students"][0]["guidance"] == 2.0);
  CHECK(by_weight["students"][1]["guidance"] == 3.5);
  CHECK(by_weight["students"][0]["metrics"]["ode_error"] != by_weight["students"][1]["metrics"]["ode_error"]);
  CHECK(by_weight["teacher"] == results["teacher"]);
  CHECK(run_retort("sample " + at + "/student.toml teacher.guidance_range=[1,4] --checkpoint " + at +
                   "/g/checkpoints/step_000003.safetensors --guidance 2 --count 5 --out " + at + "/y.safetensors")
            .code == 0);
  CHECK(one_line(run_retort(guided + "teacher.guidance_range=[4,1]"), 2, {"expected two rising numbers"}));
  const auto sample_range = [&](const std::string& more) {
    return run_retort("sample " + at + "/student.toml --checkpoint " + at + "/g/checkpoints/step_000003.safetensors " +
                      "--count 5 --out " + at + "/y.safetensors " + more);
  };
  CHECK(one_line(sample_range("teacher.guidance_range=[1,4] --guidance 0"), 2, {"expected a weight from 1.0 to 4.0"}));
  CHECK(one_line(sample_range("--guidance 2"), 2, {"teacher.guidance_range"}));
  CHECK(one_line(sample_range(""), 2, {"was trained with guided = true"}));
  // A low-rank student: its adapter alone and its merged weights are the same model.
  const Outcome low_rank = run_retort(
      "run " + at + "/student.toml student.adapter=lora student.rank=2 train.ema=0.9 run.output=" + at + "/l");
  CAPTURE(low_rank.output);
  REQUIRE(low_rank.code == 0);
  for (const char* name : {"step_000003.safetensors", "step_000003.adapter.safetensors"}) {
    REQUIRE(run_retort("sample " + at + "/student.toml --checkpoint " + at + "/l/checkpoints/" + name +
                       " --count 5 --out " + at + "/" + name)
                .code == 0);
  }
  CHECK(same_tensors(folder / "step_000003.safetensors", folder / "step_000003.adapter.safetensors"));
  // So are those of a range of guidance weights, whose layer the teacher lacks and no pattern needs to name.
  const std::string told = " teacher.guidance_range=[1,4] ";
  REQUIRE(run_retort("run " + at + "/student.toml" + told + "student.adapter=lora 'student.layers=[\"*conv*\"]' " +
                     "student.rank=2 train.learning_rate=0.1 run.output=" + at + "/k")
              .code == 0);
  for (const char* name : {"step_000003.safetensors", "step_000003.adapter.safetensors"}) {
    for (const char* weight : {"1", "4"}) {
      const Outcome taken =
          run_retort("sample " + at + "/student.toml" + told + "--checkpoint " + at + "/k/checkpoints/" + name +
                     " --count 5 --guidance " + weight + " --out " + at + "/" + weight + name);
      CAPTURE(taken.output);
      REQUIRE(taken.code == 0);
    }
  }
  CHECK(same_tensors(folder / "1step_000003.safetensors", folder / "1step_000003.adapter.safetensors"));
  CHECK(same_tensors(folder / "4step_000003.safetensors", folder / "4step_000003.adapter.safetensors"));
  CHECK(!same_tensors(folder / "1step_000003.safetensors", folder / "4step_000003.safetensors"));
  CHECK(std::filesystem::file_size(folder / "l" / "checkpoints" / "step_000003.adapter.safetensors") <
        std::filesystem::file_size(folder / "l" / "checkpoints" / "step_000003.safetensors"));
  // Moved away from its base, an adapter says so; a key tells where that is now, and any copy of it will do. PEFT's
  // description lies beside it.
  std::filesystem::create_directories(folder / "moved");
  std::filesystem::rename(folder / "l" / "checkpoints" / "step_000003.adapter.safetensors",
                          folder / "moved" / "a.safetensors");
  const Json peft = Json::parse(read_text(folder / "l" / "checkpoints" / "adapter_config.json"));
  CHECK(peft["peft_type"] == "LORA");
  CHECK(peft["r"] == 2);
  CHECK(peft["lora_alpha"] == 2.0);
  CHECK(!peft["target_modules"].empty());
  const auto base = folder / "l" / "checkpoints" / peft["base_model_name_or_path"].get<std::string>();
  REQUIRE(std::filesystem::exists(base));
  std::filesystem::copy_file(base, folder / "moved" / "copy.safetensors");
  const std::string from_moved = "sample " + at + "/student.toml --checkpoint " + at +
                                 "/moved/a.safetensors --count 5 --out " + at + "/moved.safetensors ";
  const std::string adapter = (folder / "moved" / "a.safetensors").string();
  CHECK(contains(request_error([&] { read_checkpoint(adapter); }), "is missing); student.base names where it is now"));
  CHECK(contains(request_error([&] { read_checkpoint(adapter, {adapter}); }), "is another file); student.base names"));
  REQUIRE(run_retort(from_moved).code == 0);  // teacher.checkpoint is the base
  CHECK(same_tensors(folder / "step_000003.safetensors", folder / "moved.safetensors"));
  CHECK(run_retort(from_moved + "student.base=" + at + "/moved/copy.safetensors").code == 0);
  // A configuration in place of a checkpoint: its model is trained first, once.
  const std::string nested =
      "run " + at + "/student.toml teacher.checkpoint=" + at + "/teacher.toml run.output=" + at + "/n";
  const Outcome trained = run_retort(nested);
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  CHECK(contains(trained.output, "training the model of"));
  CHECK(Json::parse(read_text(folder / "n" / "results.json"))["students"][0]["metrics"] ==
        results["students"][0]["metrics"]);
  CHECK(!contains(run_retort(nested + " train.steps=4").output, "training the model of"));
  // Foreign and damaged checkpoints: one line.
  const auto with_teacher = [&](const std::string& path) {
    return run_retort("run " + at + "/student.toml run.output=" + at + "/e teacher.checkpoint=" + path);
  };
  write_text(folder / "notes.txt", "no weights");
  CHECK(one_line(with_teacher(at + "/notes.txt"), 2, {"notes.txt: is no safetensors file"}));
  CHECK(one_line(with_teacher(at + "/x.safetensors"), 2, {"no checkpoint of Retort"}));
  CHECK(one_line(with_teacher(at + "/c/checkpoints/step_000060.safetensors"), 2, {"is a classifier"}));
  CHECK(one_line(with_teacher(at + "/t/checkpoints/step_000010.safetensors dataset.grey=false"), 2,
                 {"but the data set has 3 x 8 x 8"}));
  const std::string whole = read_text(folder / "t" / "checkpoints" / "step_000010.safetensors");
  for (const size_t size : {size_t{0}, size_t{7}, size_t{8}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(folder / "cut.safetensors", std::ios::binary) << whole.substr(0, size);
    CHECK(one_line(with_teacher(at + "/cut.safetensors"), 2, {"cut.safetensors"}));
  }
}

TEST_CASE("a network's buffers are saved and read with its weights, and its file is found from the checkpoint") {
  Folder folder;
  const std::string at = std::filesystem::proximate(folder.string()).string();
  write_counting_script(folder / "net.pt");
  std::ofstream(folder / "net.toml")
      << "[dataset]\ntype = \"gaussian_mixture\"\n[teacher]\ntype = \"gaussian_mixture\"\n[network]\ntype = "
         "\"torchscript\"\nfile = \"net.pt\"\n[solver]\ntype = \"euler\"\n[schedule]\ntype = \"karras\"\nsteps = 5\n"
         "[loss]\ntype = \"cm\"\n[train]\nsteps = 2\nlearning_rate = 1e-12\nema = 0.5\n[evaluate]\nat = [1]\n"
         "weights = \"last\"\nsamples = 20\nmetrics = [\"fd\"]\n";
  const std::string config = at + "/net.toml ";
  const Outcome run = run_retort("run " + config + "run.output=" + at + "/out");
  CAPTURE(run.output);
  REQUIRE(run.code == 0);
  for (const char* step : {"1", "2"}) {
    REQUIRE(run_retort("sample " + config + "--checkpoint " + at + "/out/checkpoints/step_00000" + step +
                       ".safetensors --count 5 --out " + at + "/" + step + ".safetensors")
                .code == 0);
  }
  CHECK(!same_tensors(folder / "1.safetensors", folder / "2.safetensors"));  // the weights barely moved
}
