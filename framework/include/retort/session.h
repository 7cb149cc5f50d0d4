/// Retort as a library: what the program does, for programs of your own.
///
/// Nothing here ends the process, takes signals, or writes to a terminal. What cannot be done is thrown: RequestError
/// where the request is wrong, Error where the work failed, each with one line that says what and where.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "retort/error.h"
#include "retort/export.h"
#include "retort/value.h"

namespace retort {

/// What to run: a configuration, and what is to be otherwise in it.
struct RunRequest {
  std::string config;                       // path of a TOML file
  std::vector<std::string> overrides = {};  // key=value
  bool fresh = false;                       // begin anew even where results exist
  bool frozen = false;                      // load only the libraries that an earlier run recorded
  bool worker = false;                      // only take cells of a sweep; leave the report to others
};

enum class Stages { train, evaluate, everything };

enum class LogLevel { info, warning, error };

struct SessionOptions {
  std::vector<std::string> plugin_folders = {};  // searched before RETORT_PLUGIN_PATH and Retort's own
  /// Called with each line that the program would print; nothing is printed in its place.
  std::function<void(LogLevel, const std::string& line)> log = {};
  /// Called ten times a second at most, from the thread that works. What it throws ends `run`, except on its last call.
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress = {};
};

/// The plugins, and what is said and asked while work goes on. There may be several in a process: one works at a time,
/// and others wait for it.
class RETORT_API Session {
 public:
  explicit Session(SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  struct Plugin {
    std::string kind, name;
    std::filesystem::path file;
  };
  std::vector<Plugin> plugins() const;
  /// What a plugin says of itself: `about`, and `parameters`, a list of tables with name, type, default, required,
  /// range, choices and doc. Throws RequestError where there is none of that name.
  Value describe(const std::string& kind, const std::string& name) const;

  /// A configuration of a sweep, or the only one.
  struct Cell {
    std::string name;  // "" where nothing is swept
    Value config;      // as it was asked for, without [sweep]
    std::filesystem::path folder;
    bool finished;
  };
  /// Builds all parts of every cell, and works on none: so a request is checked. Throws RequestError too where a part
  /// needs a model that `run` would train first.
  std::vector<Cell> plan(const RunRequest& request);

  /// Does what is not done yet, and goes on where an earlier call stopped. Returns the folder of the results. One at a
  /// time: throws Error while another thread's run of this session is under way.
  std::filesystem::path run(const RunRequest& request, Stages stages = Stages::everything);

  /// What is in a folder of results (results.json). Throws RequestError where there is none.
  Value results(const std::filesystem::path& folder) const;
  /// The same as a table in plain text.
  std::string table(const std::filesystem::path& folder) const;

  /// Lets this session's `run` that is under way save what it has, and end with an Error; does nothing where there is
  /// none. From any thread, or a signal handler.
  void interrupt() noexcept;

 private:
  friend class Toolbox;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace retort
