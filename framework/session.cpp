#include "retort/session.h"

#include <atomic>

#include "interrupt.h"
#include "io/json.h"
#include "log.h"
#include "plugin/registry.h"
#include "report/report.h"
#include "report/results.h"
#include "run/plan.h"
#include "run/run.h"

namespace retort {

namespace {

std::atomic<bool> one_lives{false};

// What belongs to the process while a session lives, taken and given back.
class Place {
 public:
  Place() {
    if (one_lives.exchange(true)) {
      throw Error("a Session lives already in this process; expected one at a time");
    }
  }
  ~Place() {
    log::print_to({});
    one_lives = false;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
};

log::Printer printer_of(SessionOptions& options) {
  log::Printer out;
  out.line = [say = std::move(options.log)](log::Level level, const std::string& line) {
    if (say) {
      say(static_cast<LogLevel>(level), line);
    }
  };
  out.progress = [say = std::move(options.progress)](const std::string& what, int64_t done, int64_t total) {
    if (say) {
      say(what, done, total);
    }
  };
  return out;
}

}  // namespace

struct Session::State {
  Place place;
  Registry registry;
  std::atomic<bool> works = false;
};

Session::Session(SessionOptions options)
    : state_(new State{.place = {}, .registry = Registry(plugin_folders(options.plugin_folders))}) {
  log::print_to(printer_of(options));
}

Session::~Session() = default;

std::vector<Session::Plugin> Session::plugins() const {
  std::vector<Plugin> out;
  for (const PluginFile& file : state_->registry.files()) {
    out.push_back({file.kind, file.name, file.path});
  }
  return out;
}

std::vector<Session::Cell> Session::plan(const RunRequest& request) {
  std::vector<Cell> out;
  const auto add = [&](retort::Work work) {
    const retort::Plan plan(request, std::move(work), state_->registry, Plan::For::looking);
    for (size_t i = 0; i < plan.size(); ++i) {
      out.push_back({plan.cells()[i].name, plan.cells()[i].config, plan.folder(i), plan[i].finished});
    }
  };
  if (std::optional<retort::Work> first = exploring_work(request)) {
    add(std::move(*first));
  }
  add(work_of(request));
  return out;
}

std::filesystem::path Session::run(const RunRequest& request, Stages stages) {
  struct Work {
    std::atomic<bool>& goes_on;
    explicit Work(std::atomic<bool>& flag) : goes_on(flag) {
      if (goes_on.exchange(true)) {
        throw Error("this Session runs something already; expected one run at a time");
      }
    }
    ~Work() {
      goes_on = false;
      forget_stop();
    }
  } work(state_->works);
  const RunOutcome out = retort::run(request, state_->registry, stages);
  out.require_all();
  return out.folder;
}

Value Session::results(const std::filesystem::path& folder) const {
  return from_json(load_results(folder), (folder / "results.json").string());
}

std::string Session::table(const std::filesystem::path& folder) const { return terminal_table(folder); }

void Session::interrupt() noexcept {
  if (state_->works) {
    request_stop();
  }
}

}  // namespace retort
