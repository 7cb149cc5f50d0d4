#include "retort/session.h"

#include <algorithm>
#include <iterator>
#include <mutex>

#include "interrupt.h"
#include "io/json.h"
#include "report/report.h"
#include "report/results.h"
#include "run/plan.h"
#include "run/run.h"
#include "session_state.h"

namespace retort {

namespace {

// What belongs to the process, one session's after the other's: who is told of the work, and the wish to stop.
class Turn {
 public:
  explicit Turn(const log::Printer& printer) : alone_(one_at_a_time()) { log::print_to(printer); }
  ~Turn() { log::print_to({}); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  static std::mutex& one_at_a_time() {
    static std::mutex mutex;
    return mutex;
  }

  std::lock_guard<std::mutex> alone_;
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

Session::Session(SessionOptions options)
    : state_(new State{.registry = Registry(plugin_folders(options.plugin_folders)), .printer = printer_of(options)}) {}

Session::~Session() = default;

std::vector<Session::Plugin> Session::plugins() const {
  std::vector<Plugin> out;
  for (const PluginFile& file : state_->registry.files()) {
    out.push_back({file.kind, file.name, file.path});
  }
  return out;
}

Value Session::describe(const std::string& kind, const std::string& name) const {
  const PluginDescription found = state_->registry.describe(state_->registry.find(kind, name));
  const auto text = [](std::string words) { return Value{std::move(words), {}}; };
  Array parameters;
  for (const ParamInfo& info : found.params) {
    Value one;
    one["name"] = text(info.name);
    one["type"] = text(info.type);
    one["default"] = text(info.default_value);
    one["required"] = Value{info.required, {}};
    one["range"] = text(info.range);
    Array choices;
    std::transform(info.choices.begin(), info.choices.end(), std::back_inserter(choices), text);
    one["choices"] = Value{std::move(choices), {}};
    one["doc"] = text(info.doc);
    parameters.push_back(std::move(one));
  }
  Value out;
  out["about"] = text(found.about);
  out["parameters"] = Value{std::move(parameters), {}};
  return out;
}

std::vector<Session::Cell> Session::plan(const RunRequest& request) {
  const Turn turn(state_->printer);
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
  struct Asked {
    State& state;
    explicit Asked(State& of) : state(of) {
      if (state.works.exchange(true)) {
        throw Error("this Session runs something already; expected one run at a time");
      }
    }
    ~Asked() { state.works = state.stops = false; }
  } asked(*state_);
  const Turn turn(state_->printer);
  struct OnTurn {
    State& state;
    explicit OnTurn(State& of) : state(of) {
      state.on_turn = true;
      if (state.stops) {  // wished while it waited
        request_stop();
      }
    }
    ~OnTurn() {
      state.on_turn = false;
      forget_stop();
    }
  } on_turn(*state_);
  const RunOutcome out = retort::run(request, state_->registry, stages);
  out.require_all();
  return out.folder;
}

Value Session::results(const std::filesystem::path& folder) const {
  return from_json(load_results(folder), (folder / "results.json").string());
}

std::string Session::table(const std::filesystem::path& folder) const { return terminal_table(folder); }

void Session::interrupt() noexcept {
  if (!state_->works) {
    return;
  }
  state_->stops = true;
  if (state_->on_turn) {
    request_stop();
  }
}

}  // namespace retort
