/// Pictures, points and loss curves of a run, as parts of its page.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"

namespace retort {

/// What the page reads only when it shows it: a list of JSON texts, which the page's data names by their places. A
/// page that grows beyond what a browser likes is of no use, so that after a limit parts are left out, and counted.
class Parts {
 public:
  /// The part's place, or null where there is no room for it.
  Json add(const Json& content);
  bool full() const { return size_ >= most; }
  int64_t left_out() const { return left_out_; }
  void leave_out() { ++left_out_; }
  /// As elements of the page.
  std::string html() const;

 private:
  static constexpr size_t most = size_t{64} << 20;  // bytes
  std::vector<std::string> parts_;
  size_t size_ = 0;
  int64_t left_out_ = 0;
};

/// The samples in a PNG or CSV file as {"picture": data URL} or {"points": [[x, y], …]}, null where there are none.
Json samples_in(const std::filesystem::path& file);

/// [[step, loss], …] of a metrics.jsonl, thinned to a few hundred points.
Json loss_curve(const std::filesystem::path& path);

}  // namespace retort
