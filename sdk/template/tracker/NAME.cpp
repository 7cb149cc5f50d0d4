/// A text file with a line for each number that is logged: step, name, value, with tabs between.
///
/// It stands in the folder of the training.
///
///     [track]
///     trackers = ["@name@"]
///
///     [tracker.@name@]
///     file = "numbers.tsv"
#include <retort/plugin.h>
#include <retort/tracker.h>

#include <fstream>

using namespace retort;

class @Name@ final : public Tracker {
 public:
  explicit @Name@(Params& p) : name_(p.get("file", "numbers.tsv", "its name, in the folder of the training")) {}

  // What was logged of steps beyond `from_step` comes again: it is forgotten.
  void begin(const TrackedRun& run, int64_t from_step) override {
    file_ = run.folder / name_;
    std::ifstream before(file_);
    std::string kept;
    for (std::string line; std::getline(before, line);) {
      if (!line.empty() && std::strtoll(line.c_str(), nullptr, 10) <= from_step && from_step > 0) {
        kept += line + "\n";
      }
    }
    std::ofstream(file_) << kept;
  }

  // Opened for each step, so that nothing is lost where the process is killed after it.
  void log(int64_t step, const Scalars& scalars) override {
    std::ofstream out(file_, std::ios::app);
    for (const Scalar& s : scalars) {
      out << step << '\t' << (s.group.empty() ? "" : s.group + "/") << s.name << '\t';
      std::visit([&](auto value) { out << value << '\n'; }, s.value);
    }
    if (!out.flush()) {
      throw Error(file_.string() + ": cannot be written");
    }
  }

 private:
  std::string name_;
  std::filesystem::path file_;
};

RETORT_PLUGIN(@Name@, tracker, @name@)
