#include "serve/server.h"

#include <httplib.h>
#include <openssl/rand.h>

#include <array>
#include <memory>
#include <thread>
#include <unordered_map>

#include "io/files.h"
#include "report/report.h"
#include "report/template.h"
#include "retort/error.h"
#include "serve/runs.h"

extern "C" {
extern const char retort_runs_html[], retort_runs_html_end[], retort_runs_css[], retort_runs_css_end[],
    retort_runs_js[], retort_runs_js_end[], retort_chart_js[], retort_chart_js_end[], retort_page_css[],
    retort_page_css_end[];
}

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr const char* host = "127.0.0.1";

std::string new_token() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw Error("no random numbers for the address");
  }
  static constexpr const char* digits = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) {
    out += digits[byte >> 4U];
    out += digits[byte & 15U];
  }
  return out;
}

// What a page may show of a run's files, with its type.
const char* type_of(const fs::path& file) {
  static const std::unordered_map<std::string, const char*> types = {{".png", "image/png"},
                                                                     {".csv", "text/csv; charset=utf-8"},
                                                                     {".json", "application/json"},
                                                                     {".jsonl", "text/plain; charset=utf-8"},
                                                                     {".toml", "text/plain; charset=utf-8"}};
  const auto found = types.find(file.extension().string());
  return found != types.end() ? found->second : nullptr;
}

std::string not_measured_yet(const fs::path& run) {
  return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">"
         "<title>Retort</title><p>Nothing of " +
         escape_html(valid_utf8(run.filename().string())) +
         " is measured yet. This page looks again by itself.</p><p><a href=\"./\">All runs</a></p></html>";
}

}  // namespace

struct Server::State {
  explicit State(const fs::path& folder) : runs(folder), token(new_token()) {}

  // Everything that is answered stands below /TOKEN/. Another site's page cannot know the token, nor ask by another
  // name for this machine.
  void answer_all() {
    const std::string base = "/" + token;
    const std::string policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri "
        "'none'; form-action 'none'; frame-ancestors 'none'";
    const auto text = [&](const char* path, const char* type, std::string_view content) {
      server.Get(base + path, [content, type, policy](const httplib::Request&, httplib::Response& out) {
        out.set_header("Content-Security-Policy", policy);
        send(out, std::string(content), type);
      });
    };
    text("/", "text/html; charset=utf-8", {retort_runs_html, retort_runs_html_end});
    text("/page.css", "text/css", {retort_page_css, retort_page_css_end});
    text("/index.css", "text/css", {retort_runs_css, retort_runs_css_end});
    text("/index.js", "text/javascript", {retort_runs_js, retort_runs_js_end});
    text("/chart.js", "text/javascript", {retort_chart_js, retort_chart_js_end});
    server.Get(base + "/api/runs", [this](const httplib::Request&, httplib::Response& out) {
      say(out, {{"folder", runs.folder().filename().string()}, {"runs", runs.list()}});
    });
    server.Get(base + "/api/version", [this](const httplib::Request& asked, httplib::Response& out) {
      of_run(asked, out, [&](const fs::path& run) { say(out, {{"version", Runs::version(run)}}); });
    });
    server.Get(base + "/report", [this](const httplib::Request& asked, httplib::Response& out) {
      of_run(asked, out, [&](const fs::path& run) {
        const std::string version = Runs::version(run);  // before: what comes meanwhile is newer
        const std::optional<Results> results = Runs::results(run);
        send(out, results ? report_page(run, *results, version) : not_measured_yet(run), "text/html; charset=utf-8");
      });
    });
    server.Get(base + "/file", [this](const httplib::Request& asked, httplib::Response& out) {
      const std::optional<fs::path> file = runs.file(asked.get_param_value("path"));
      std::error_code error;
      const char* type = file && fs::is_regular_file(*file, error) ? type_of(*file) : nullptr;
      if (type == nullptr) {
        out.status = 404;
        return;
      }
      send(out, read_text(*file), type);
    });
  }

  // As it is: the library would compress what it is given whole, which takes seconds for a large page, and saves
  // nothing on the way within a machine.
  static void send(httplib::Response& out, std::string text, const std::string& type) {
    const auto kept = std::make_shared<const std::string>(std::move(text));
    if (kept->empty()) {
      out.set_content("", type);
      return;
    }
    out.set_content_provider(kept->size(), type, [kept](size_t at, size_t size, httplib::DataSink& sink) {
      return sink.write(kept->data() + at, size);
    });
  }

  static void say(httplib::Response& out, const Json& json) {
    out.set_header("Cache-Control", "no-store");
    send(out, json.dump(-1, ' ', false, Json::error_handler_t::replace), "application/json");
  }

  void of_run(const httplib::Request& asked, httplib::Response& out, const std::function<void(const fs::path&)>& show) {
    if (const std::optional<fs::path> run = runs.find(asked.get_param_value("path"))) {
      show(*run);
    } else {
      out.status = 404;
    }
  }

  Runs runs;
  std::string token;
  int port = 0;
  httplib::Server server;
};

Server::Server(const fs::path& folder, int port) : state_(std::make_unique<State>(folder)) {
  httplib::Server& server = state_->server;
  state_->answer_all();
  server.set_pre_routing_handler([this](const httplib::Request& asked, httplib::Response& out) {
    const std::string own = std::to_string(state_->port), name = asked.get_header_value("Host");
    if (name == host + (":" + own) || name == "localhost:" + own) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    out.status = 403;
    return httplib::Server::HandlerResponse::Handled;
  });
  // A port that another server has is taken, also where the system would let two share it.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server.set_default_headers({{"X-Content-Type-Options", "nosniff"}, {"Referrer-Policy", "no-referrer"}});
  server.set_exception_handler([](const httplib::Request&, httplib::Response& out, std::exception_ptr error) {
    out.status = 500;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      out.set_content(e.what(), "text/plain; charset=utf-8");
    } catch (...) {
      out.set_content("the page could not be made", "text/plain");
    }
  });
  state_->port = port == 0 ? server.bind_to_any_port(host) : server.bind_to_port(host, port) ? port : -1;
  if (state_->port < 0) {
    throw Error("port " + std::to_string(port) + " is taken; expected a free one, or 0 for any");
  }
}

Server::~Server() = default;

std::string Server::address() const {
  return "http://" + std::string(host) + ":" + std::to_string(state_->port) + "/" + state_->token + "/";
}

void Server::run(const std::function<bool()>& is_over) {
  std::thread answering([this] { state_->server.listen_after_bind(); });
  while (!is_over()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  while (!state_->server.is_running()) {  // to stop before it has begun would be lost
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  state_->server.stop();
  answering.join();
}

}  // namespace retort
