#!/usr/bin/env python3
"""Writes pictures of every kind, what they hold and how they are resized, by Pillow and NumPy; and a small data set.

  make_pictures.py tests/fixtures

Files of 8 bits or less are held against Pillow's exif_transpose and convert, deeper ones against the samples that were
written. The second is by arithmetic alone, as Pillow cuts deeper samples to 8 bits.
"""
import io
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image, ImageCms, ImageOps

import picture_sets
import raw

out = pathlib.Path(sys.argv[1]) / "pictures"
sets = pathlib.Path(sys.argv[1]) / "picture_sets"
rng = np.random.default_rng(20)
expected = {}
H, W = 9, 13


def noise(*shape, top=256):
    return rng.integers(0, top, shape, dtype=np.int64)


def smooth(height=17, width=23):
    """[H, W, 3] bytes with gentle slopes, so that lossy formats stay near."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)],
                    -1).astype(np.uint8)


def add(name, data):
    """A file that Pillow reads as it should be read."""
    (out / name).write_bytes(data)
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
        for kind, mode in (("rgb", "RGB"), ("grey", "L")):
            value = np.asarray(upright.convert(mode))
            expected[f"{name}/{kind}"] = value[None] if mode == "L" else value.transpose(2, 0, 1)


def add_deep(name, data, samples, maximum=1.0):
    """samples: [H, W, 1 or 3] as stored, upright."""
    (out / name).write_bytes(data)
    value = np.asarray(samples, np.float64).transpose(2, 0, 1) / maximum
    rgb = np.repeat(value, 3, 0) if len(value) == 1 else value
    grey = value if len(value) == 1 else ((299 * value[0] + 587 * value[1] + 114 * value[2]) / 1000)[None]
    expected[f"{name}/rgb"], expected[f"{name}/grey"] = rgb.astype(np.float32), grey.astype(np.float32)


def save(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def png_files():
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # the time of its making
    ancillary = {
        "gama": (b"gAMA", struct.pack(">I", 100000)),
        "srgb": (b"sRGB", b"\0"),
        "iccp": (b"iCCP", b"x\0\0" + zlib.compress(bytes(profile), 9)),
        "chrm": (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    }
    for bits in (1, 2, 4, 8):
        grey = noise(H, W, 1, top=1 << bits)
        add(f"png_grey{bits}.png", raw.png(grey, bits, 0))
        palette = noise(1 << bits, 3).astype(np.uint8)
        add(f"png_palette{bits}.png", raw.png(grey, bits, 3, [(b"PLTE", palette.tobytes())]))
    add("png_grey4_key.png", raw.png(noise(H, W, 1, top=16), 4, 0, [(b"tRNS", b"\0\3")]))
    add("png_grey8_alpha.png", raw.png(noise(H, W, 2), 8, 4))
    add("png_rgb8.png", raw.png(noise(H, W, 3), 8, 2))
    add("png_rgb8_key.png", raw.png(noise(H, W, 3, top=4), 8, 2, [(b"tRNS", b"\0\1\0\2\0\3")]))
    add("png_rgb8_interlaced.png", raw.png(noise(H, W, 3), 8, 2, interlace=True))
    add("png_grey1_interlaced.png", raw.png(noise(17, 23, 1, top=2), 1, 0, interlace=True))
    add("png_rgba8.png", raw.png(noise(H, W, 4), 8, 6))
    add("png_palette_alpha.png", raw.png(noise(H, W, 1, top=16), 4, 3, [
        (b"PLTE", noise(16, 3).astype(np.uint8).tobytes()), (b"tRNS", noise(9).astype(np.uint8).tobytes())]))
    add("png_palette_beyond.png", raw.png(noise(H, W, 1), 8, 3, [(b"PLTE", noise(200, 3).astype(np.uint8).tobytes())]))
    for name, part in ancillary.items():
        add(f"png_rgb8_{name}.png", raw.png(noise(H, W, 3), 8, 2, [part]))
    add("png_sbit.png", raw.png(noise(H, W, 3), 8, 2, [(b"sBIT", b"\5\6\5"), (b"bKGD", b"\0\1\0\2\0\3")]))
    add("png_rgba8_gama.png", raw.png(noise(H, W, 4), 8, 6, [ancillary["gama"], (b"bKGD", b"\0\1\0\2\0\3")]))
    for orientation in (1, 3, 6):
        add(f"png_exif{orientation}.png", raw.png(noise(5, 7, 3), 8, 2, [(b"eXIf", raw.exif(orientation))]))
    add("png_exif8_behind.png", raw.png(noise(5, 7, 2), 8, 4, behind=[(b"eXIf", raw.exif(8))]))

    def deep(name, samples, colour, before=(), interlace=False):
        colours = samples[:, :, :3] if colour & 2 else samples[:, :, :1]
        add_deep(name, raw.png(samples, 16, colour, before, interlace=interlace), colours, 65535)

    for name, part in ancillary.items():
        deep(f"png_grey16_{name}.png", noise(7, 5, 1, top=65536), 0, [part])
    deep("png_grey16.png", noise(7, 5, 1, top=65536), 0)
    deep("png_grey16_key.png", noise(7, 5, 1, top=65536), 0, [(b"tRNS", b"\1\2")])
    deep("png_grey16_alpha.png", noise(7, 5, 2, top=65536), 4, [ancillary["srgb"]])
    deep("png_rgb16.png", noise(7, 5, 3, top=65536), 2, [(b"sBIT", b"\x0a\x0a\x0a")])
    deep("png_rgb16_interlaced.png", noise(7, 5, 3, top=65536), 2, interlace=True)
    deep("png_rgba16.png", noise(7, 5, 4, top=65536), 6)


def jpeg_files():
    colours = Image.fromarray(smooth())
    add("jpeg_444.jpg", save(colours, "JPEG", quality=92, subsampling=0))
    add("jpeg_422.jpg", save(colours, "JPEG", quality=85, subsampling=1))
    add("jpeg_420.jpg", save(colours, "JPEG", quality=75, subsampling=2))
    add("jpeg_progressive.jpg", save(colours, "JPEG", quality=80, progressive=True))
    add("jpeg_grey.jpg", save(colours.convert("L"), "JPEG", quality=90))
    add("jpeg_cmyk.jpg", save(colours.convert("CMYK"), "JPEG", quality=90))
    add("jpeg_rgb.jpg", save(colours, "JPEG", quality=90, keep_rgb=True))
    small = Image.fromarray(smooth(9, 14))
    packet = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="5"></x:xmpmeta>'
    plain = save(small, "JPEG", quality=90)
    add("jpeg_xmp5.jpg", plain[:2] + b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet + plain[2:])
    for orientation in range(1, 9):
        add(f"jpeg_exif{orientation}.jpg", save(small, "JPEG", quality=90, exif=exif(orientation)))


def webp_files():
    colours = smooth()
    alpha = np.concatenate([colours, noise(17, 23, 1).astype(np.uint8)], -1)
    add("webp_lossy.webp", save(Image.fromarray(colours), "WEBP", quality=80))
    add("webp_lossless.webp", save(Image.fromarray(noise(H, W, 3).astype(np.uint8)), "WEBP", lossless=True))
    add("webp_alpha.webp", save(Image.fromarray(alpha), "WEBP", lossless=True, exact=True))
    add("webp_lossy_alpha.webp", save(Image.fromarray(alpha), "WEBP", quality=80))
    add("webp_exif6.webp", save(Image.fromarray(colours), "WEBP", lossless=True, exif=exif(6)))
    frames = [Image.fromarray(noise(H, W, 3).astype(np.uint8)) for _ in range(2)]
    add("webp_animated.webp", save(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:]))


def tiff_files():
    for bits in (1, 2, 4, 8):
        for name, photometric in (("", 1), ("_white", 0)):
            add(f"tiff_grey{bits}{name}.tif", raw.tiff(noise(H, W, 1, top=1 << bits), bits, photometric))
    palette = noise(256, 3, top=65536)
    add("tiff_palette8.tif", raw.tiff(noise(H, W, 1), 8, 3, palette=palette))
    add("tiff_palette4.tif", raw.tiff(noise(H, W, 1, top=16), 4, 3, palette=palette[:16]))
    add("tiff_rgb8_planar.tif", raw.tiff(noise(H, W, 3), 8, 2, planar=2))
    add("tiff_rgb8_tiled.tif", raw.tiff(noise(17, 23, 3), 8, 2, tile=16, order=">"))
    add("tiff_rgba8.tif", raw.tiff(noise(H, W, 4), 8, 2, extra=(2,)))
    add("tiff_rgba8_premultiplied.tif", raw.tiff(noise(H, W, 4), 8, 2, extra=(1,)))
    add("tiff_rgbx8.tif", raw.tiff(noise(H, W, 4), 8, 2, extra=(0,)))
    add("tiff_grey8_alpha.tif", raw.tiff(noise(H, W, 2), 8, 1, extra=(2,)))
    add("tiff_cmyk8.tif", raw.tiff(noise(H, W, 4), 8, 5))
    add("tiff_deflate.tif", raw.tiff(noise(H, W, 3), 8, 2, deflate=True))
    for orientation in range(1, 9):
        add(f"tiff_orientation{orientation}.tif", raw.tiff(noise(5, 7, 3), 8, 2, orientation=orientation))
    colours = Image.fromarray(smooth())
    for name, options in (("lzw", {"compression": "tiff_lzw"}), ("packbits", {"compression": "packbits"}),
                          ("predictor", {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}}),
                          ("jpeg", {"compression": "jpeg", "quality": 90})):
        add(f"tiff_{name}.tif", save(colours, "TIFF", **options))
    add("tiff_group4.tif", save(Image.fromarray(noise(17, 23, top=2).astype(bool)), "TIFF", compression="group4"))

    deep = ((12, 1, "<"), (16, 1, "<"), (16, 1, ">"), (32, 1, "<"), (10, 3, "<"), (16, 3, "<"), (16, 3, ">"))
    for bits, channels, order in deep:
        samples = noise(7, 5, channels, top=1 << bits)
        add_deep(f"tiff_{'rgb' if channels == 3 else 'grey'}{bits}{'_big' if order == '>' else ''}.tif",
                 raw.tiff(samples, bits, 2 if channels == 3 else 1, order=order), samples, (1 << bits) - 1)
    samples = noise(7, 5, 1, top=65536)
    add_deep("tiff_grey16_white.tif", raw.tiff(samples, 16, 0), 65535 - samples, 65535)
    samples = noise(7, 5, 3, top=65536)
    add_deep("tiff_rgb16_tiled.tif", raw.tiff(samples, 16, 2, tile=16, deflate=True), samples, 65535)
    add_deep("tiff_rgb16_planar.tif", raw.tiff(samples, 16, 2, planar=2, order=">"), samples, 65535)
    samples = noise(7, 5, 1, top=32768)
    add_deep("tiff_grey16_signed.tif", raw.tiff(samples, 16, 1, kind=2), samples, 32767)
    for bits in (16, 32, 64):
        samples = rng.random((7, 5, 1)).astype(f"f{bits // 8}")
        add_deep(f"tiff_grey_float{bits}.tif", raw.tiff(samples, bits, 1, kind=3), samples)
    samples = rng.random((7, 5, 3)).astype("f4")
    add_deep("tiff_rgb_float32_big.tif", raw.tiff(samples, 32, 2, kind=3, order=">"), samples)


def bmp_files():
    def palette(count):
        return np.concatenate([noise(count, 3), np.zeros((count, 1), int)], 1).astype(np.uint8).tobytes()

    for bits in (1, 4, 8):
        add(f"bmp_palette{bits}.bmp", raw.bmp(W, H, bits, raw.bmp_rows(noise(H, W, top=1 << bits), bits),
                                              palette(1 << bits)))
    black_white = b"\0\0\0\0\xff\xff\xff\0"
    add("bmp_grey1.bmp", raw.bmp(W, H, 1, raw.bmp_rows(noise(H, W, top=2), 1), black_white))
    add("bmp_20_colours.bmp", raw.bmp(W, H, 8, raw.bmp_rows(noise(H, W, top=20), 8), palette(20), colours=20))
    words = noise(H, W, top=65536)
    add("bmp_555.bmp", raw.bmp(W, H, 16, raw.bmp_rows(words, 16)))
    add("bmp_565.bmp", raw.bmp(W, H, 16, raw.bmp_rows(words, 16), compression=3, masks=(0xf800, 0x7e0, 0x1f)))
    add("bmp_rgb24.bmp", save(Image.fromarray(noise(H, W, 3).astype(np.uint8)), "BMP"))
    pixels = noise(H, W, top=1 << 32)
    add("bmp_rgb32.bmp", raw.bmp(W, H, 32, raw.bmp_rows(pixels, 32)))
    add("bmp_masks32.bmp", raw.bmp(W, H, 32, raw.bmp_rows(pixels, 32), compression=3,
                                   masks=(0xff000000, 0xff0000, 0xff00)))
    add("bmp_top_down.bmp", raw.bmp(W, -H, 24, raw.bmp_rows(noise(H, W, 3).astype(np.uint8).reshape(H, -1), 8)))
    rows = raw.bmp_rows(noise(H, W, top=16), 4)
    add("bmp_os2.bmp", raw.bmp(W, H, 4, rows, noise(16, 3).astype(np.uint8).tobytes(), core=True))
    # Runs, plain stretches with padding, a step over pixels, short lines, and an end.
    line8 = bytes([5, 7, 0, 3, 1, 2, 3, 0, 5, 9])
    runs8 = (line8 + b"\0\0" + bytes([4, 200, 0, 2, 3, 0, 6, 30]) + b"\0\0" + bytes([13, 5, 0, 0, 3, 8, 0, 0]) +
             (line8 + b"\0\0") * 3 + line8 + b"\0\1")
    add("bmp_rle8.bmp", raw.bmp(13, 8, 8, runs8, palette(256), compression=1))
    line4 = bytes([5, 0x37, 0, 5, 0x12, 0x34, 0x50, 0, 3, 0x9a])
    runs4 = line4 + b"\0\0" + bytes([6, 0xab, 7, 0x12]) + b"\0\0" + bytes([2, 0x44, 0, 0]) + (line4 + b"\0\0") * 3 + \
        line4 + b"\0\1"
    add("bmp_rle4.bmp", raw.bmp(13, 7, 4, runs4, palette(16), compression=2))


def gif_files():
    def indices(h=H, w=W):
        return noise(h, w, top=16).astype(np.uint8)

    palette, own = noise(16, 3), noise(16, 3)
    add("gif_plain.gif", raw.gif((W, H), [(indices(), 0, 0, None, None, False)], palette))
    add("gif_transparent.gif", raw.gif((W, H), [(indices(), 0, 0, 5, None, False)], palette))
    add("gif_interlaced.gif", raw.gif((W, H), [(indices(), 0, 0, None, None, True)], palette))
    add("gif_smaller.gif", raw.gif((W, H), [(indices(4, 6), 3, 2, None, None, False)], palette, background=7))
    add("gif_smaller_transparent.gif", raw.gif((W, H), [(indices(4, 6), 3, 2, 9, None, False)], palette))
    add("gif_larger.gif", raw.gif((6, 4), [(indices(), 2, 1, None, None, False)], palette))
    add("gif_local_palette.gif", raw.gif((W, H), [(indices(), 0, 0, None, own, False)], palette))
    add("gif_no_palette.gif", raw.gif((W, H), [(indices(), 0, 0, None, None, False)]))
    add("gif_animated.gif", raw.gif((W, H), [(indices(), 0, 0, None, None, False),
                                             (indices(4, 5), 1, 1, 3, own, True)], palette))
    add("gif_pillow.gif", save(Image.fromarray(smooth()).quantize(64), "GIF"))


def resized(picture, how, side):
    """[C, side, side] bytes: Pillow's resize, and what stands around it."""
    width, height = picture.size
    of = min(width, height) if how == "crop" else max(width, height)
    new = (side, side) if how == "stretch" else tuple(max(1, int(n * side / of + 0.5)) for n in picture.size)
    picture = picture.resize(new, Image.Resampling.BICUBIC)
    if how == "crop":
        left, top = ((n - side) // 2 for n in new)
        picture = picture.crop((left, top, left + side, top + side))
    elif how == "fit":
        frame = Image.new(picture.mode, (side, side))
        frame.paste(picture, tuple((side - n) // 2 for n in new))
        picture = frame
    return np.asarray(picture).transpose(2, 0, 1)


def resized_files():
    values = {}
    for name in ("png_grey1_interlaced.png", "tiff_rgb8_tiled.tif", "jpeg_exif6.jpg"):
        with Image.open(out / name) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        for how in ("crop", "fit", "stretch"):
            for side in (8, 20, 50):
                values[f"{name}/{how}/{side}"] = resized(upright, how, side)
    return values


def write_values(name, values):
    header, data = {"__metadata__": {"pillow": PIL.__version__, "numpy": np.__version__}}, b""
    # Floats first, so that every tensor begins at a multiple of its size.
    for key, value in sorted(values.items(), key=lambda item: -item[1].itemsize):
        value = np.ascontiguousarray(value)
        header[key] = {"dtype": {1: "U8", 4: "F32"}[value.itemsize], "shape": value.shape,
                       "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (out / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


out.mkdir(parents=True, exist_ok=True)
for old in out.iterdir():
    old.unlink()
for write in (png_files, jpeg_files, webp_files, tiff_files, bmp_files, gif_files):
    write()
write_values("expected.safetensors", expected)
write_values("resized.safetensors", resized_files())
picture_sets.write(sets, noise, save)
print(len(expected) // 2, "files,", sum(v.size for v in expected.values()), "values")
