/// Grey pictures in idx files (MNIST's format), plain or gzip-compressed, with labels or without.
///
///     [dataset]
///     type = "mnist_idx"
///     images = "train-images-idx3-ubyte.gz"
///     labels = "train-labels-idx1-ubyte.gz"
#include <retort/plugin.h>

#include "../shared/idx.h"

using namespace retort;

class MnistIdx final : public IdxPictures {
 public:
  explicit MnistIdx(Params& p) : IdxPictures(p, 0.5, 0.5) {
    const std::string images = p.path("images", "", "idx file of the training pictures");
    const std::string labels = p.path("labels", "", "idx file of their labels; empty: no labels");
    const std::string test_images =
        p.path("test_images", "", "idx file of the test pictures; empty: the training pictures");
    const std::string test_labels = p.path("test_labels", "", "idx file of their labels");
    if (p.is_describing()) {
      return;
    }
    if (images.empty()) {
      throw p.error("images", "missing; expected the path of an idx file");
    }
    if (!labels.empty() && !test_images.empty() && test_labels.empty()) {
      throw p.error("test_labels", "missing; the training pictures have labels, so the test pictures need them too");
    }
    if (!test_labels.empty() && test_images.empty()) {
      throw p.error("test_labels", "there are no pictures for them; expected test_images too");
    }
    if (!test_labels.empty() && labels.empty()) {
      throw p.error("test_labels", "the training pictures have no labels; expected labels too");
    }
    read(images, labels, test_images, test_labels);
  }
};

RETORT_PLUGIN(MnistIdx, dataset, mnist_idx)
