// Tableaux from text.
#include <cctype>
#include <charconv>
#include <cmath>

#include "retort/error.h"
#include "retort/tableau.h"

namespace retort {

namespace {

/// sum = product {(+|-) product}; product = power {(*|/) power}; power = [-] atom [^ power]
class Reader {
 public:
  Reader(std::string_view text, const std::vector<double>& c) : text_(text), c_(c) {}

  Coefficient whole() {
    const Coefficient out = sum();
    blanks();
    if (at_ < text_.size()) {
      throw wrong("'" + std::string(text_.substr(at_, 1)) + "' is not expected");
    }
    return out;
  }

 private:
  Error wrong(const std::string& what) const {
    return Error(
        "'" + std::string(text_) + "', place " + std::to_string(at_ + 1) + ": " + what +
        "; expected numbers, + - * / ^, brackets, sqrt(…), nodes such as c2, and phi0 to phi8, as in phi2(c3)");
  }
  void blanks() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
      ++at_;
    }
  }
  bool take(char wanted) {
    blanks();
    if (at_ < text_.size() && text_[at_] == wanted) {
      ++at_;
      return true;
    }
    return false;
  }
  void close() {
    if (!take(')')) {
      throw wrong("a closing bracket is missing");
    }
  }

  // Texts come from people's files: what is nested without end is an error, not an overflow.
  template <class F>
  Coefficient deeper(const F& read) {
    if (++depth_ > 100) {
      throw wrong("nested too deeply");
    }
    const Coefficient out = read();
    --depth_;
    return out;
  }

  // NOLINTNEXTLINE(misc-no-recursion): as deep as the brackets
  Coefficient sum() {
    Coefficient out = product();
    for (;;) {
      if (take('+')) {
        out = out + product();
      } else if (take('-')) {
        out = out - product();
      } else {
        return out;
      }
    }
  }
  // NOLINTNEXTLINE(misc-no-recursion)
  Coefficient product() {
    Coefficient out = power();
    for (;;) {
      if (take('*')) {
        out = out * power();
      } else if (take('/')) {
        out = out / power();
      } else {
        return out;
      }
    }
  }
  // NOLINTNEXTLINE(misc-no-recursion)
  Coefficient power() {
    if (take('-')) {
      return Coefficient(-1) * deeper([&] { return power(); });
    }
    const Coefficient base = atom();
    if (!take('^')) {
      return base;
    }
    return std::pow(base.number(), deeper([&] { return power(); }).number());
  }
  // NOLINTNEXTLINE(misc-no-recursion)
  Coefficient atom() {
    if (take('(')) {
      const Coefficient out = deeper([&] { return sum(); });
      close();
      return out;
    }
    blanks();
    const char* const begin = text_.data() + at_;
    const char* const end = text_.data() + text_.size();
    if (at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(*begin)) != 0 || *begin == '.')) {
      double value = 0;
      const auto [rest, code] = std::from_chars(begin, end, value);
      if (code != std::errc()) {
        throw wrong("this is no number");
      }
      at_ = static_cast<size_t>(rest - text_.data());
      return value;
    }
    std::string word;
    while (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_])) != 0) {
      word += text_[at_++];
    }
    if (word == "sqrt" && take('(')) {
      const double value = deeper([&] { return sum(); }).number();
      close();
      return std::sqrt(value);
    }
    int index = -1;
    const auto [rest, code] = std::from_chars(text_.data() + at_, end, index);
    if (code == std::errc() && word == "c") {
      at_ = static_cast<size_t>(rest - text_.data());
      if (index < 1 || static_cast<size_t>(index) > c_.size()) {
        throw wrong("there is no node c" + std::to_string(index) + " among " + std::to_string(c_.size()));
      }
      return c_[static_cast<size_t>(index - 1)];
    }
    if (code == std::errc() && word == "phi") {
      at_ = static_cast<size_t>(rest - text_.data());
      double c = 1;
      if (take('(')) {
        c = deeper([&] { return sum(); }).number();
        close();
      }
      return Coefficient::phi(index, c);
    }
    throw wrong(word.empty() ? "a coefficient is missing" : "'" + word + "' is not known");
  }

  std::string_view text_;
  const std::vector<double>& c_;
  size_t at_ = 0;
  int depth_ = 0;
};

std::vector<std::string> cells(const std::string& row) {
  std::vector<std::string> out;
  size_t from = 0;
  for (size_t i = 0; i <= row.size(); ++i) {
    if (i == row.size() || row[i] == ',') {
      const std::string cell = row.substr(from, i - from);
      const size_t first = cell.find_first_not_of(" \n"), last = cell.find_last_not_of(" \n");
      out.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
      from = i + 1;
    }
  }
  return out.size() == 1 && out[0].empty() ? std::vector<std::string>{} : out;
}

template <class F>
auto in(const std::string& place, const F& work) {
  try {
    return work();
  } catch (const Error& e) {
    throw Error(place + ": " + e.what());
  }
}

// A row, whose `*` makes it sum to `sum`.
std::vector<Coefficient> read_row(const std::string& text, const std::vector<double>& c, const Coefficient* sum) {
  std::vector<Coefficient> out;
  size_t open = std::string::npos;
  Coefficient rest = sum != nullptr ? *sum : Coefficient();
  for (const std::string& cell : cells(text)) {
    if (cell == "*") {
      if (sum == nullptr) {
        throw Error("'*' needs nodes c");
      }
      if (open != std::string::npos) {
        throw Error("'*' stands twice; expected once at most");
      }
      open = out.size();
      out.emplace_back();
      continue;
    }
    out.push_back(read_coefficient(cell, c));
    rest = rest - out.back();
  }
  if (open != std::string::npos) {
    out[open] = rest;
  }
  return out;
}

}  // namespace

Coefficient read_coefficient(std::string_view text, const std::vector<double>& c) { return Reader(text, c).whole(); }

Tableau read_tableau(const TableauText& text) {
  Tableau out{};
  const size_t stages = text.a.size();
  for (const std::string& cell : cells(text.c)) {
    out.c.push_back(in("c", [&] { return read_coefficient(cell, out.c).number(); }));
  }
  const bool has_nodes = !out.c.empty();
  if (has_nodes && out.c.size() != stages) {
    throw Error("c has " + std::to_string(out.c.size()) + " nodes and a has " + std::to_string(stages) +
                " rows; expected as many");
  }
  const bool exponential = [&] {
    std::string all = text.b;
    for (const std::string& row : text.a) {
      all += row;
    }
    return all.find("phi") != std::string::npos;
  }();
  const auto total = [exponential](double c) { return exponential ? Coefficient(c) * Coefficient::phi(1, c) : c; };
  for (size_t i = 0; i < stages; ++i) {
    in("a, row " + std::to_string(i + 1), [&] {
      const Coefficient sum = has_nodes ? total(out.c[i]) : Coefficient();
      out.a.push_back(read_row(text.a[i], out.c, has_nodes ? &sum : nullptr));
      if (out.a.back().size() > stages) {
        throw Error(std::to_string(out.a.back().size()) + " coefficients; expected at most " + std::to_string(stages));
      }
      if (!has_nodes) {
        double node = 0;
        for (const Coefficient& coefficient : out.a.back()) {
          node += coefficient.series(0);
        }
        out.c.push_back(node);
      }
    });
  }
  const Coefficient one = total(1);
  const auto weights = [&](const char* name, const std::string& row) {
    return in(name, [&] {
      std::vector<Coefficient> read = read_row(row, out.c, &one);
      if (read.size() != stages) {
        throw Error(std::to_string(read.size()) + " coefficients and " + std::to_string(stages) +
                    " rows of a; expected as many");
      }
      return read;
    });
  };
  out.b = weights("b", text.b);
  if (!text.embedded.empty()) {
    out.embedded = weights("embedded", text.embedded);
  }
  for (const auto& row : out.a) {
    for (const Coefficient& coefficient : row) {
      if (!std::isfinite(coefficient.series(0))) {
        throw Error("a coefficient of a is not a finite number");
      }
    }
  }
  out.order = order_of(out);
  return out;
}

}  // namespace retort
