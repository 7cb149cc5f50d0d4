/// Samples with captions in place of labels, as text-to-image models are given: pictures with their texts, or another
/// data set's samples.
///
/// With `folder`, pictures are read as `image_folder` reads them, with its keys; sub-folders are classes only if labels
/// are asked for. Their captions stand in a metadata.jsonl, of a line {"file_name": "a/b.png", "text": "…"} for each
/// (Hugging Face's imagefolder), or beside each picture, in NAME.txt or NAME.json, in folders as in archives: so a tar
/// of webdataset's pairs is read as it is. What is there is found; metadata.jsonl comes first. Pictures without a
/// caption are left out, and counted. A line that is damaged, or of a picture that is not there, is an error, or passed
/// over with `damaged` = "skip".
///
/// With `dataset`, captions are a template filled with the name of the sample's class, or lines of a file: plain text
/// with a caption on each line, in the samples' order, or JSON lines (.jsonl) of {"index": 0, "text": "…"}. Each split
/// has its own file.
///
/// A fixed encoder makes of each word `width` numbers, standard normal and the same wherever the word stands, and pads
/// with zeros to `length` tokens. It gives `prompt_embeds` [length, width], `attention_mask` [length], false for
/// padding, and `pooled_prompt_embeds` [width], the mean over the words. Words are what blanks part, in small letters,
/// without marks at their ends; those beyond `length` are left out, and a run says so.
///
/// In place of captions, `embeddings` may name a safetensors file of a real text encoder's numbers: `prompt_embeds` [N,
/// L, D], and, if there are any, `attention_mask` [N, L] and `pooled_prompt_embeds` [N, P]. With `folder`, the metadata
/// has `file_names`, a list in JSON of the N pictures. With `dataset`, names begin with "train." or "test.", and rows
/// have the samples' order. Pictures also have SDXL's `time_ids`: height and width, top and left of the crop, height
/// and width again. Where a row loses its conditions, all these numbers are 0. Source: Rombach et al. 2022 (arXiv
/// 2112.10752), section 3.3; Podell et al. 2023 (arXiv 2307.01952), section 2.2.
///
///     [dataset]
///     type = "captions"
///     folder = "photos"              # or `dataset = "fashion_mnist"` with `template = "a photo of a {class}"`
///     size = 32
///     length = 16
///     width = 32
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../shared/picture_folder.h"
#include "../shared/texts.h"

using namespace retort;

namespace {

constexpr const char* ids_input = "time_ids";
constexpr std::string_view class_mark = "{class}";

CaptionForm parse_form(const std::string& word) {
  return word == "files" ? CaptionForm::files : word == "metadata" ? CaptionForm::metadata : CaptionForm::automatic;
}

}  // namespace

class Captions final : public Dataset {
 public:
  explicit Captions(Params& p) {
    if (!p.given("folder")) {
      inner_ = p.plugin<Dataset>("dataset", "fashion_mnist", "whose samples get captions, where there is no `folder`");
    }
    with_labels_ = p.get("labels", false, "give the class labels too");
    const std::string form =
        p.choice("captions", "auto", {"auto", "files", "metadata", "template"},
                 "of `folder`. auto: what is there; files: NAME.txt or NAME.json beside each picture; metadata: "
                 "metadata.jsonl; template: `template`, with sub-folders as classes");
    CaptionReading reading{parse_form(form)};
    reading.text_keys = p.get("text_keys", reading.text_keys, "keys of JSON that may hold a caption; the first counts");
    reading.file_key = p.get("file_key", reading.file_key.c_str(), "key of metadata.jsonl that names the picture");
    Sources s;
    s.form = p.get("template", "a photo of a {class}", "the caption, with {class} for the class name");
    s.file = p.path("file", "", "captions of `dataset`'s training samples; empty: those of `template`");
    s.test_file = p.path("test_file", "", "captions of its test samples, where there is a `file`");
    s.embeddings = p.path("embeddings", "", "safetensors file of embeddings in the captions' place; empty: none");
    const int64_t length = p.get("length", 8, "tokens of a caption", between(1, 4096));
    const int64_t width = p.get("width", 32, "numbers of a token", between(1, 65536));
    const bool letters =
        p.get("letters", false, "give captions too as they are: `caption`, bytes of UTF-8 with 0 behind");
    PictureKeys keys(p, with_labels_ || form == "template");
    if (p.is_describing()) {
      return;
    }
    check(p, s, reading, form);
    if (p.given("folder")) {
      if (s.embeddings.empty() && form != "template") {
        keys.reading.captions = reading;
      }
      folder_ = std::make_shared<PictureFolder>(p, keys);
      inner_ = folder_;
    }
    if (!s.embeddings.empty()) {
      texts_ = folder_ ? std::make_unique<EmbeddedTexts>(s.embeddings, folder_->store().paths())
                       : std::make_unique<EmbeddedTexts>(s.embeddings, inner_->size(Split::train),
                                                         inner_->size(Split::test));
      return;
    }
    const std::vector<Captioned> sets = keys.reading.captions ? of_folder() : of_samples(p, s);
    texts_ = std::make_unique<WordTexts>(sets, length, width);
    if (letters) {
      letters_.emplace(sets);
    }
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
    if (letters_) {
      out.push_back(letters_->input());
    }
    return out;
  }

  Batch batch(Split split, const Tensor& index) const override {
    // A folder says which pictures they are in the end: one that turns out to be damaged gives way to another.
    const auto [inner, texts_of] =
        folder_ ? folder_->read(split, index) : std::pair(inner_->batch(split, index), index);
    const size_t set = folder_ || split == Split::train ? 0 : 1;
    Batch out{inner.x, {}};
    if (classes() > 0) {
      out.condition.set(inputs::labels, inner.condition[inputs::labels]);
    }
    texts_->add(set, texts_of, out.condition);
    if (letters_) {
      out.condition.set(letters_->input().name, letters_->rows(set, texts_of));
    }
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
  struct Sources {
    std::string form, file, test_file, embeddings;
  };

  static void check(const Params& p, const Sources& s, const CaptionReading& reading, const std::string& form) {
    if (!s.embeddings.empty() && !s.file.empty()) {
      throw p.error("embeddings",
                    "stand in place of captions, and there is a `file` of these; expected one of the two");
    }
    if (!s.embeddings.empty() && p.given("letters")) {
      throw p.error("letters", "are those of captions, and `embeddings` stand in their place; expected one of the two");
    }
    if (s.file.empty() != s.test_file.empty()) {
      throw p.error(s.file.empty() ? "file" : "test_file", "missing; both splits need a file of captions, or none");
    }
    if (reading.text_keys.empty()) {
      throw p.error("text_keys", "is empty; expected a key or more");
    }
    if (p.given("folder")) {
      for (const char* key : {"dataset", "file"}) {
        if (p.given(key)) {
          throw p.error(key, "stands beside `folder`, whose pictures have captions of their own; expected one of them");
        }
      }
      return;
    }
    if (parse_form(form) != CaptionForm::automatic) {
      throw p.error("captions", "\"" + form + "\" is for pictures; expected `folder` in place of `dataset`");
    }
    if (const std::string key = PictureKeys::given(p); !key.empty()) {
      throw p.error(key, "says how pictures of a `folder` are read, and there is none; expected a `folder`");
    }
  }

  std::vector<Captioned> of_folder() const {
    return {{folder_->store().captions(), at::arange(folder_->store().size(), at::kLong)}};
  }

  std::vector<Captioned> of_samples(const Params& p, const Sources& s) const {
    if (!s.file.empty()) {
      return {from_file(s.file, inner_->size(Split::train), "training samples"),
              from_file(s.test_file, inner_->size(Split::test), "test samples")};
    }
    const std::vector<std::string> filled = fill(p, s.form);
    if (folder_) {
      return {
          {filled, filled.size() > 1 ? folder_->store().labels() : at::zeros({folder_->store().size()}, at::kLong)}};
    }
    return {from_classes(filled, Split::train), from_classes(filled, Split::test)};
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
  std::shared_ptr<PictureFolder> folder_;  // the same, where it is one of pictures
  bool with_labels_ = false;
  std::unique_ptr<Texts> texts_;
  std::optional<Letters> letters_;
};

RETORT_PLUGIN(Captions, dataset, captions)
