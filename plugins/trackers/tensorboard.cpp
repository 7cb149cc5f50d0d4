/// Event files of TensorBoard: `tensorboard --logdir runs` shows every training beneath.
///
/// Scalars, pictures and histograms come as the training goes on. What was measured at the end goes to a second file,
/// under "measured/…", and so do the hyperparameters: every key of the configuration, and the last numbers measured. A
/// training that goes on rewrites its file without the steps that come again, so no step is there twice. The time of an
/// event is that of its writing.
/// Source: github.com/tensorflow/tensorboard, docs; tensorflow/core/util/event.proto.
///
///     [track]
///     trackers = ["tensorboard"]
///     pictures_every = 100
#include <retort/plugin.h>
#include <retort/tracker.h>

#include <ATen/ATen.h>
#include <png.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <sstream>

#include "../shared/event_file.h"
#include "../shared/tracked_file.h"

using namespace retort;
using events::Message;
using events::Summary;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

double number(const Scalar& scalar) {
  return std::visit([](auto value) { return static_cast<double>(value); }, scalar.value);
}

// picture: [C, H, W] in [0, 1]
std::string png_of(const Tensor& picture) {
  const Tensor bytes = (picture.clamp(0, 1) * 255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(bytes.size(1));
  image.height = static_cast<png_uint_32>(bytes.size(0));
  image.format = bytes.size(2) == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  std::string out;
  if (png_image_write_to_memory(&image, nullptr, &size, 0, bytes.data_ptr(), 0, nullptr) != 0) {
    out.resize(size);
    if (png_image_write_to_memory(&image, out.data(), &size, 0, bytes.data_ptr(), 0, nullptr) != 0) {
      return out;
    }
  }
  throw Error(std::string("a picture cannot be encoded: ") + image.message);
}

// google.protobuf.Value{number_value = 2, string_value = 3, bool_value = 4}
Message hparam(const Value& value) {
  if (const auto* whole = std::get_if<int64_t>(&value.data)) {
    return Message().real(2, static_cast<double>(*whole));
  }
  if (const auto* real = std::get_if<double>(&value.data)) {
    return Message().real(2, *real);
  }
  if (const auto* yes = std::get_if<bool>(&value.data)) {
    return Message().number(4, *yes ? 1 : 0);
  }
  if (const auto* text = std::get_if<std::string>(&value.data)) {
    return Message().bytes(3, *text);
  }
  return Message().bytes(3, value.text());
}

// Every key under its dotted name: SessionStartInfo{hparams = 1, a map of key = 1 and value = 2}.
void add_hparams(const Value& table, const std::string& prefix, Message& out) {
  for (const auto& [key, value] : table.table()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_table()) {
      add_hparams(value, name, out);
    } else {
      out.message(1, Message().bytes(1, name).message(2, hparam(value)));
    }
  }
}

}  // namespace

class TensorBoard final : public Tracker {
 public:
  explicit TensorBoard(Params& p)
      : name_(file_name(p, "events.out.tfevents.retort", "tfevents")),
        buckets_(p.get("buckets", 30, "bars of a histogram", between(1, 1000))) {}

  void begin(const TrackedRun& run, int64_t from_step) override {
    file_ = run.folder / name_;
    measured_ = run.folder / (name_ + ".measured");
    config_ = run.config;
    std::string kept;
    if (from_step > 0) {
      std::ifstream in(file_, std::ios::binary);
      kept = events::records_until(std::string(std::istreambuf_iterator<char>(in), {}), from_step);
    }
    replace_file(file_, kept.empty() ? first_record() : kept);
  }

  void log(int64_t step, const Scalars& scalars) override {
    Message summary;
    for (const Scalar& s : scalars) {
      if (std::isfinite(number(s))) {
        summary.message(1, Summary::scalar(tag_of(s), number(s)));
      }
    }
    add(step, summary);
  }

  void pictures(int64_t step, const std::string& name, const Tensor& pictures) override {
    Message summary;
    for (int64_t i = 0; i < pictures.size(0); ++i) {
      const Tensor picture = pictures[i].to(at::kCPU, at::kFloat);
      summary.message(1, Summary::image(name + "/" + std::to_string(i), picture.size(1), picture.size(2),
                                        picture.size(0), png_of(picture)));
    }
    add(step, summary);
  }

  void histogram(int64_t step, const std::string& name, const Tensor& values) override {
    const Tensor x = values.to(at::kCPU, at::kDouble).flatten();
    if (x.numel() == 0 || !x.isfinite().all().item<bool>()) {
      return;
    }
    const double min = x.min().item<double>(), max = x.max().item<double>();
    const double width = (max > min ? max - min : std::max(1e-12, std::abs(min))) / static_cast<double>(buckets_);
    const Tensor place = ((x - min) / width).floor().clamp(0, static_cast<double>(buckets_ - 1)).to(at::kLong);
    const Tensor counts = at::bincount(place, {}, buckets_).to(at::kDouble);
    std::vector<double> limits, bars;
    for (int64_t i = 0; i < buckets_; ++i) {
      limits.push_back(min + width * static_cast<double>(i + 1));
      bars.push_back(counts[i].item<double>());
    }
    add(step,
        Message().message(1, Summary::histogram(name, min, max, static_cast<double>(x.numel()), x.sum().item<double>(),
                                                x.square().sum().item<double>(), limits, bars)));
  }

  void end(const std::vector<Measured>& measured) override {
    std::string file = first_record();
    for (const Measured& m : measured) {
      Message summary;
      for (const Scalar& s : m.scalars) {
        if (std::isfinite(number(s))) {
          summary.message(1, Summary::scalar("measured/" + tag_of(s), number(s)));
        }
      }
      file += events::record(events::event(now(), m.step).message(5, summary));
    }
    // HParamsPluginData{session_start_info = 3, session_end_info = 4 {status = 1: success}}
    Message start;
    add_hparams(config_, "", start);
    const Message begun = Message().message(3, start), ended = Message().message(4, Message().number(1, 1));
    for (const auto& [tag, content] :
         {std::pair("_hparams_/session_start_info", begun), std::pair("_hparams_/session_end_info", ended)}) {
      file += events::record(events::event(now(), 0).message(5, Message().message(1, Summary::hparams(tag, content))));
    }
    replace_file(measured_, file);
  }

 private:
  // The version by which readers know that steps may come in any order.
  static std::string first_record() { return events::record(Message().real(1, now()).bytes(3, "brain.Event:2")); }

  void add(int64_t step, const Message& summary) {
    append_to_file(file_, events::record(events::event(now(), step).message(5, summary)));
  }

  std::string name_;
  int64_t buckets_;
  std::filesystem::path file_, measured_;
  Value config_;
};

RETORT_PLUGIN(TensorBoard, tracker, tensorboard)
