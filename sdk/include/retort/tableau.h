/// Runge-Kutta methods as data: Butcher tableaux of numbers, and exponential ones, whose coefficients are sums of phi
/// functions. The order of a method is derived, not declared: by the order conditions of rooted trees.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retort/tensor.h"

namespace retort {

/// A coefficient of a method for y' = L y + N(y, t): a number plus a sum of factor * phi_k(c z), with z = h L. Products
/// of two phi functions are not of this form; what the literature has can be written without.
class RETORT_API Coefficient {
 public:
  Coefficient(double number = 0) : number_(number) {}
  /// phi_k(c z), k = 0 … 8.
  static Coefficient phi(int k, double c);

  bool is_number() const { return terms_.empty(); }
  bool is_zero() const { return terms_.empty() && number_ == 0; }
  /// The number that it is. Throws Error where it is none.
  double number() const;
  /// Its values at z: [B] float64.
  Tensor at(const Tensor& z) const;
  /// The coefficient of z^n in its power series.
  double series(int n) const;

  friend RETORT_API Coefficient operator+(const Coefficient& a, const Coefficient& b);
  friend RETORT_API Coefficient operator-(const Coefficient& a, const Coefficient& b);
  /// Both throw Error where the result is not of this form.
  friend RETORT_API Coefficient operator*(const Coefficient& a, const Coefficient& b);
  friend RETORT_API Coefficient operator/(const Coefficient& a, const Coefficient& b);

 private:
  struct Term {
    double factor;
    int k;
    double c;
  };
  double number_;
  std::vector<Term> terms_;
};

/// Stage i: Y_i = e^{c_i z} y + h sum_j a_ij N(Y_j), at c_i; the end: e^z y + h sum_i b_i N(Y_i). Without phi functions
/// z = 0 and this is x_i = x + h sum_j a_ij k_j (Hairer, Norsett & Wanner 1993, II.1; Hochbruck & Ostermann 2010, Acta
/// Numerica 19, section 2.3). a: a row for each stage, below its diagonal.
struct RETORT_API Tableau {
  int order;
  std::vector<std::vector<Coefficient>> a;
  std::vector<Coefficient> b;
  std::vector<double> c;
  /// The weights of a method within, of lower order, whose difference estimates the error; or none.
  std::vector<Coefficient> embedded = {};

  bool exponential() const;
  bool is_explicit() const;
  /// Whether the last stage is the next step's first.
  bool first_same_as_last() const;
};

/// A tableau as text, as TOML has it too.
struct TableauText {
  std::vector<std::string> a;  // a row for each stage: coefficients with commas between; "" for the first
  std::string b;               // likewise
  std::string c = {};          // likewise; "" where the rows' sums say it
  std::string embedded = {};   // likewise, or ""
};

/// A coefficient: numbers, + - * / ^ and brackets, sqrt(…), the nodes c1, c2 …, phi0 … phi8 at z, phi2(c3) or phi2(1/2)
/// at that multiple of z. Throws Error: what is wrong, and where in the text.
RETORT_API Coefficient read_coefficient(std::string_view text, const std::vector<double>& c = {});

/// Reads a method and derives its order. One coefficient of a row may be `*`: what makes the row right where N is
/// constant, so that a row of a's sums to c_i phi_1(c_i z), and b to phi_1(z). Throws Error: the row and what is wrong.
RETORT_API Tableau read_tableau(const TableauText& text);

/// The tableaux that come along, by name. Throws Error for a name that is none of `tableau_names()`.
RETORT_API const Tableau& tableau(std::string_view name);
RETORT_API const std::vector<std::string>& tableau_names();

/// The greatest order, at most 8, whose conditions hold within 1e-10: those of the rooted trees (Butcher 1963), with a
/// second kind of node for L where the tableau is exponential (Berland, Owren & Skaflestad 2005, SIAM J. Numer. Anal.
/// 43). The trees are those for z of order h: N smooth, L bounded. 0 where the nodes are not the sums of the rows at z
/// = 0.
RETORT_API int order_of(const Tableau& tableau);
/// The same for other weights of the same stages.
RETORT_API int order_of(const Tableau& tableau, const std::vector<Coefficient>& weights);

/// An implicit method whose stages are found by fixed-point iteration is an explicit one with more stages; this is it.
/// Diagonally implicit stages are iterated one after another, others together, `iterations` times, each from the values
/// before, at first those of the stage before or of the step's start.
RETORT_API Tableau iterated(const Tableau& tableau, int iterations);

/// Lawson's method of a tableau of numbers (Lawson 1967): a_ij e^{(c_i - c_j) z}, b_i e^{(1 - c_i) z}.
RETORT_API Tableau lawson(const Tableau& tableau);

}  // namespace retort
