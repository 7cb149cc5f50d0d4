#!/usr/bin/env python3
"""Makes tests/fixtures/captions/ and captions.json: the texts that Hugging Face's datasets and webdataset give to pictures, for
tests/plugins/captions.cpp.

    pip install datasets==5.2.0 webdataset==1.0.2 pillow numpy
    python make_captions.py

imagefolder/ has a metadata.jsonl in its root and one in a sub-folder, pairs.tar has pictures with a .txt or a .json each. A picture
has one colour; its red says which it is. Retort leaves out blanks at the ends of a text, and has blanks for line breaks.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import datasets
import webdataset
from PIL import Image

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "fixtures" / "captions"
TEXTS = ["a red shoe", "zwei Äpfel, geschnitten", "  blanks around ", "“quotes” and \\ marks", "two\nlines", "日本語の説明"]


def png(red: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2), (red, 0, 255 - red)).save(out, "PNG")
    return out.getvalue()


def imagefolder() -> list[tuple[int, str]]:
    root = FOLDER / "imagefolder"
    lists: dict[Path, list[str]] = {root: [], root / "b": []}
    for i, text in enumerate(TEXTS):
        home = root / "b" if i % 3 == 2 else root
        name = Path("a") / f"{i}.png" if i % 3 == 1 else Path(f"{i}.png")
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(png(i))
        lists[home].append(json.dumps({"file_name": name.as_posix(), "text": text, "more": i}, ensure_ascii=i % 2 == 0))
    for home, lines in lists.items():
        (home / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    with tempfile.TemporaryDirectory() as cache:
        data = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=cache)
        return [(row["image"].getpixel((0, 0))[0], row["text"]) for row in data]


def pairs() -> list[tuple[int, str]]:
    path = FOLDER / "pairs.tar"
    with webdataset.TarWriter(str(path), mtime=0) as out:
        for i, text in enumerate(TEXTS):
            text_of = {"txt": text} if i % 2 == 0 else {"json": {"caption": text, "url": "u", "width": 2}}
            out.write({"__key__": f"part/{i:09d}", "png": png(i), **text_of})
    rows = []
    for sample in webdataset.WebDataset(str(path), shardshuffle=False).decode("pilrgb"):
        text = sample["txt"] if "txt" in sample else sample["json"]["caption"]
        rows.append((sample["png"].getpixel((0, 0))[0], text))
    return rows


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    out = {
        "made_by": {name: version(name) for name in ("datasets", "webdataset")},
        "imagefolder": sorted(imagefolder()),
        "pairs.tar": sorted(pairs()),
    }
    assert len(out["imagefolder"]) == len(out["pairs.tar"]) == len(TEXTS)
    (HERE / "captions.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
