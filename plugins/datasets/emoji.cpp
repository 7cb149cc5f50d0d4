/// Emoji and their names: some 3,600 small colour pictures with captions such as "woman firefighter: medium-dark skin
/// tone", from files that Debian has.
///
/// The pictures are those of a colour font with bitmaps (Noto Color Emoji, 136 x 128, SIL Open Font License), put on
/// white and resized by areas to a square. The names are those of Unicode's emoji-test.txt. Packages
/// fonts-noto-color-emoji and unicode-data. By default x = 2 pixel - 1.
///
/// Combinations are held out, whose parts are all trained on: `test` = "unseen". Of every third person or gesture that
/// has skin tones, one tone; of every couple of two tones, a quarter of the pairs; of every eighth role of man and
/// woman, one of the two, in all tones; of every second colour, the heart, the circle or the square. Each word of their
/// names is in training, too, and the rule looks at names alone.
///
/// `conditions` says what describes a picture. `prompt_embeds`, `attention_mask` and `pooled_prompt_embeds` are, as in
/// `captions`, of each word some fixed random numbers and their mean; or what `text_encoder` makes of the words, a
/// checkpoint that the loss `contrastive` trained, or the configuration that trains it; or rows of a file. `time_ids`
/// are SDXL's. `input_ids` are numbers of words, for training such an encoder: a word's place, from 1, among all words
/// of all names in the order of their bytes, and 0 behind the last. `caption` is the name, in bytes of UTF-8.
///
///     [dataset]
///     type = "emoji"
///     size = 32
///     conditions = ["prompt_embeds", "attention_mask"]
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../shared/debian_files.h"
#include "../shared/emoji_font.h"
#include "../shared/emoji_names.h"
#include "../shared/text_tower.h"

using namespace retort;

namespace {

constexpr const char *sizes_input = "time_ids", *caption_input = "caption";

// Every word of the names, with its number.
std::map<std::string, int64_t> numbered_words(const std::vector<Emoji>& all) {
  std::map<std::string, int64_t> out;
  for (const Emoji& emoji : all) {
    for (const std::string& word : words_of(emoji.name)) {
      out.emplace(word, 0);
    }
  }
  int64_t number = 0;
  for (auto& [word, is] : out) {
    is = ++number;
  }
  return out;
}

Tensor rows_of(const std::set<int64_t>& places) {
  return at::tensor(std::vector<int64_t>(places.begin(), places.end()), at::kLong);
}

}  // namespace

class EmojiPictures final : public Dataset {
 public:
  explicit EmojiPictures(Params& p)
      : size_(p.get("size", 64, "side of the pictures", between(8, 136))),
        mean_(p.get("mean", 0.5, "subtracted from values in [0, 1]")),
        std_(p.get("std", 0.5, "what the rest is divided by", more_than(0))) {
    const std::string font = debian_file(
        p.path("font", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", "a colour font that holds bitmaps (CBDT)"));
    const std::string names = debian_file(
        p.path("names", "/usr/share/unicode/emoji/emoji-test.txt", "Unicode's list of emoji and their names"));
    const double version =
        p.get("version", 15.0, "of Unicode's emoji: what was added later is left out, so that words keep their numbers",
              more_than(0));
    const std::vector<std::string> groups =
        p.get("groups", std::vector<std::string>{}, "of the list, such as \"Animals & Nature\"; empty: all");
    const std::string test =
        p.choice("test", "unseen", {"unseen", "seen", "both"},
                 "what is in the test split: the held-out combinations, what is trained on, or both");
    given_ = p.get("conditions", std::vector<std::string>{prompt_input, mask_input, pooled_input},
                   "what describes a picture: prompt_embeds, attention_mask, pooled_prompt_embeds, time_ids, "
                   "input_ids, caption; empty: nothing");
    length_ = p.get("length", 12, "words of a caption; the longest name has 11", between(1, 4096));
    const int64_t width = p.get("width", 32, "numbers of a word, where there is no `text_encoder`", between(1, 65536));
    const std::string encoder = p.path("text_encoder", "", "checkpoint of a text encoder; empty: none");
    const std::string embeddings =
        p.path("embeddings", "",
               "safetensors file of a text encoder's numbers, with `file_names`, the list of names, in its metadata; "
               "empty: none");
    check_conditions(p);
    if (!encoder.empty() && !embeddings.empty()) {
      throw p.error("embeddings", "stand beside `text_encoder`; expected one of the two");
    }
    if (p.is_describing()) {
      return;
    }
    font_ = std::make_unique<EmojiFont>(font);
    read(p, EmojiFile(names, version).read(), groups);
    split(p, test);
    if (gives(prompt_input) || gives(mask_input) || gives(pooled_input)) {
      texts_ = make_texts(p, encoder, embeddings, width);
    }
    find_inputs(p);
  }

  std::vector<int64_t> shape() const override { return {3, size_, size_}; }
  int64_t size(Split split) const override { return index_[split == Split::train ? 0 : 1].size(0); }
  std::vector<Input> inputs() const override { return inputs_; }
  std::string notes() const override { return notes_; }
  Tensor pictures(const Tensor& x) const override { return (x.to(at::kFloat) * std_ + mean_).clamp(0, 1); }

  Batch batch(Split split, const Tensor& index) const override {
    const Tensor at = index_[split == Split::train ? 0 : 1].index_select(0, index);
    Batch out{(all_pictures().index_select(0, at).to(at::kFloat) / 255 - mean_) / std_, {}};
    Conditioning all;
    if (texts_) {
      texts_->add(0, at, all);
    }
    if (letters_) {
      all.set(caption_input, letters_->rows(0, at));
    }
    if (gives(ids_of_words)) {
      all.set(ids_of_words, ids_.index_select(0, at));
    }
    if (gives(sizes_input)) {
      const auto side = static_cast<float>(size_);
      all.set(sizes_input, at::tensor({side, side, 0.0F, 0.0F, side, side}).repeat({index.size(0), 1}));
    }
    for (const Input& input : inputs_) {
      out.condition.set(input.name, all[input.name]);
    }
    return out;
  }

 private:
  bool gives(const char* name) const { return std::find(given_.begin(), given_.end(), name) != given_.end(); }

  void check_conditions(const Params& p) const {
    const std::vector<std::string> known = {prompt_input, mask_input,   pooled_input,
                                            sizes_input,  ids_of_words, caption_input};
    for (const std::string& name : given_) {
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        throw p.error("conditions", "'" + name +
                                        "' describes no picture; expected prompt_embeds, attention_mask, "
                                        "pooled_prompt_embeds, time_ids, input_ids or caption" +
                                        did_you_mean(name, known));
      }
    }
  }

  // Keeps those of the groups that the font has a picture of.
  void read(const Params& p, std::vector<Emoji> all, const std::vector<std::string>& groups) {
    hold_out(all);
    words_ = numbered_words(all);
    std::vector<std::string> known;
    for (const Emoji& emoji : all) {
      if (known.empty() || known.back() != emoji.group) {
        known.push_back(emoji.group);
      }
    }
    for (const std::string& group : groups) {
      if (std::find(known.begin(), known.end(), group) == known.end()) {
        throw p.error("groups", "'" + group + "' is no group of the list" + did_you_mean(group, known));
      }
    }
    int64_t without = 0;
    std::string such;
    for (const Emoji& emoji : all) {
      if (!groups.empty() && std::find(groups.begin(), groups.end(), emoji.group) == groups.end()) {
        continue;
      }
      const auto glyph = font_->glyph(emoji.codes);
      if (!glyph) {
        such = without++ == 0 ? emoji.name : such;
        continue;
      }
      glyphs_.push_back(*glyph);
      names_.push_back(emoji.name);
      unseen_.push_back(emoji.unseen);
    }
    if (glyphs_.empty()) {
      throw p.error("font", "has no picture of any of the emoji; expected a font such as Debian's NotoColorEmoji.ttf");
    }
    if (without > 0) {
      notes_ = std::to_string(without) + " emoji left out that the font has no picture of, such as \"" + such + "\"";
    }
    ids_ = at::zeros({static_cast<int64_t>(names_.size()), length_}, at::kLong);
    for (size_t i = 0; i < names_.size(); ++i) {
      int64_t at = 0;
      for (const std::string& word : words_of(names_[i])) {
        if (at < length_) {
          ids_[static_cast<int64_t>(i)][at++] = words_.at(word);
        }
      }
    }
  }

  void split(const Params& p, const std::string& test) {
    std::set<int64_t> seen, unseen, all;
    for (size_t i = 0; i < unseen_.size(); ++i) {
      (unseen_[i] ? unseen : seen).insert(static_cast<int64_t>(i));
      all.insert(static_cast<int64_t>(i));
    }
    if (seen.empty() || (unseen.empty() && test == "unseen")) {
      throw p.error(seen.empty() ? "groups" : "test", seen.empty() ? "leave nothing to train on"
                                                                   : "\"unseen\" leaves nothing to test, as these "
                                                                     "groups hold no combinations; expected \"seen\"");
    }
    index_[0] = rows_of(seen);
    index_[1] = rows_of(test == "unseen" ? unseen : test == "seen" ? seen : all);
  }

  Captioned captioned() const { return {names_, at::arange(static_cast<int64_t>(names_.size()), at::kLong)}; }

  std::unique_ptr<Texts> make_texts(const Params& p, const std::string& encoder, const std::string& embeddings,
                                    int64_t width) const {
    if (!encoder.empty()) {
      return std::make_unique<EncodedTexts>(p, encoder, ids_, static_cast<int64_t>(words_.size()));
    }
    if (!embeddings.empty()) {
      return std::make_unique<EmbeddedTexts>(embeddings, names_);
    }
    return std::make_unique<WordTexts>(std::vector{captioned()}, length_, width);
  }

  // In the order in which they are known.
  void find_inputs(const Params& p) {
    if (texts_) {
      for (const Input& input : texts_->inputs()) {
        if (gives(input.name.c_str())) {
          inputs_.push_back(input);
        }
      }
      for (const char* name : {prompt_input, mask_input, pooled_input}) {
        if (gives(name) && !ModelSpec{{}, inputs_}.has(name)) {
          throw p.error("embeddings", "have no " + std::string(name) + ", which `conditions` asks for");
        }
      }
      if (const std::string notes = texts_->notes(); !notes.empty()) {
        notes_ += (notes_.empty() ? "" : "; ") + notes;
      }
    }
    if (gives(sizes_input)) {
      inputs_.push_back({.name = sizes_input, .shape = {6}});
    }
    if (gives(ids_of_words)) {
      inputs_.push_back({.name = ids_of_words, .shape = {length_}, .dtype = at::kLong});
    }
    if (gives(caption_input)) {
      letters_.emplace(std::vector{captioned()});
      inputs_.push_back(letters_->input());
    }
  }

  // [n, 3, size, size] bytes, drawn when they are first asked for.
  const Tensor& all_pictures() const {
    std::call_once(drawn_, [this] {
      const auto n = static_cast<int64_t>(glyphs_.size());
      Tensor all = at::empty({n, 3, size_, size_}, at::kByte);
      auto* out = all.mutable_data_ptr<uint8_t>();
      for (size_t i = 0; i < glyphs_.size(); ++i) {
        if (!font_->draw(glyphs_[i], size_, out + static_cast<int64_t>(i) * 3 * size_ * size_)) {
          throw RequestError("dataset.font: has a glyph without a colour bitmap for \"" + names_[i] +
                             "\"; expected a font such as Debian's NotoColorEmoji.ttf");
        }
      }
      pictures_ = all;
    });
    return pictures_;
  }

  int64_t size_, length_ = 0;
  double mean_, std_;
  std::vector<std::string> given_;
  std::unique_ptr<EmojiFont> font_;
  std::vector<uint32_t> glyphs_;
  std::vector<std::string> names_;
  std::vector<bool> unseen_;
  std::map<std::string, int64_t> words_;
  Tensor ids_;       // [n, length] int64
  Tensor index_[2];  // which are in the training and the test split
  std::unique_ptr<Texts> texts_;
  std::optional<Letters> letters_;
  std::vector<Input> inputs_;
  std::string notes_;
  mutable std::once_flag drawn_;
  mutable Tensor pictures_;
};

RETORT_PLUGIN(EmojiPictures, dataset, emoji)
