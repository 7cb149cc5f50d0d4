#include "train/loss_scale.h"

#include "support/support.h"

using namespace retort;

TEST_CASE("the factor halves at a step that is not finite and doubles after 2,000 that are") {
  LossScale scale(65536);
  CHECK(scale.is_on());
  CHECK_FALSE(scale.accept(false));
  CHECK(scale.factor() == 32768);
  for (int i = 0; i < 1999; ++i) {
    CHECK(scale.accept(true));
  }
  CHECK(scale.factor() == 32768);
  LossScale resumed(65536);
  resumed.restore(scale.factor(), scale.good_steps());
  CHECK(resumed.accept(true));
  CHECK(resumed.factor() == 65536);
  CHECK_THROWS_WITH_AS(
      [&] {
        while (true) {
          resumed.accept(false);
        }
      }(),
      "the gradient is not finite", Error);
}

TEST_CASE("without scaling nothing changes, and a broken gradient is an error at once") {
  LossScale none(1);
  CHECK_FALSE(none.is_on());
  for (int i = 0; i < 3000; ++i) {
    CHECK(none.accept(true));
  }
  CHECK(none.factor() == 1);
  CHECK_THROWS_AS(none.accept(false), Error);
}
