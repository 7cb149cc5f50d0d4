#include "config/tables.h"

#include <algorithm>

#include "config/settings.h"
#include "retort/autoencoder.h"
#include "retort/backend.h"
#include "retort/dataset.h"
#include "retort/loss.h"
#include "retort/metric.h"
#include "retort/tracker.h"
#include "retort/model.h"
#include "retort/network.h"
#include "retort/params.h"
#include "retort/process.h"
#include "retort/schedule.h"
#include "retort/solver.h"
#include "retort/teacher.h"

namespace retort {

namespace {

constexpr Decides training = Decides::step_cost | Decides::trial;
constexpr Decides teachers = training | Decides::training_solves | Decides::teacher_samples;
constexpr Decides ode = teachers | Decides::solves | Decides::ode;

void declare_student(Params& p) {
  const StudentSettings settings(p);
  const Parametrisation form(p);
  const Boundary boundary(p, form);
}

const TableInfo list[] = {
    {"run", nullptr, true, Affects::training, Decides::nothing, "[run]: name, seed and place of the results.",
     [](Params& p) { RunSettings(p, "the file's name"); }},
    {"plugins", nullptr, true, Affects::nothing,  // the libraries themselves count, by their contents
     Decides::nothing, "[plugins]: which library to take where several hold a plugin of one kind and name.",
     [](Params& p) { const PluginSettings settings(p); }},
    {"backend", Backend::kind, true, Affects::training, ode | Decides::shards},
    {"process", nullptr, true, Affects::training, ode,
     "[process]: the forward process x_t = alpha(t) x_0 + sigma(t) n. A network teacher's checkpoint brings its own.",
     [](Params& p) { const Process made(p); }},
    {"dataset", Dataset::kind, false, Affects::training, teachers | Decides::ode | Decides::shards},
    {"autoencoder", Autoencoder::kind, false, Affects::training,  // which it is spared where data are latents already
     teachers | Decides::ode | Decides::shards},
    {"encode", nullptr, false, Affects::nothing, Decides::shards,
     "[encode]: the shards of latents that `retort encode` makes of the pictures of [dataset] with [autoencoder].",
     [](Params& p) { const EncodeSettings settings(p); }},
    {"teacher", Teacher::kind, true, Affects::training, ode},
    {"solver", Solver::kind, true, Affects::training, teachers | Decides::solves},
    {"schedule", Schedule::kind, true, Affects::training, teachers},
    {"loss", Loss::kind, false, Affects::training, training},
    {"student", nullptr, false, Affects::training, training, "[student]: the model that is trained, whatever the loss.",
     declare_student},
    {"network", Network::kind, false, Affects::training, training},
    {"train", nullptr, false, Affects::training, Decides::nothing, "[train]: the optimizer and its schedule.",
     [](Params& p) { const TrainSettings settings(p); }},
    {"evaluate", nullptr, false, Affects::evaluation, Decides::trial,
     "[evaluate]: what is sampled and measured, and when.", [](Params& p) { const EvaluateSettings settings(p); }},
    {"report", nullptr, false, Affects::presentation, Decides::nothing, "[report]: what the report shows.",
     [](Params& p) { const ReportSettings settings(p); }},
    {"metric", Metric::kind, false, Affects::evaluation, Decides::trial | Decides::teacher_samples | Decides::ode},
    {"track", nullptr, false, Affects::nothing, Decides::nothing,
     "[track]: where a training's numbers and pictures go while it runs.",
     [](Params& p) { const TrackSettings settings(p); }},
    {"tracker", Tracker::kind, false, Affects::nothing, Decides::nothing},
    {"sweep", nullptr, false, Affects::nothing, Decides::nothing},  // its values stand in each cell's own keys
};

}  // namespace

std::span<const TableInfo> tables() { return list; }

const TableInfo* find_table(const std::string& name) {
  const auto found = std::find_if(std::begin(list), std::end(list), [&](const TableInfo& t) { return name == t.name; });
  return found != std::end(list) ? found : nullptr;
}

}  // namespace retort
