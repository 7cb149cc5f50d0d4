#include "retort/conditioning.h"

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Conditioning example() {
  return {{inputs::labels, at::tensor({0, 1, 2}, at::kLong)},
          {"prompt_embeds", normal({3, 4, 2})},
          {"attention_mask", at::ones({3, 4}, at::kBool)}};
}

const std::vector<Input> all = {{.name = "labels", .dtype = at::kLong, .classes = 10},
                                {.name = "prompt_embeds", .shape = {4, 2}, .null = 0.5},
                                {.name = "attention_mask", .shape = {4}, .dtype = at::kBool}};

}  // namespace

TEST_CASE("conditions are selected, cut and joined all together") {
  const Conditioning c = example();
  const Tensor index = at::tensor({2, 0}, at::kLong);
  const Conditioning some = c.select(index);
  for (const auto& [name, rows] : c) {
    CAPTURE(name);
    CHECK(at::equal(some[name], rows.index_select(0, index)));
    CHECK(at::equal(c.first(1)[name], rows.narrow(0, 0, 1)));
    CHECK(at::equal(Conditioning::cat(c.first(1), c.select(at::tensor({1, 2}, at::kLong)))[name], rows));
  }
  CHECK_THROWS_AS(Conditioning::cat(c, c.with("labels", {})), Error);
}

TEST_CASE("an input that is not given is undefined, and an undefined one is taken away") {
  Conditioning c = example();
  CHECK(!c["nothing"].defined());
  c.set(inputs::labels, {});
  CHECK(!c.has(inputs::labels));
  CHECK(c.has("prompt_embeds"));
  CHECK(Conditioning({{inputs::labels, Tensor()}}).empty());
}

TEST_CASE("without condition every input is its null value, for the rows that are dropped alone") {
  const Conditioning c = example();
  const Conditioning none = without_condition(c, all);
  CHECK(at::equal(none["labels"], at::full({3}, 10, at::kLong)));
  CHECK(at::equal(none["prompt_embeds"], at::full({3, 4, 2}, 0.5, at::kDouble)));
  CHECK(!none["attention_mask"].any().item<bool>());
  const Conditioning some = without_condition(c, all, at::tensor({0, 1, 0}, at::kLong).to(at::kBool));
  CHECK(at::equal(some["labels"], at::tensor({0, 10, 2}, at::kLong)));
  CHECK(at::equal(some["prompt_embeds"][0], c["prompt_embeds"][0]));
  CHECK(most(some["prompt_embeds"][1] - 0.5) == 0);
  // A guidance weight is no condition that could be dropped.
  const Conditioning guided = c.with(inputs::guidance, times({1, 2, 3}));
  CHECK(at::equal(without_condition(guided, {guidance_input()})[inputs::guidance], times({1, 2, 3})));
}

TEST_CASE("a checkpoint tells what its network was built for") {
  const ModelSpec spec{{3, 8, 8}, all};
  Checkpoint checkpoint;
  write_spec(spec, checkpoint.config["model"]);
  CHECK(checkpoint.spec() == spec);
  // Checkpoints of before inputs had names.
  Checkpoint old;
  old.config["model"] = parse_toml("shape = [2]\nclasses = 3\nguided = true", "old.toml");
  CHECK(old.spec().classes() == 3);
  CHECK(old.spec().has(inputs::guidance));
}
