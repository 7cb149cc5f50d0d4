/// Pictures in folders and archives as they are; sub-folders, if there are any, are the classes.
///
/// PNG, JPEG, WebP, TIFF, GIF and BMP are read, by endings in any letter case and then by their first bytes. `folder`
/// names a folder, a .zip, .tar, .tar.gz or .tgz, or a list of them, whose classes of one name become one. Below a
/// class folder all levels are read; links are followed; hidden entries and `__MACOSX` are passed over. In an archive,
/// one folder around everything is passed over too. A run says on one line what was left out.
///
/// x = (value - mean) / std. Values are those stored over their maximum, and floats as they are: no gamma and no colour
/// profile changes them. Those of 8 bits or less are what Pillow's `convert` gives, turned upright by EXIF. Grey is
/// (299 R + 587 G + 114 B) / 1000. Transparency is dropped as `convert` does it, so that the colours under it show, or
/// laid over `background`. Of animations and many pages, the first is read. Pictures may have 16,384 pixels a side, and
/// 2^27 in all.
///
/// With `size` = 0 all pictures must have one size. Resizing is antialiased and bicubic; 8-bit pictures stay 8-bit. One
/// in `test_every` pictures, in order of class and name, is kept for the test split. With `flip`, the training split
/// has each picture a second time, mirrored, behind all the others.
///
/// Pictures are decoded once, and shared by data sets that read the same, if all of them fit into `memory`. Otherwise
/// each batch is decoded by all threads as it is asked for, and as many pictures as fit are kept. A damaged picture is
/// an error, or left out. One whose head is sound, which is only met in a batch, is then replaced by the next one of
/// its class and split. Checksums are compared to the end of every file and archive.
///
///     [dataset]
///     type = "image_folder"
///     folder = "photos"              # or an archive, or a list
///     size = 32
///     flip = true
#include <retort/plugin.h>

#include "../shared/picture_folder.h"

using namespace retort;

class ImageFolder final : public PictureFolder {
 public:
  explicit ImageFolder(Params& p) : PictureFolder(p, PictureKeys(p)) {}
};

RETORT_PLUGIN(ImageFolder, dataset, image_folder)
