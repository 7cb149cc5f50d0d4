#include <ATen/ATen.h>

#include "world.h"

namespace retort::conformance {

namespace {

// What is said without the samples is what comes with them.
void check_labels(const Dataset& data, Split split, const std::string& on, Findings& out) {
  const Tensor all = data.labels(split);
  if (data.classes() == 0) {
    out.add("labels alone" + on, !all.defined(), all.defined() ? spell_shape(all.sizes()) : "none",
            "none where there are no classes");
    return;
  }
  const int64_t size = data.size(split);
  bool same = all.defined() && all.scalar_type() == at::kLong && all.sizes() == at::IntArrayRef({size});
  const std::string shape = all.defined() ? spell_shape(all.sizes()) : "none";
  constexpr int64_t block = 256, most_blocks = 16;  // evenly over a large split, which may be read from disk
  const int64_t step = std::max(block, size / most_blocks);
  for (int64_t at = 0; same && at < size; at += step) {
    const Tensor index = at::arange(at, std::min(size, at + block), at::kLong);
    const Tensor labels = data.batch(split, index).condition[inputs::labels];
    same = labels.defined() && at::equal(labels, all.index_select(0, index));
  }
  out.add("labels alone" + on, same, same ? shape : shape + ", and differ from those of batches",
          spell_shape({size}) + " int64, as the batches have them");
}

void check_split(const Dataset& data, Split split, Findings& out) {
  const std::string on = split == Split::train ? " of train" : " of test";
  const int64_t size = data.size(split);
  out.add("size" + on, size >= 1, std::to_string(size), "1 or more");
  if (size < 1) {
    return;
  }
  const int64_t n = std::min<int64_t>(size, 64);
  const Tensor index = at::arange(n, at::kLong);
  Given given;
  const Batch batch = data.batch(split, given("index", index));
  given.check(out);
  std::vector<int64_t> shape = data.shape();
  shape.insert(shape.begin(), n);
  const bool shaped = batch.x.sizes() == at::IntArrayRef(shape);
  out.add("shape" + on, shaped && batch.x.scalar_type() == at::kFloat && batch.x.is_cpu() && all_finite(batch.x),
          spell_shape(batch.x.sizes()) + " " + c10::toString(batch.x.scalar_type()) +
              (all_finite(batch.x) ? ", finite" : ", not finite"),
          spell_shape(shape) + " Float on the CPU, finite");
  const Tensor pictures = data.pictures(batch.x);
  if (pictures.defined()) {
    const double low = pictures.min().item<double>(), high = pictures.max().item<double>();
    out.add("pictures" + on, low >= 0 && high <= 1, spell(low) + " to " + spell(high), "0 to 1");
    out.at_most("range" + on, largest(batch.x), 3, "greatest |x| of a picture");
  } else {
    out.add("range" + on, largest(batch.x) < 1e3,
            spell(batch.x.min().item<double>()) + " to " + spell(batch.x.max().item<double>()), "of order one");
  }
  if (data.classes() > 0) {
    const Tensor labels = batch.condition[inputs::labels];
    const bool good = labels.defined() && labels.scalar_type() == at::kLong && labels.size(0) == n &&
                      labels.min().item<int64_t>() >= 0 && labels.max().item<int64_t>() < data.classes();
    out.add("labels" + on, good,
            labels.defined()
                ? std::to_string(labels.min().item<int64_t>()) + " to " + std::to_string(labels.max().item<int64_t>())
                : "none",
            "int64, 0 to " + std::to_string(data.classes() - 1));
  }
  check_labels(data, split, on, out);
  for (const Input& input : data.inputs()) {
    const Tensor rows = batch.condition[input.name];
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), n);
    const bool good = rows.defined() && rows.sizes() == shape && rows.scalar_type() == input.dtype;
    out.add("input '" + input.name + "'" + on, good, rows.defined() ? spell_shape(rows.sizes()) : "none",
            spell_shape(shape) + ", of the type that inputs() says");
  }
  const bool same = same_bits(batch.x, data.batch(split, index).x);
  out.add("deterministic" + on, same, same ? "equal bits" : "differs", "equal bits for equal indices");
  const Batch turned = data.batch(split, index.flip({0}));
  const bool follows = same_bits(batch.x, turned.x.flip({0}));
  out.add("follows the indices" + on, follows, follows ? "any order" : "the order matters", "a sample per index");
  const Batch last = data.batch(split, at::tensor({size - 1, size - 1}, at::kLong));
  out.add("end of the epoch" + on, last.x.size(0) == 2 && same_bits(last.x[0], last.x[1]), spell_shape(last.x.sizes()),
          "the last sample, as often as it is asked for");
}

void check_beyond(const Dataset& data, Findings& out) {
  std::string what = "no error";
  try {
    data.batch(Split::train, at::full({1}, data.size(Split::train), at::kLong));
  } catch (const std::exception&) {
    what = "an error";
  }
  out.add("an index beyond the end", what == "an error", what, "an error");
}

}  // namespace

void check_dataset(const Subject& subject, Findings& out) {
  out.run("is built", [&] {
    World world(make_process("ve"), {}, subject.host);
    const auto data = world.build<Dataset>(subject);
    out.add("shape of a sample", !data->shape().empty(), spell_shape(data->shape()), "one dimension at least");
    const auto names = static_cast<int64_t>(data->class_names().size());
    out.add("classes", data->classes() >= 0 && (names == 0 || names == data->classes()),
            std::to_string(data->classes()) + " classes, " + std::to_string(names) + " names",
            "a name for each, or none");
    const std::string notes = data->notes();
    out.add("notes", notes.find('\n') == std::string::npos, notes.empty() ? "none" : notes, "one line, or none");
    check_split(*data, Split::train, out);
    check_split(*data, Split::test, out);
    check_beyond(*data, out);
  });
}

}  // namespace retort::conformance
