#include "retort/tableau.h"

#include <cmath>
#include <fstream>
#include <map>

#include "io/json.h"
#include "retort/exponential.h"
#include "support/parity.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

Tensor at_minus(const Coefficient& coefficient, double h) { return coefficient.at(times({-h})); }

}  // namespace

TEST_CASE("each tableau has the order that its source claims, and so has the method within") {
  // Orders as published; 0: none within.
  const std::map<std::string, std::pair<int, int>> published = {
      {"euler", {1, 0}},
      {"heun", {2, 0}},
      {"midpoint", {2, 0}},
      {"ralston", {2, 0}},
      {"kutta_3", {3, 0}},
      {"heun_3", {3, 0}},
      {"ralston_3", {3, 0}},
      {"houwen_wray_3", {3, 0}},
      {"ssprk_3", {3, 2}},
      {"ssprk_4_3", {3, 2}},
      {"bogacki_shampine_3", {3, 2}},
      {"rk4", {4, 0}},
      {"three_eighths_4", {4, 0}},
      {"ralston_4", {4, 0}},
      {"merson_4", {4, 3}},
      {"zonneveld_4", {4, 3}},
      {"ssprk_5_4", {4, 0}},
      {"ssprk_10_4", {4, 3}},
      {"butcher_5", {5, 0}},
      {"fehlberg_5", {5, 4}},
      {"cash_karp_5", {5, 4}},
      {"dormand_prince_5", {5, 4}},
      {"higham_hall_5", {5, 4}},
      {"bogacki_shampine_5", {5, 4}},
      {"tsitouras_5", {5, 4}},
      {"dormand_prince_8", {8, 5}},
      {"implicit_euler", {1, 0}},
      {"implicit_midpoint", {2, 0}},
      {"trapezoidal", {2, 0}},
      {"qin_zhang_2", {2, 0}},
      {"pareschi_russo_2", {2, 0}},
      {"crouzeix_3", {3, 0}},
      {"crouzeix_4", {4, 0}},
      {"sdirk_4", {4, 0}},
      {"gauss_legendre_4", {4, 0}},
      {"gauss_legendre_6", {6, 0}},
      {"radau_iia_3", {3, 0}},
      {"radau_iia_5", {5, 0}},
      {"lobatto_iiia_4", {4, 0}},
      {"lobatto_iiic_2", {2, 0}},
      {"lobatto_iiic_4", {4, 0}},
      {"exponential_euler", {1, 0}},
      {"etdrk_2", {2, 0}},
      {"res_2s", {2, 0}},
      {"dpmpp_2s", {2, 0}},
      {"etdrk_3", {3, 0}},
      {"hochbruck_ostermann_3", {3, 0}},
      {"res_3s", {3, 0}},
      {"dpmpp_3s", {3, 0}},
      {"etdrk_4", {4, 0}},
      {"krogstad_4", {4, 0}},
      {"strehmel_weiner_4", {4, 0}},
      {"hochbruck_ostermann_4", {4, 0}},
      {"luan_ostermann_4", {4, 0}},
      {"luan_ostermann_5", {5, 0}},
  };
  CHECK(published.size() == tableau_names().size());
  for (const std::string& name : tableau_names()) {
    CAPTURE(name);
    REQUIRE(published.count(name) == 1);
    const Tableau& method = tableau(name);
    CHECK(method.order == published.at(name).first);
    CHECK((method.embedded.empty() ? 0 : order_of(method, method.embedded)) == published.at(name).second);
  }
}

TEST_CASE("a wrong coefficient lowers the order, and a node that is not its row's sum leaves none") {
  Tableau wrong = tableau("rk4");
  wrong.b[1] = 1.0 / 3 + 1e-6;
  wrong.b[2] = 1.0 / 3 - 1e-6;
  CHECK(order_of(wrong) == 2);  // sum b c and sum b c^2 are still right, sum b a c is not
  wrong.b[2] = 1.0 / 3;
  CHECK(order_of(wrong) == 0);
  wrong = tableau("rk4");
  wrong.c[1] = 0.4;
  CHECK(order_of(wrong) == 0);
  // RES4LYF's gamma has 3 c3^3 where the conditions of third order want 3 c3^2; equal at c3 = 1 alone.
  const auto res_3s = [](const std::string& power, const std::string& c3) {
    const std::string gamma = "((3*c3^" + power + " - 2*c3)/(c2*(2 - 3*c2)))";
    const std::string b3 = "phi2/(" + gamma + "*c2 + c3)";
    return read_tableau({{"", "*", "*, " + gamma + "*c2*phi2(c2) + c3^2/c2*phi2(c3)"},
                         "*, " + gamma + "*phi2/(" + gamma + "*c2 + c3), " + b3,
                         "0, 0.4, " + c3})
        .order;
  };
  CHECK(res_3s("2", "0.7") == 3);
  CHECK(res_3s("3", "0.7") == 2);
  CHECK(res_3s("3", "1") == 3);
  // What is right where the linear part vanishes need not be where it does not.
  CHECK(read_tableau({{"", "phi1"}, "1/2*phi1, 1/2*phi1", "0, 1"}).order == 2);
  CHECK(read_tableau({{"", "phi1"}, "1/2, 1/2", "0, 1"}).order == 1);
}

TEST_CASE("coefficients are read as mathematics is written") {
  const std::vector<double> c = {0, 0.5, 2.0 / 3};
  const auto number = [&](const char* text) { return read_coefficient(text, c).number(); };
  CHECK(number("1/3") == 1.0 / 3);
  CHECK(number("-2^2") == -4);
  CHECK(number("2^-1") == 0.5);
  CHECK(number("1 - 2*3 + 4/8") == -4.5);
  CHECK(number(" ( 1 + sqrt( 9 ) ) / 2 ") == 2);
  CHECK(number("c2*c3") == doctest::Approx(1.0 / 3).epsilon(1e-15));
  CHECK(number(".5e-1") == 0.05);
  for (const double h : {0.0, 1e-9, 0.3, 5.0}) {
    const Tensor z = times({-h});
    const Tensor expected = 0.5 * phi(2, z * c[2]) - phi(3, z) / 3 + 0.25;
    CHECK(most(at_minus(read_coefficient("c2*phi2(c3) - phi3/3 + 1/4", c), h) - expected) < 1e-15);
  }
  CHECK(at_minus(read_coefficient("phi1 - phi1 + 2", c), 1).item<double>() == 2);
}

TEST_CASE("what is no coefficient, or no tableau, is one line that says where") {
  const auto of = [](const char* text) { return refusal([&] { read_coefficient(text, {0, 1}); }); };
  CHECK(contains(of("1 +"), "place 4: a coefficient is missing"));
  CHECK(contains(of("phi9"), "phi0 to phi8"));
  CHECK(contains(of("phi1*phi2"), "product of two phi functions"));
  CHECK(contains(of("1/phi2"), "division by a phi function"));
  CHECK(contains(of("1/0"), "division by zero"));
  CHECK(contains(of("c3"), "no node c3 among 2"));
  CHECK(contains(of("(1"), "closing bracket"));
  CHECK(contains(of("1 2"), "'2' is not expected"));
  CHECK(contains(of("psi1"), "'psi' is not known"));
  CHECK(contains(of(std::string(1000, '(').c_str()), "nested too deeply"));
  const auto read = [](const TableauText& text) { return refusal([&] { read_tableau(text); }); };
  CHECK(contains(read({{"", "1"}, "1"}), "b: 1 coefficients and 2 rows of a"));
  CHECK(contains(read({{"", "1"}, "1, 0", "0, 1, 1"}), "c has 3 nodes and a has 2 rows"));
  CHECK(contains(read({{"", "1, 2, 3"}, "1, 0"}), "a, row 2: 3 coefficients"));
  CHECK(contains(read({{"", "*, *"}, "1, 0", "0, 1"}), "'*' stands twice"));
  CHECK(contains(read({{"", "*"}, "1, 0"}), "a, row 2: '*' needs nodes c"));
  CHECK(contains(refusal([] { tableau("rk5"); }), "no tableau 'rk5'"));
}

TEST_CASE("fixed-point iteration gains an order with each pass, up to the method's own") {
  for (const auto& [name, order] :
       {std::pair("gauss_legendre_6", 6), std::pair("crouzeix_3", 3), std::pair("radau_iia_5", 5)}) {
    CAPTURE(std::string(name));
    int before = 0;
    for (int passes = 1; passes <= 7; ++passes) {
      const Tableau method = iterated(tableau(name), passes);
      CHECK(method.is_explicit());
      CHECK(method.order >= before);
      CHECK(method.order >= std::min(passes, order));
      before = method.order;
    }
    CHECK(before == order);
  }
  CHECK(iterated(tableau("trapezoidal"), 1).b.size() == 2);
}

TEST_CASE("Lawson's method of a tableau has its order, and is exact where N vanishes") {
  for (const char* name : {"heun", "rk4", "ssprk_3", "dormand_prince_5"}) {
    CAPTURE(std::string(name));
    CHECK(lawson(tableau(name)).order == tableau(name).order);
    CHECK(lawson(tableau(name)).exponential());
  }
}

TEST_CASE("tableaux are those of their peers (tests/parity)") {
  std::ifstream file(source_dir() + "/tests/parity/tableaux.json");
  REQUIRE(file);
  const Json fixtures = Json::parse(file);
  REQUIRE(fixtures["cases"].size() >= 40);
  for (const Json& c : fixtures["cases"]) {
    const auto name = c["tableau"].get<std::string>();
    CAPTURE(name);
    const Tableau& method = tableau(name);
    const double h = c.value("h", 0.0);
    double greatest = 0;
    const auto row = [&](const std::vector<Coefficient>& own, const std::vector<double>& theirs) {
      REQUIRE(own.size() <= theirs.size());
      for (size_t j = 0; j < theirs.size(); ++j) {
        const double value = j < own.size() ? at_minus(own[j], h).item<double>() : 0;
        CHECK(std::abs(value - theirs[j]) < c["tolerance"].get<double>());
        greatest = std::max(greatest, std::abs(value - theirs[j]));
      }
    };
    for (size_t i = 0; i < method.a.size(); ++i) {
      row(method.a[i], c["a"][i].get<std::vector<double>>());
    }
    row(method.b, c["b"].get<std::vector<double>>());
    if (c.contains("embedded")) {
      row(method.embedded, c["embedded"].get<std::vector<double>>());
    }
    note_difference("tableau", name, c["peer"], greatest);
  }
}
