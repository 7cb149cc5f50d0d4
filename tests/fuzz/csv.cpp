// The reader of samples in CSV. The first byte says how many columns are expected.
#include "io/csv.h"

#include <cmath>
#include <sstream>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const int64_t columns = 1 + data[0] % 8;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  retort::one_line_or_fine([&] {
    const std::vector<double> numbers = retort::parse_csv(in, "x.csv", columns);
    if (numbers.size() % static_cast<size_t>(columns) != 0) {
      std::abort();
    }
    for (const double n : numbers) {
      if (!std::isfinite(n)) {
        std::abort();
      }
    }
  });
  return 0;
}
