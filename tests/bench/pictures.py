#!/usr/bin/env python3
"""Times a data set of pictures as people have them: from `[dataset] folder = ...` to the first training step, and the
training of a U-Net on pictures that are kept in memory against pictures that are decoded for each batch. Standard
library only. Nothing passes or fails here.

  tests/bench/pictures.py build/release/bin/retort
  tests/bench/pictures.py build/release/bin/retort --folder MY_PICTURES --rounds 5

Without --folder the pictures are those of Debian's fonts-noto-color-emoji (PNG of 136 x 128 pixels, most with a palette
and transparency), taken out of the font's file as they are, mixed with the JPEG files of tests/fixtures/pictures.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CONFIG = """[backend]
type = "auto"
[process]
type = "ve"
[dataset]
type = "image_folder"
folder = "{folder}"
size = 32
resize = "fit"
background = "white"
memory = {memory}
[network]
type = "unet"
patch = 2
widths = [32, 64]
blocks = 1
attention = [1]
[student]
parametrisation = "edm"
[loss]
type = "denoising"
[solver]
type = "heun"
[schedule]
type = "karras"
steps = 8
[train]
steps = {steps}
batch = 64
log_every = 1
[evaluate]
samples = 8
metrics = []
"""


def extract(font, folder):
    """The PNG files within a font of colour bitmaps, and JPEG files beside them."""
    data, at, count = pathlib.Path(font).read_bytes(), 0, 0
    begin, end = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
    while (at := data.find(begin, at)) >= 0:
        to = data.index(end, at) + len(end)
        (folder / f"{count:05}.png").write_bytes(data[at:to])
        at, count = to, count + 1
    jpegs = sorted((ROOT / "tests/fixtures/pictures").glob("jpeg_*.jpg"))
    for i in range(count // 20):
        shutil.copy(jpegs[i % len(jpegs)], folder / f"photo_{i:05}.JPG")
    return count, count // 20


def run(program, folder, place, memory, steps):
    """Seconds to the first line of metrics.jsonl, and seconds of each step after the tenth."""
    config, out = place / "c.toml", place / "out"
    shutil.rmtree(out, ignore_errors=True)
    config.write_text(CONFIG.format(folder=folder, memory=memory, steps=steps))
    began = time.monotonic()
    process = subprocess.Popen([program, "train", config, f"run.output={out}", f"run.cache={place}/cache"], text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    metrics, first = out / "metrics.jsonl", None
    while process.poll() is None:
        if first is None and metrics.exists() and metrics.stat().st_size > 0:
            first = time.monotonic() - began
        time.sleep(0.01)
    if process.returncode != 0:
        raise SystemExit(process.stderr.read())
    seconds = [json.loads(line)["seconds"] for line in metrics.read_text().splitlines()]
    each = [b - a for a, b in zip(seconds[9:], seconds[10:])]
    return first, statistics.median(each), process.stderr.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        folder = pathlib.Path(args.folder).resolve() if args.folder else place / "pictures"
        if not args.folder:
            folder.mkdir()
            png, jpeg = extract(FONT, folder)
            print(f"{png} PNG and {jpeg} JPEG files")
        kept, asked = [], []
        for _ in range(args.rounds):  # in turns
            kept.append(run(args.program, folder, place, 2.0, args.steps))
            asked.append(run(args.program, folder, place, 0.0, args.steps))
        for name, runs in (("kept in memory", kept), ("decoded for each batch", asked)):
            first, step = (statistics.median(r[i] for r in runs) for i in (0, 1))
            print(f"{name}: first training step after {first:.2f} s, then {step * 1e3:.1f} ms a step of 64")


if __name__ == "__main__":
    main()
