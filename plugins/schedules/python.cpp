/// A schedule in Python: a .py file with a class `Schedule`, or with a function times(process, progress).
///
/// It returns strictly falling times, a list or a tensor [N + 1]. The class may say `changes`, where its grid depends
/// on `progress`, and draw(self, intervals, uniform), which returns the index of an interval, 0 to intervals - 1, for
/// each of the numbers `uniform`: [B] in [0, 1).
///
///     [schedule]
///     type = "python"
///     file = "my_schedule.py"
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonSchedule final : public Schedule {
 public:
  explicit PythonSchedule(Params& p) {
    python::Object object = python::from_file(p, "Schedule", "times");
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] { return std::make_shared<python::ObjectSchedule>(std::move(object)); });
    }
  }
  Tensor times(const Process& process, double progress) const override { return made_->times(process, progress); }
  bool changes() const override { return made_ && made_->changes(); }
  Tensor draw(int64_t intervals, int64_t count, at::Generator generator) const override {
    return made_->draw(intervals, count, std::move(generator));
  }

 private:
  std::shared_ptr<python::ObjectSchedule> made_;
};

RETORT_PLUGIN(PythonSchedule, schedule, python)
