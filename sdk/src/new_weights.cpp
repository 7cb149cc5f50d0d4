#include "retort/new_weights.h"

namespace retort {

namespace {
thread_local bool meta = false;
}

NewWeights::OnMeta::OnMeta() : before_(meta) { meta = true; }
NewWeights::OnMeta::~OnMeta() { meta = before_; }
bool NewWeights::on_meta() { return meta; }

}  // namespace retort
