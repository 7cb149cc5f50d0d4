// Order conditions by rooted trees.
#include <cmath>
#include <vector>

#include "retort/tableau.h"

namespace retort {

namespace {

constexpr int most = 8;
constexpr double tolerance = 1e-10;

/// A rooted tree. A node of N has any number of children, one of L at most one: L is linear.
struct Tree {
  bool linear;
  int order;
  double density;             // gamma: the exact solution has 1 / gamma of it
  std::vector<size_t> below;  // children, as indices of trees
};

/// All trees of one order after another.
class Trees {
 public:
  explicit Trees(bool with_linear) : with_linear_(with_linear) {}

  const Tree& operator[](size_t i) const { return trees_[i]; }
  /// Appends those of the next order; returns where they begin.
  size_t grow() {
    const size_t begin = trees_.size();
    ++order_;
    std::vector<size_t> below;
    add_nonlinear(order_ - 1, begin, below);
    if (with_linear_) {
      if (order_ == 1) {
        trees_.push_back({true, 1, 1, {}});
      }
      for (size_t i = 0; i < begin; ++i) {
        if (trees_[i].order == order_ - 1) {
          trees_.push_back({true, order_, order_ * trees_[i].density, {i}});
        }
      }
    }
    return begin;
  }
  size_t size() const { return trees_.size(); }

 private:
  // Multisets of smaller trees with `left` nodes together, none beyond `end`.
  // NOLINTNEXTLINE(misc-no-recursion): as deep as the order
  void add_nonlinear(int left, size_t end, std::vector<size_t>& below) {
    if (left == 0) {
      double density = order_;
      for (const size_t child : below) {
        density *= trees_[child].density;
      }
      trees_.push_back({false, order_, density, below});
      return;
    }
    for (size_t i = 0; i < end; ++i) {
      if (trees_[i].order <= left) {
        below.push_back(i);
        add_nonlinear(left - trees_[i].order, i + 1, below);
        below.pop_back();
      }
    }
  }

  bool with_linear_;
  int order_ = 0;
  std::vector<Tree> trees_;
};

/// What the method has of each tree, where the exact solution has 1 / gamma.
class Weights {
 public:
  Weights(const Tableau& tableau, const std::vector<Coefficient>& b, const Trees& trees)
      : tableau_(tableau), b_(b), trees_(trees) {}

  double at_the_end(size_t tree) const { return of(tree, b_, 1); }

  /// Adds those of the stages for trees begin … end - 1, of smaller order than those asked for later.
  void add(size_t begin, size_t end) {
    for (size_t tree = begin; tree < end; ++tree) {
      std::vector<double> stages;
      for (size_t i = 0; i < tableau_.c.size(); ++i) {
        stages.push_back(of(tree, tableau_.a[i], tableau_.c[i]));
      }
      stages_.push_back(std::move(stages));
    }
  }

 private:
  double of(size_t tree, const std::vector<Coefficient>& row, double c) const {
    int power = 0;
    const Tree* node = &trees_[tree];
    while (node->linear) {
      ++power;
      if (node->below.empty()) {  // L^n y, of which e^{c z} y has c^n / n!
        double value = 1;
        for (int i = 1; i <= power; ++i) {
          value *= c / i;
        }
        return value;
      }
      node = &trees_[node->below[0]];
    }
    double sum = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      double product = row[j].series(power);
      for (const size_t child : node->below) {
        product *= stages_[child][j];
      }
      sum += product;
    }
    return sum;
  }

  const Tableau& tableau_;
  const std::vector<Coefficient>& b_;
  const Trees& trees_;
  std::vector<std::vector<double>> stages_;  // by tree
};

bool nodes_are_sums(const Tableau& tableau) {
  for (size_t i = 0; i < tableau.a.size(); ++i) {
    double sum = 0;
    for (const Coefficient& coefficient : tableau.a[i]) {
      sum += coefficient.series(0);
    }
    if (std::abs(sum - tableau.c[i]) > tolerance) {
      return false;
    }
  }
  return true;
}

}  // namespace

int order_of(const Tableau& tableau, const std::vector<Coefficient>& weights) {
  if (!nodes_are_sums(tableau)) {
    return 0;
  }
  Trees trees(tableau.exponential());
  Weights of_method(tableau, weights, trees);
  for (int order = 1; order <= most; ++order) {
    const size_t begin = trees.grow();
    for (size_t tree = begin; tree < trees.size(); ++tree) {
      if (std::abs(of_method.at_the_end(tree) - 1 / trees[tree].density) > tolerance) {
        return order - 1;
      }
    }
    of_method.add(begin, trees.size());
  }
  return most;
}

int order_of(const Tableau& tableau) { return order_of(tableau, tableau.b); }

bool Tableau::exponential() const {
  const auto any = [](const std::vector<Coefficient>& row) {
    for (const Coefficient& coefficient : row) {
      if (!coefficient.is_number()) {
        return true;
      }
    }
    return false;
  };
  for (const auto& row : a) {
    if (any(row)) {
      return true;
    }
  }
  return any(b);
}

bool Tableau::is_explicit() const {
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = i; j < a[i].size(); ++j) {
      if (!a[i][j].is_zero()) {
        return false;
      }
    }
  }
  return true;
}

bool Tableau::first_same_as_last() const {
  if (exponential() || a.empty() || c.back() != 1) {
    return false;
  }
  for (size_t j = 0; j < b.size(); ++j) {
    const double last = j < a.back().size() ? a.back()[j].number() : 0;
    if (last != b[j].number()) {
      return false;
    }
  }
  return true;
}

}  // namespace retort
