/// Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28 x 28, in ten classes.
///
/// By default x = (pixel - 0.286) / 0.706: zero mean and standard deviation 0.5, the sigma_data of EDM.
/// Source: Xiao, Rasul & Vollgraf 2017 (arXiv 1708.07747); Debian's package dataset-fashion-mnist.
///
///     [dataset]
///     type = "fashion_mnist"
///     pad = 2                        # 32 x 32; 0, the default, leaves 28 x 28
#include <retort/plugin.h>

#include "../shared/debian_files.h"
#include "../shared/idx.h"

using namespace retort;

class FashionMnist final : public IdxPictures {
 public:
  explicit FashionMnist(Params& p) : IdxPictures(p, 0.286, 0.706) {
    const std::string folder = debian_file(
        p.path("folder", "/usr/share/datasets/fashion-mnist", "holds the four idx files, with or without .gz"));
    if (p.is_describing()) {
      return;
    }
    if (!std::filesystem::is_directory(folder)) {
      throw p.error(
          "folder",
          folder + " is no folder; install Debian's dataset-fashion-mnist, or name a folder with its four idx files");
    }
    const auto file = [&](const std::string& name) {
      const std::string plain = folder + "/" + name;
      return std::filesystem::exists(plain) ? plain : plain + ".gz";
    };
    read(file("train-images-idx3-ubyte"), file("train-labels-idx1-ubyte"), file("t10k-images-idx3-ubyte"),
         file("t10k-labels-idx1-ubyte"));
  }

  std::vector<std::string> class_names() const override {
    return {"T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"};
  }
};

RETORT_PLUGIN(FashionMnist, dataset, fashion_mnist)
