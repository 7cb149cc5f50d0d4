/// Runs as pages, on this machine alone.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace retort {

class Server {
 public:
  /// Listens on 127.0.0.1, at a port, or at any that is free for 0. Throws RequestError where there is no such folder,
  /// and Error where the port is taken.
  Server(const std::filesystem::path& folder, int port);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// "http://127.0.0.1:PORT/TOKEN/". Without the token, which is another for each server, nothing is answered.
  std::string address() const;
  /// Answers until `is_over` says so, which is asked ten times a second.
  void run(const std::function<bool()>& is_over);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace retort
