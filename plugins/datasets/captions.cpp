/// The samples of another data set, each with a caption in place of its label, as text-to-image models are given.
///
/// Captions are a template filled with the name of the sample's class, or lines of a file: plain text with a caption on
/// each line, in the samples' order, or JSON lines (.jsonl) of {"index": 0, "text": "…"}. Each split has its own file.
/// A fixed encoder makes of each word `width` numbers, standard normal and the same wherever the word stands, and pads
/// with zeros to `length` tokens. It gives `prompt_embeds` [length, width], `attention_mask` [length], false for
/// padding, and `pooled_prompt_embeds` [width], the mean over the words. Words are what blanks part, in small letters,
/// without marks at their ends; those beyond `length` are left out, and a run says so.
///
/// In place of captions, `embeddings` may name a safetensors file of a real text encoder's numbers:
/// `train.prompt_embeds` [N, L, D], `test.prompt_embeds`, and for both, if there are any, `attention_mask` [N, L] and
/// `pooled_prompt_embeds` [N, P]. Pictures also have SDXL's `time_ids`: height and width, top and left of the crop,
/// height and width again. Where a row loses its conditions, all these numbers are 0. Source: Rombach et al. 2022
/// (arXiv 2112.10752), section 3.3; Podell et al. 2023 (arXiv 2307.01952), section 2.2.
///
///     [dataset]
///     type = "captions"
///     dataset = "fashion_mnist"      # or a table, [dataset.dataset], with its own keys
///     template = "a photo of a {class}"
///     length = 8
///     width = 32
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/texts.h"

using namespace retort;

namespace {

constexpr const char* ids_input = "time_ids";
constexpr std::string_view class_mark = "{class}";

}  // namespace

class Captions final : public Dataset {
 public:
  explicit Captions(Params& p)
      : inner_(p.plugin<Dataset>("dataset", "fashion_mnist", "whose samples get captions")),
        with_labels_(p.get("labels", false, "give the class labels too")) {
    const std::string form = p.get("template", "a photo of a {class}", "the caption, with {class} for the class name");
    const std::string file = p.path("file", "", "captions of the training samples; empty: those of `template`");
    const std::string test_file = p.path("test_file", "", "captions of the test samples, where there is a `file`");
    const std::string embeddings =
        p.path("embeddings", "", "safetensors file of embeddings that take the captions' place; empty: none");
    const int64_t length = p.get("length", 8, "tokens of a caption", between(1, 4096));
    const int64_t width = p.get("width", 32, "numbers of a token", between(1, 65536));
    if (p.is_describing()) {
      return;
    }
    check(p, file, test_file, embeddings);
    const int64_t train = inner_->size(Split::train), test = inner_->size(Split::test);
    if (!embeddings.empty()) {
      texts_ = std::make_unique<EmbeddedTexts>(embeddings, train, test);
      return;
    }
    std::array<Captioned, 2> splits;
    if (!file.empty()) {
      splits = {from_file(file, train, "training samples"), from_file(test_file, test, "test samples")};
    } else {
      const std::vector<std::string> filled = fill(p, form);
      splits = {from_classes(filled, Split::train), from_classes(filled, Split::test)};
    }
    texts_ = std::make_unique<WordTexts>(splits, length, width);
  }

  std::vector<int64_t> shape() const override { return inner_->shape(); }
  int64_t classes() const override { return with_labels_ ? inner_->classes() : 0; }
  std::vector<std::string> class_names() const override {
    return with_labels_ ? inner_->class_names() : std::vector<std::string>{};
  }
  Tensor labels(Split split) const override { return with_labels_ ? inner_->labels(split) : Tensor(); }
  int64_t size(Split split) const override { return inner_->size(split); }
  Tensor pictures(const Tensor& x) const override { return inner_->pictures(x); }

  std::vector<Input> inputs() const override {
    std::vector<Input> out = label_inputs(classes());
    for (const Input& input : texts_->inputs()) {
      out.push_back(input);
    }
    if (shape().size() == 3) {
      out.push_back({.name = ids_input, .shape = {6}});
    }
    return out;
  }

  Batch batch(Split split, const Tensor& index) const override {
    const Batch inner = inner_->batch(split, index);
    Batch out{inner.x, {}};
    if (classes() > 0) {
      out.condition.set(inputs::labels, inner.condition[inputs::labels]);
    }
    texts_->add(split, index, out.condition);
    if (const std::vector<int64_t> is = shape(); is.size() == 3) {
      const auto high = static_cast<float>(is[1]), wide = static_cast<float>(is[2]);
      out.condition.set(ids_input, at::tensor({high, wide, 0.0F, 0.0F, high, wide}).repeat({index.size(0), 1}));
    }
    return out;
  }

  std::string notes() const override {
    const std::string inner = inner_->notes(), own = texts_->notes();
    return inner + (inner.empty() || own.empty() ? "" : "; ") + own;
  }

 private:
  static void check(const Params& p, const std::string& file, const std::string& test_file,
                    const std::string& embeddings) {
    if (!embeddings.empty() && !file.empty()) {
      throw p.error("embeddings",
                    "stand in place of captions, and there is a `file` of these; expected one of the two");
    }
    if (file.empty() != test_file.empty()) {
      throw p.error(file.empty() ? "file" : "test_file", "missing; both splits need a file of captions, or none");
    }
  }

  static Captioned from_file(const std::string& path, int64_t count, const std::string& whose) {
    return {CaptionFile(path, count, whose).read(), at::arange(count, at::kLong)};
  }

  Captioned from_classes(const std::vector<std::string>& texts, Split split) const {
    return {texts, texts.size() > 1 ? inner_->labels(split) : at::zeros({inner_->size(split)}, at::kLong)};
  }

  // The template for each class; once where it names none.
  std::vector<std::string> fill(const Params& p, const std::string& form) const {
    for (size_t at = form.find('{'); at != std::string::npos; at = form.find('{', at + 1)) {
      if (form.compare(at, class_mark.size(), class_mark) != 0) {
        throw p.error("template",
                      "'" + form.substr(at, form.find('}', at) - at + 1) + "' is unknown; expected {class}");
      }
    }
    if (form.find(class_mark) == std::string::npos) {
      return {form};
    }
    const std::vector<std::string> names = inner_->class_names();
    if (names.empty()) {
      throw p.error("template",
                    "the data set has no names of classes to fill in; expected a template without {class}, "
                    "or a `file` of captions");
    }
    std::vector<std::string> out;
    for (const std::string& name : names) {
      std::string text = form;
      for (size_t at = 0; (at = text.find(class_mark, at)) != std::string::npos; at += name.size()) {
        text.replace(at, class_mark.size(), name);
      }
      out.push_back(text);
    }
    return out;
  }

  std::shared_ptr<Dataset> inner_;
  bool with_labels_;
  std::unique_ptr<Texts> texts_;
};

RETORT_PLUGIN(Captions, dataset, captions)
