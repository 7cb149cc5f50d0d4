#pragma once
// A Python script that answers one request after another, since to import diffusers takes ten seconds each time.
#include <boost/process.hpp>
#include <map>
#include <memory>
#include <string>

#include "io/json.h"
#include "support/program.h"

namespace retort::test {

/// The script, started with `serve`: it reads a line of arguments as a shell spells them, and writes a line of JSON
/// with "code" and "output".
class PythonProcess {
 public:
  PythonProcess(const std::string& interpreter, const std::string& script)
      : child_(interpreter, script, "serve", boost::process::std_in<to_, boost::process::std_out> from_) {}
  PythonProcess(const PythonProcess&) = delete;
  PythonProcess& operator=(const PythonProcess&) = delete;
  ~PythonProcess() {
    to_.pipe().close();
    child_.wait();
  }

  Outcome ask(const std::string& arguments) {
    to_ << arguments << std::endl;
    std::string line;
    if (!std::getline(from_, line)) {
      return {1, "the Python script ended at: " + arguments};
    }
    const Json said = Json::parse(line);
    return {said["code"].get<int>(), said["output"].get<std::string>()};
  }

 private:
  boost::process::opstream to_;
  boost::process::ipstream from_;
  boost::process::child child_;
};

/// One process for each script, kept until the tests end.
inline Outcome ask_python(const std::string& interpreter, const std::string& script, const std::string& arguments) {
  static std::map<std::string, std::unique_ptr<PythonProcess>> started;
  std::unique_ptr<PythonProcess>& process = started[interpreter + " " + script];
  if (process == nullptr) {
    process = std::make_unique<PythonProcess>(interpreter, script);
  }
  return process->ask(arguments);
}

}  // namespace retort::test
