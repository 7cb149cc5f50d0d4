"""Files that Pillow cannot write, from their bytes up: PNG, TIFF, BMP and GIF of any kind."""
import struct
import zlib

import numpy as np


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack(samples, bits):
    """[rows, n] integers as rows of bytes, the highest bit first; 16 and 32 bits big-endian."""
    samples = np.asarray(samples)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    ones = (samples.astype(np.uint64)[..., None] >> shifts & 1).astype(np.uint8)
    return np.packbits(ones.reshape(len(samples), -1), axis=1)


def png(samples, bits, colour, before=(), behind=(), interlace=False):
    """samples: [H, W, C] as stored. `before` and `behind` the pixels stand (kind, data) chunks."""
    height, width, _ = samples.shape
    if interlace:
        data = b""
        for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                               (0, 1, 1, 2)):
            part = samples[y0::dy, x0::dx]
            if part.size:
                data += b"".join(b"\0" + row.tobytes() for row in pack(part.reshape(len(part), -1), bits))
    else:
        data = b"".join(b"\0" + row.tobytes() for row in pack(samples.reshape(height, -1), bits))
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlace)))
    body += b"".join(chunk(*c) for c in before) + chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + body + b"".join(chunk(*c) for c in behind) + chunk(b"IEND", b"")


def exif(orientation):
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def tiff(samples, bits, photometric, kind=1, extra=(), palette=None, order="<", planar=1, tile=None, deflate=False,
         orientation=None, predictor=1):
    """samples: [H, W, C], integers as stored or floats; kind: 1 unsigned, 2 signed, 3 floating point."""
    height, width, count = samples.shape

    def part(block):  # [h, w, c] as bytes
        if kind == 3 or bits in (8, 16, 32):
            letter = {1: "u", 2: "i", 3: "f"}[kind] + str(bits // 8)
            return block.astype(order + letter).tobytes()
        return pack(block.reshape(len(block), -1), bits).tobytes()

    planes = [samples[:, :, c:c + 1] for c in range(count)] if planar == 2 else [samples]
    parts = []
    for plane in planes:
        if tile:
            for y in range(0, height, tile):
                for x in range(0, width, tile):
                    block = np.zeros((tile, tile, plane.shape[2]), plane.dtype)
                    piece = plane[y:y + tile, x:x + tile]
                    block[:piece.shape[0], :piece.shape[1]] = piece
                    parts.append(part(block))
        else:
            parts += [part(plane[y:y + 4]) for y in range(0, height, 4)]
    if deflate:
        parts = [zlib.compress(p, 9) for p in parts]
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * count), (259, 3, [8 if deflate else 1]),
            (262, 3, [photometric]), (277, 3, [count]), (284, 3, [planar]), (339, 3, [kind] * count)]
    if orientation:
        tags.append((274, 3, [orientation]))
    if extra:
        tags.append((338, 3, list(extra)))
    if palette is not None:
        tags.append((320, 3, list(np.asarray(palette).T.reshape(-1))))
    offsets, at = [], 8
    for p in parts:
        offsets.append(at)
        at += len(p)
    if tile:
        tags += [(322, 4, [tile]), (323, 4, [tile]), (324, 4, offsets), (325, 4, [len(p) for p in parts])]
    else:
        tags += [(273, 4, offsets), (278, 4, [4]), (279, 4, [len(p) for p in parts])]
    tags.sort()
    directory, values = at + at % 2, b""
    values_at = directory + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, type_, numbers in tags:
        data = struct.pack(order + ("H" if type_ == 3 else "I") * len(numbers), *(int(n) for n in numbers))
        if len(data) > 4:
            field = struct.pack(order + "I", values_at + len(values))
            values += data + b"\0" * (len(data) % 2)
        else:
            field = data.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, type_, len(numbers)) + field
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, directory)
    return (head + b"".join(parts) + b"\0" * (at % 2) + struct.pack(order + "H", len(tags)) + entries +
            struct.pack(order + "I", 0) + values)


def bmp(width, height, bits, data, palette=b"", compression=0, masks=(), core=False, colours=0):
    if core:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 2835, 2835, colours, 0)
        head += b"".join(struct.pack("<I", m) for m in masks)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + palette + data


def bmp_rows(samples, bits):
    """[H, W] indices or packed pixels as the rows of a BMP, the lowest first, padded to words of 4 bytes."""
    out = b""
    for row in samples[::-1]:
        data = pack(row[None], bits).tobytes() if bits <= 8 else row.astype("<u%d" % (bits // 8)).tobytes()
        out += data + b"\0" * (-len(data) % 4)
    return out


def lzw(indices, bits):
    """Codes of GIF without compression: a clear code before the width would grow."""
    clear, width = 1 << bits, bits + 1
    codes = []
    for i, index in enumerate(indices):
        if i % (clear - 2) == 0:
            codes.append(clear)
        codes.append(int(index))
    codes.append(clear + 1)
    value = sum(code << (width * i) for i, code in enumerate(codes))
    data = value.to_bytes((width * len(codes) + 7) // 8, "little")
    return bytes([bits]) + b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255]
                                    for i in range(0, len(data), 255)) + b"\0"


def gif(canvas, frames, palette=None, background=0):
    """frames: (indices [h, w], left, top, transparent or None, palette or None, interlaced)."""
    def table(colours):
        return np.asarray(colours, np.uint8).tobytes()

    def flags(colours):
        return 0x80 | (len(colours).bit_length() - 2) if colours is not None else 0

    out = b"GIF89a" + struct.pack("<HHBBB", *canvas, flags(palette), background, 0)
    out += table(palette) if palette is not None else b""
    for indices, left, top, transparent, own, interlaced in frames:
        if transparent is not None:
            out += b"!\xf9\x04" + struct.pack("<BHBB", 1, 10, transparent, 0)
        h, w = indices.shape
        out += b"," + struct.pack("<HHHHB", left, top, w, h, flags(own) | (0x40 if interlaced else 0))
        out += table(own) if own is not None else b""
        rows = list(range(0, h, 8)) + list(range(4, h, 8)) + list(range(2, h, 4)) + list(range(1, h, 2))
        out += lzw((indices[rows] if interlaced else indices).reshape(-1), 4)
    return out + b";"
