// Methods made of others: fixed-point iteration, and Lawson's.
#include "retort/error.h"
#include "retort/tableau.h"

namespace retort {

namespace {

bool diagonally_implicit(const Tableau& tableau) {
  for (size_t i = 0; i < tableau.a.size(); ++i) {
    for (size_t j = i + 1; j < tableau.a[i].size(); ++j) {
      if (!tableau.a[i][j].is_zero()) {
        return false;
      }
    }
  }
  return true;
}

/// Builds the explicit tableau. `newest[j]` is the stage that has the latest value of the method's stage j.
class Iteration {
 public:
  explicit Iteration(const Tableau& tableau) : tableau_(tableau), newest_(tableau.b.size(), 0) {}

  Tableau run(int iterations) {
    const size_t stages = tableau_.b.size();
    if (diagonally_implicit(tableau_)) {
      for (size_t i = 0; i < stages; ++i) {
        const bool implicit = tableau_.a[i].size() > i && !tableau_.a[i][i].is_zero();
        if (implicit) {
          newest_[i] = guess();
        }
        for (int m = 0; m < (implicit ? iterations : 1); ++m) {
          evaluate(i);
        }
      }
    } else {
      const size_t start = guess();
      newest_.assign(stages, start);
      for (int m = 0; m < iterations; ++m) {
        for (size_t i = 0; i < stages; ++i) {
          evaluate(i);
        }
      }
    }
    out_.b = moved(tableau_.b);
    if (!tableau_.embedded.empty()) {
      out_.embedded = moved(tableau_.embedded);
    }
    out_.order = order_of(out_);
    return out_;
  }

 private:
  // The last stage, or one at the step's start.
  size_t guess() {
    if (out_.a.empty()) {
      out_.a.emplace_back();
      out_.c.push_back(0);
    }
    return out_.a.size() - 1;
  }
  void evaluate(size_t i) {
    std::vector<Coefficient> row = moved(tableau_.a[i]);
    row.resize(out_.a.size());
    out_.a.push_back(std::move(row));
    out_.c.push_back(tableau_.c[i]);
    newest_[i] = out_.a.size() - 1;
  }
  std::vector<Coefficient> moved(const std::vector<Coefficient>& row) const {
    std::vector<Coefficient> out(out_.a.size());
    for (size_t j = 0; j < row.size(); ++j) {
      if (!row[j].is_zero()) {
        out[newest_[j]] = out[newest_[j]] + row[j];
      }
    }
    return out;
  }

  const Tableau& tableau_;
  std::vector<size_t> newest_;
  Tableau out_{};
};

}  // namespace

Tableau iterated(const Tableau& tableau, int iterations) {
  if (tableau.exponential()) {
    throw Error("an implicit exponential method is not iterated here");
  }
  return Iteration(tableau).run(iterations);
}

Tableau lawson(const Tableau& tableau) {
  Tableau out = tableau;
  const auto turn = [&](std::vector<Coefficient>& row, double to) {
    for (size_t j = 0; j < row.size(); ++j) {
      row[j] = row[j] * Coefficient::phi(0, to - tableau.c[j]);
    }
  };
  for (size_t i = 0; i < out.a.size(); ++i) {
    turn(out.a[i], tableau.c[i]);
  }
  turn(out.b, 1);
  turn(out.embedded, 1);
  out.order = order_of(out);
  return out;
}

}  // namespace retort
