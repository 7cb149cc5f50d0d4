// A row of results, in JSON and in CSV.
#include <cmath>
#include <limits>
#include <set>

#include "results/csv.h"
#include "results/schema.h"
#include "support/csv_table.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Row whole_row() {
  Row row;
  row.cell = "cm_seed=1";
  row.loss = "cm";
  row.swept = {{"loss.type", "cm, \"so\""}, {"run.seed", 1}, {"train.times", {0.5, 1.0}}, {"student.low_rank", true}};
  row.student_steps = 2;
  row.guidance = 1.5;
  row.train_steps = 100;
  row.teacher_evaluations = 6400;
  row.remembered_evaluations = 0;
  row.train_seconds = 0.1 + 0.2;
  row.metrics = {{"fd", 1.0}, {"accuracy", 1.0 / 3}, {"kid", std::numeric_limits<double>::quiet_NaN()}};
  row.series = {{"error", {{0.5, 1.0}, {2.0, std::numeric_limits<double>::infinity()}}}};
  row.samples = "samples/after_100.png";
  return row;
}

const Json cells = {{{"name", "cm_seed=1"}, {"status", "done"}, {"values", whole_row().swept}},
                    {{"name", "cm_seed=2"}, {"status", "failed"}, {"values", {{"run.seed", 2}}}}};
const Json evaluate = {{"student_steps", {1, 2}}, {"samples", 500}, {"reference_samples", 1000}};

}  // namespace

TEST_CASE("a row is written as results.json has it, and reads back the same") {
  const std::string text = spell(to_json(whole_row()));
  CHECK(text ==
        R"({"cell":"cm_seed=1","loss":"cm","swept":{"loss.type":"cm, \"so\"","run.seed":1,"train.times":[0.5,1.0],)"
        R"("student.low_rank":true},"student_steps":2,"guidance":1.5,"train_steps":100,"teacher_evaluations":6400,)"
        R"("remembered_evaluations":0,"train_seconds":0.30000000000000004,)"
        R"("metrics":{"fd":1.0,"accuracy":0.3333333333333333,"kid":null},)"
        R"("series":{"error":[[0.5,1.0],[2.0,null]]},"samples":"samples/after_100.png"})");
  const Row back = row_from(Json::parse(text));
  CHECK(spell(to_json(back)) == text);
  CHECK(back.swept == whole_row().swept);
  CHECK(back.train_seconds == whole_row().train_seconds);
  CHECK(*metric_of(back, "accuracy") == 1.0 / 3);
  CHECK(std::isnan(*metric_of(back, "kid")));
  CHECK(metric_of(back, "recall") == nullptr);
}

TEST_CASE("what a row lacks is not written, and what it holds of another type is as if it lacked it") {
  const std::string bare = R"({"cell":"","loss":"","metrics":{},"series":{}})";
  CHECK(spell(to_json(Row())) == bare);
  for (const char* text :
       {"null", "[1]", "{}",
        R"({"cell":1,"swept":3,"student_steps":"two","train_steps":null,"train_seconds":[],"guidance":{},)"
        R"("metrics":[],"series":5,"samples":7})"}) {
    CHECK(spell(to_json(row_from(Json::parse(text)))) == bare);
  }
  const Row odd = row_from(Json::parse(R"({"metrics":{"fd":"low"},"series":{"a":[[1],2,[1,2]]},"train_steps":1e300})"));
  CHECK(std::isnan(*metric_of(odd, "fd")));
  CHECK(odd.series[0].second.size() == 1);
  CHECK(!odd.train_steps);
}

TEST_CASE("every column of a row has a key of its own, and stands in results.json once") {
  std::set<std::string> keys;
  for (const Column* column : all_columns()) {
    CHECK(keys.insert(column->key).second);
  }
  Row row = whole_row();
  row.optimizer_steps = 100;
  row.ema_length = 0.1;
  CHECK(to_json(row).size() == keys.size());
  for (const Columns* some : {&setting_columns(), &cost_columns()}) {
    for (const Column* column : *some) {
      CHECK(std::find(all_columns().begin(), all_columns().end(), column) != all_columns().end());
      CHECK(std::string(column->title) != "");
      CHECK(std::string(column->heading) != "");
    }
  }
}

TEST_CASE("a row goes through a CSV, with those of cells that are not finished beside it") {
  const std::string text = csv_table({whole_row()}, cells, evaluate);
  CHECK(
      text ==
      "cell,status,loss.type,run.seed,train.times,student.low_rank,student_steps,train_steps,guidance,fd,accuracy,kid,"
      "teacher_evaluations,remembered_evaluations,train_seconds,samples,reference_samples\n"
      "cm_seed=1,done,\"cm, \"\"so\"\"\",1,\"[0.5,1.0]\",true,2,100,1.5,1.0,0.3333333333333333,,"
      "6400,0,0.30000000000000004,500,1000\n"
      "cm_seed=2,failed,,2,,,1,,,,,,,,,500,1000\n"
      "cm_seed=2,failed,,2,,,2,,,,,,,,,500,1000\n");
  const std::vector<CsvRow> back = read_csv_table(text);
  REQUIRE(back.size() == 3);
  Row expected = whole_row();
  expected.loss.clear();
  expected.series.clear();
  expected.samples.reset();
  CHECK(back[0].status == "done");
  CHECK(spell(to_json(back[0].row)) == spell(to_json(expected)));
  CHECK(back[2].status == "failed");
  CHECK(back[2].row.student_steps == 2);
  CHECK(!back[2].row.train_steps);
  CHECK(back[2].row.metrics.empty());
  CHECK(csv_table({back[0].row}, cells, evaluate) == text);
}

TEST_CASE("a CSV without guided models has no column for it") {
  Row row = whole_row();
  row.guidance.reset();
  const std::string text = csv_table({row}, cells, evaluate);
  CHECK(text.find("guidance") == std::string::npos);
  CHECK(!read_csv_table(text)[0].row.guidance);
}

TEST_CASE("what is no table of results is refused") {
  for (const char* text : {"", "a,b\n", "cell,status,train_steps\nx,done\n"}) {
    CHECK_THROWS_AS(read_csv_table(text), RequestError);
  }
}
