#include "report/template.h"

#include <boost/beast/core/detail/base64.hpp>

#include "io/files.h"

namespace retort {

namespace {

// 'sha256-…', as policies name a script.
std::string source_of(std::string_view text) {
  const std::string hex = sha256_of_text(std::string(text));
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return " 'sha256-" + base64(bytes) + "'";
}

}  // namespace

std::string fill(std::string_view page, const std::function<std::string(std::string_view)>& value) {
  std::string out;
  for (;;) {
    const size_t open = page.find("{{");
    const size_t close = open == std::string_view::npos ? open : page.find("}}", open);
    if (close == std::string_view::npos) {
      return out.append(page);
    }
    out.append(page.substr(0, open)).append(value(page.substr(open + 2, close - open - 2)));
    page.remove_prefix(close + 2);
  }
}

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string embeddable(const Json& json) {
  const std::string text = json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {  // in JSON, only strings hold this one
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  namespace b = boost::beast::detail::base64;
  std::string out(b::encoded_size(bytes.size()), '\0');
  out.resize(b::encode(out.data(), bytes.data(), bytes.size()));
  return out;
}

std::string policy(const std::vector<std::string_view>& scripts, std::string_view style) {
  std::string out = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; script-src";
  for (const std::string_view script : scripts) {
    out += source_of(script);
  }
  return out + "; style-src" + source_of(style);
}

}  // namespace retort
