// What reports are made of, without a browser.
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <numeric>
#include <random>

#include "report/media.h"
#include "report/results.h"
#include "report/run.h"
#include "report/template.h"
#include "results/csv.h"
#include "sweep/statistics.h"

using namespace retort;
using namespace retort::test;

TEST_CASE("a template is filled in one pass: what was put in is not looked at again") {
  const auto value = [](std::string_view name) {
    return name == "a" ? std::string("{{b}}{{a}}") : "<" + std::string(name) + ">";
  };
  CHECK(fill("x{{a}}y{{b}}z{{", value) == "x{{b}}{{a}}y<b>z{{");
  CHECK(fill("{{a}}}}{{}}", value) == "{{b}}{{a}}}}<>");
  CHECK(fill("", value) == "");
}

TEST_CASE("embedded JSON is ASCII that ends no script and begins no comment, and reads back the same") {
  const Json json = {{"</script>", "<!--<script>"}, {"line", "\xE2\x80\xA8\xE2\x80\xA9 \xC3\xA9"}};
  const std::string text = embeddable(json);
  CHECK(text.find('<') == std::string::npos);
  CHECK(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  CHECK(Json::parse(text) == json);
  CHECK(Json::parse(embeddable({{"a", "cut \xC3"}})) == Json({{"a", "cut \xEF\xBF\xBD"}}));
  CHECK(escape_html("<a b='c' d=\"e\">&") == "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;");
  CHECK(valid_utf8("a\xFF"
                   "b") ==
        "a\xEF\xBF\xBD"
        "b");
}

TEST_CASE("the policy names a script by its hash") {
  // SHA-256 of nothing, in base64.
  const std::string empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
  CHECK(contains(policy({""}, ""), "script-src " + empty + "; style-src " + empty));
  CHECK(contains(policy({""}, ""), "default-src 'none'"));
}

TEST_CASE("a page has room for some parts; those beyond are counted") {
  Parts parts;
  const Json large = std::string(size_t{20} << 20, 'x');
  for (int i = 0; i < 4; ++i) {
    CHECK(parts.add(large) == i);
  }
  CHECK(parts.add("small") == nullptr);
  CHECK(parts.left_out() == 1);
}

TEST_CASE("fields of a CSV are quoted as RFC 4180 says") {
  CHECK(csv_field(nullptr) == "");
  CHECK(csv_field("plain") == "plain");
  CHECK(csv_field("a,\"b\"") == "\"a,\"\"b\"\"\"");
  CHECK(csv_field("two\r\nlines") == "\"two\r\nlines\"");
  CHECK(csv_field(Json::parse(R"(["a", 1])")) == "\"[\"\"a\"\",1]\"");
  CHECK(csv_field(0.1) == "0.1");
}

TEST_CASE("an interval is, to the bit, that of the resamples in the order they are drawn") {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(1.0, 2.0);
  for (const size_t n : {2, 3, 5, 8, 20, 64, 65, 100}) {
    CAPTURE(n);
    std::vector<double> values(n);
    for (double& v : values) {
      v = normal(random);
    }
    // As defined: resample by resample, all of them sorted.
    std::mt19937_64 draws(20150714);
    std::vector<double> means(10000);
    for (double& mean : means) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) {
        sum += values[draws() % n];
      }
      mean = sum / static_cast<double>(n);
    }
    std::sort(means.begin(), means.end());
    const auto at = [&](double q) {
      const double place = q * 9999;
      const auto below = static_cast<size_t>(place);
      return std::lerp(means[below], means[std::min<size_t>(below + 1, 9999)], place - static_cast<double>(below));
    };
    const auto count = static_cast<double>(n);
    for (const double level : {0.95, 0.5}) {
      const double t = boost::math::quantile(boost::math::students_t(count - 1), (1 - level) / 2);
      const double tail = boost::math::cdf(boost::math::normal(), std::sqrt(count / (count - 1)) * t);
      const Interval interval = bootstrap_mean(values, level);
      CHECK(interval.low == at(tail));
      CHECK(interval.high == at(1 - tail));
    }
  }
}

TEST_CASE("the terminal's table leaves out what was not measured, says so, and obeys no name") {
  Folder folder;

  Json results = results_of_run(
      "run", {row_of("a\nb\x1B[2J", {}, 50, 1, {{"fd", 1.5}}), row_of("c", {}, 100, 1, {{"fd", no_number}})},
      {{"plot", {"fd", "recall"}}, {"columns", {"kid", "fd"}}});
  results["teacher"] = {{"metrics", {{"fd", nullptr}}}};
  report_on(folder.string(), results);
  const std::string table = terminal_table(folder.string());
  CHECK(contains(table, "a?b?[2J"));
  CHECK(contains(table, "named in [report], but not measured: kid, recall\n"));
  CHECK(std::count(table.begin(), table.end(), '\n') == 6);  // head, rule, teacher, two rows, what is missing
  CHECK(contains(table, "nan"));
  CHECK(table.find("kid  ") == std::string::npos);
}

TEST_CASE("loss curves keep the last step and the mean of what they thin") {
  Folder folder;
  std::string log;
  for (int step = 1; step <= 1000; ++step) {
    log += Json({{"step", step}, {"loss", static_cast<double>(step)}}).dump() + "\n";
  }
  write_text(folder / "metrics.jsonl", log);
  const Json curve = loss_curve(folder / "metrics.jsonl");
  CHECK(curve.size() == 334);
  CHECK(curve[0] == Json::parse("[3, 2.0]"));
  CHECK(curve[333] == Json::parse("[1000, 1000.0]"));
  CHECK(loss_curve(folder / "none").empty());
}
