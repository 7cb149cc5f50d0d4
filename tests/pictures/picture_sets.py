"""Folders of pictures as people have them, and the same in archives."""
import io
import shutil
import tarfile
import zipfile
import zlib

import numpy as np
from PIL import Image


def write(sets, noise, save):
    """`noise` gives integers of a shape, `save` the bytes of a picture in a format."""
    shutil.rmtree(sets, ignore_errors=True)
    root = sets / "plain"

    def put(path, picture=None, kind=None, **options):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = save(picture, kind, **options) if picture else b"no picture"
        (root / path).write_bytes(data)

    def colours(height=9, width=9):
        return Image.fromarray(noise(height, width, 3).astype(np.uint8))

    put("ant/IMG_1.PNG", colours(), "PNG")
    put("ant/2.jpeg", colours(8, 12), "JPEG")
    put("ant/more/below/3.Tif", colours(11, 7), "TIFF")
    put("ant/.DS_Store")
    put("bee/1.gif", colours().quantize(16), "GIF")
    put("bee/2.bmp", colours(), "BMP")
    put("bee/3.webp", colours(), "WEBP", lossless=True)
    put("bee/4.png", Image.fromarray(noise(9, 9, 4).astype(np.uint8)), "PNG")
    put("bee/.ipynb_checkpoints/1-checkpoint.png", colours(), "PNG")
    put("bee/labels.txt")
    put("__MACOSX/ant/._IMG_1.PNG")
    put("beside.png", colours(), "PNG")
    files = sorted(path for path in root.rglob("*") if path.is_file())

    def entry(info):
        info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
        return info

    with zipfile.ZipFile(sets / "plain.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            info = zipfile.ZipInfo(str(path.relative_to(root)))
            info.compress_type = zipfile.ZIP_DEFLATED if path.suffix == ".bmp" else zipfile.ZIP_STORED
            archive.writestr(info, path.read_bytes())
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        archive.add(root, "./around", filter=entry)
    (sets / "plain.tar").write_bytes(plain.getvalue())
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    (sets / "plain.tgz").write_bytes(packed.compress(plain.getvalue()) + packed.flush())
