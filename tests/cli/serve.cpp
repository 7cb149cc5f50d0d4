// `retort serve`: what it answers, to whom, and what a browser sees.
#include <httplib.h>

#include <map>
#include <thread>

#include "io/files.h"
#include "io/json.h"
#include "report/browser.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace fs = std::filesystem;

namespace {

// A server of its own process, until it goes out of scope.
class Serving {
 public:
  explicit Serving(const fs::path& folder, const std::string& more = "") : log_(fs::path(place_.string()) / "log") {
    const std::string command =
        "'" + program() + "' serve '" + folder.string() + "' " + more + " > '" + log_.string() + "' 2>&1 & echo $!";
    pid_ = std::stoi(shell(command).output);
    for (int i = 0; i < 1000 && !contains(said(), "\n"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    std::smatch match;
    const std::string text = said();
    REQUIRE_MESSAGE(std::regex_search(text, match, std::regex("http://127.0.0.1:([0-9]+)(/[0-9a-f]{32}/)\n")), text);
    address = match[0].str().substr(0, match[0].length() - 1);
    port = std::stoi(match[1]);
    base = match[2];
  }
  ~Serving() { shell("kill -INT " + std::to_string(pid_)); }
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

  httplib::Result get(const std::string& path, const httplib::Headers& headers = {}) const {
    httplib::Client client("127.0.0.1", port);
    return client.Get(path, headers);
  }
  std::string text(const std::string& path) const {
    const httplib::Result out = get(base + path);
    REQUIRE(out);
    CHECK(out->status == 200);
    return out->body;
  }
  int status(const std::string& path) const {
    const httplib::Result out = get(path);
    return out ? out->status : 0;
  }
  Json runs() const { return Json::parse(text("api/runs"))["runs"]; }
  bool has_ended() const { return shell("kill -0 " + std::to_string(pid_)).code != 0; }
  void interrupt() const { shell("kill -INT " + std::to_string(pid_)); }

  std::string address, base;
  int port = 0;

 private:
  std::string said() const { return fs::exists(log_) ? read_text(log_) : ""; }
  Folder place_;
  fs::path log_;
  int pid_ = 0;
};

const std::string quick = small +
                          "loss.type=cm 'evaluate.metrics=[\"fd\", \"energy_distance\"]' 'evaluate.student_steps=[1, "
                          "2]' train.steps=6 evaluate.at=[3] ";

// A sweep of two cells and a single run, made once.
const fs::path& made() {
  static const Folder folder;
  static const fs::path runs = [] {
    const fs::path out = folder / "runs";
    REQUIRE(run_retort("sweep " + mixture_config + quick +
                       "'sweep={\"loss.type\"=[\"cm\", \"direct_cm\"]}' run.name=both run.output=" +
                       (out / "group/both").string())
                .code == 0);
    REQUIRE(run_retort("run " + mixture_config + quick +
                       "sweep={} train.learning_rate=2e-3 run.name='one <b>' run.output=" + (out / "one").string())
                .code == 0);
    return out;
  }();
  return runs;
}

Json run_named(const Json& runs, const std::string& path) {
  for (const Json& run : runs) {
    if (run["path"] == path) {
      return run;
    }
  }
  FAIL("no run ", path, " among ", runs.dump());
  return {};
}

std::string listing(const fs::path& folder) {
  return shell("cd '" + folder.string() + "' && find . -type f | sort | xargs sha256sum").output;
}

std::string dom_of(const std::string& address, const fs::path& place, const std::string& size) {
  const fs::path dom = place / "dom.html";
  shell("HOME='" + place.string() + "' timeout 120 '" + chromium() +
        "' --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --window-size=" + size +
        " --virtual-time-budget=6000 --user-data-dir='" + (place / "profile").string() + "' --dump-dom '" + address +
        "' > '" + dom.string() + "' 2> /dev/null");
  return read_text(dom);
}

}  // namespace

TEST_CASE("only who knows the address is answered, by this machine's own name, and only runs are shown") {
  const Serving server(made());
  CHECK(server.status("/") == 404);
  CHECK(server.status("/api/runs") == 404);
  CHECK(server.status("/00000000000000000000000000000000/api/runs") == 404);
  CHECK(server.status(server.base + "api/runs") == 200);
  const httplib::Result foreign = server.get(server.base + "api/runs", {{"Host", "example.org"}});
  REQUIRE(foreign);
  CHECK(foreign->status == 403);
  const httplib::Result page = server.get(server.base);
  REQUIRE(page);
  CHECK(contains(page->get_header_value("Content-Security-Policy"), "default-src 'none'"));
  CHECK(!page->has_header("Access-Control-Allow-Origin"));
  // Compressed well, a large page would take seconds to begin.
  const httplib::Result plain = server.get(server.base, {{"Accept-Encoding", "gzip, deflate, br"}});
  REQUIRE(plain);
  CHECK(!plain->has_header("Content-Encoding"));
  CHECK(plain->body == page->body);
  for (const std::string path : {"..", "../..", "/etc", "one/../../..", "group", "", "nothing", "one%00"}) {
    CAPTURE(path);
    CHECK(server.status(server.base + "report?path=" + path) == 404);
  }
  for (const std::string path : {"/etc/passwd", "../outside.csv", "one/../../outside.csv", "one", "one/link.csv",
                                 "one/linked/outside.csv", "one/checkpoints/state.safetensors", "one/nothing.csv"}) {
    CAPTURE(path);
    write_text(made().parent_path() / "outside.csv", "1,2\n");
    std::error_code there_already;
    fs::create_symlink(made().parent_path() / "outside.csv", made() / "one/link.csv", there_already);
    fs::create_directory_symlink(made().parent_path(), made() / "one/linked", there_already);
    CHECK(server.status(server.base + "file?path=" + path) == 404);
  }
  fs::remove(made() / "one/link.csv");
  fs::remove(made() / "one/linked");
  CHECK(server.status(server.base + "file?path=one/config.toml") == 200);
}

TEST_CASE("it tells of runs what their files say, writes nothing, and ends with Ctrl-C") {
  const std::string before = listing(made());
  Serving server(made());
  const Json runs = server.runs();
  REQUIRE(runs.size() == 2);
  const Json one = run_named(runs, "one"), both = run_named(runs, "group/both");
  CHECK(one["name"] == "one <b>");
  CHECK(one["kind"] == "run");
  CHECK(one["state"] == "done");
  CHECK(one["step"] == 6);
  CHECK(one["steps"] == 6);
  CHECK(one["settings"]["train.learning_rate"] == 2e-3);
  CHECK(one["rows"] == Json::parse(read_text(made() / "one/results.json"))["students"]);
  CHECK(both["kind"] == "sweep");
  CHECK(both["cells"] == Json{{"done", 2}});
  CHECK(both["rows"].size() == 4);
  const std::string report = server.text("report?path=group/both");
  CHECK(contains(report, "\"direct_cm\""));
  CHECK(contains(report, "api/version"));
  CHECK(listing(made()) == before);
  server.interrupt();
  for (int i = 0; i < 500 && !server.has_ended(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(server.has_ended());
}

TEST_CASE("a sweep under way shows the cells that are done, and new ones as they come") {
  Folder folder;
  const fs::path runs = folder / "runs", sweep = runs / "both";
  fs::create_directories(runs);
  fs::copy(made() / "group/both", sweep, fs::copy_options::recursive);
  fs::remove(sweep / "results.json");
  fs::rename(sweep / "cells/direct_cm/results.json", folder / "kept.json");
  const Serving server(runs);
  Json run = server.runs()[0];
  CHECK(run["cells"] == Json{{"done", 1}, {"open", 1}});
  CHECK(run["state"] == "open");
  CHECK(run["rows"].size() == 2);
  const std::string version = server.text("api/version?path=both");
  CHECK(!contains(server.text("report?path=both"), "\"cell\":\"direct_cm\""));
  write_text(sweep / "cells/direct_cm/failed.json", "{\"error\": \"out of memory\"}\n");
  run = server.runs()[0];
  CHECK(run["state"] == "failed");
  CHECK(run["error"] == "direct_cm: out of memory");
  fs::remove(sweep / "cells/direct_cm/failed.json");
  fs::copy_file(folder / "kept.json", sweep / "cells/direct_cm/results.json");
  run = server.runs()[0];
  CHECK(run["cells"] == Json{{"done", 2}});
  CHECK(run["rows"].size() == 4);
  CHECK(server.text("api/version?path=both") != version);
  CHECK(contains(server.text("report?path=both"), "\"cell\":\"direct_cm\""));
}

TEST_CASE("folders that are no runs, or damaged ones, do not stop it") {
  Folder folder;
  const fs::path runs = folder / "runs";
  fs::create_directories(runs / "empty/deeper");
  for (const char* name : {"damaged", "begun", "config"}) {
    fs::create_directories(runs / name);
  }
  write_text(runs / "damaged/results.json", "{\"students\": [{");
  write_text(runs / "begun/metrics.jsonl", "{\"step\": 3, \"loss\": 1.0}\n{\"step\": 4, \"lo");
  write_text(runs / "config/config.toml", "[run\n");
  const Serving server(runs);
  const Json list = server.runs();
  CHECK(list.size() == 3);
  CHECK(run_named(list, "begun")["step"] == 3);
  for (const char* name : {"damaged", "begun", "config"}) {
    CHECK(contains(server.text("report?path=" + std::string(name)), "is measured yet"));
  }
}

TEST_CASE("what cannot be served is one line") {
  Folder folder;
  CHECK(one_line(run_retort("serve " + folder.string() + "/nothing"), 2, {"is no folder"}));
  const Serving server(made());
  CHECK(one_line(run_retort("serve " + made().string() + " --port " + std::to_string(server.port)), 1, {"is taken"}));
}

TEST_CASE("a browser shows the runs, with the figures of their results, in a narrow and in a wide window") {
  if (no_browser()) {
    return;
  }
  const Serving server(made());
  const Json row = Json::parse(read_text(made() / "one/results.json"))["students"][0];
  char figure[40];
  const double distance = row["metrics"]["energy_distance"];
  std::snprintf(figure, sizeof figure, distance < 10 ? "%.4f" : "%.1f", distance);
  for (const char* size : {"420,900", "1400,900"}) {
    CAPTURE(std::string(size));
    Folder folder;
    const std::string dom = dom_of(server.address, folder / "", size);
    CHECK(contains(dom, "data-ready"));
    CHECK(!contains(dom, "data-errors"));
    CHECK(contains(dom, "one &lt;b&gt;"));  // as text
    CHECK(contains(dom, "2 of 2 cells"));
    CHECK(contains(dom, std::string("<td>") + figure + "</td>"));
    const std::string pair = dom_of(server.address + "#one&group%2Fboth", folder / "", size);
    CHECK(!contains(pair, "data-errors"));
    CHECK(contains(pair, "<td class=\"name\">train.learning_rate</td>"));
    CHECK(contains(pair, "<td>0.002</td>"));
    const std::string report = dom_of(server.address + "report?path=one", folder / "", size);
    CHECK(contains(report, "All runs"));
    CHECK(!contains(report, "data-errors"));
    CHECK(contains(report, "data-ready"));
  }
}
