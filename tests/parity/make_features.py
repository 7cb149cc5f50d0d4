#!/usr/bin/env python3
"""Makes features.json and ../fixtures/features/: encoders of tiny random networks, and what other packages measure in their features.

    pip install torch transformers safetensors scipy pillow prdc scikit-learn torchmetrics
    pip install --no-deps clean-fid pytorch-fid torch-fidelity
    python make_features.py

Pictures are prepared by clean-fid's own resizer (Pillow, or torch's interpolate), features are PyTorch's. FD is by pytorch-fid's formula, KID by
torchmetrics' and torch-fidelity's, precision, recall, density and coverage by prdc, CLIP score by torchmetrics on CLIPModel of transformers, the
aesthetic score by a module of the shape of LAION's. The encoders are written by sdk/python/export_features.py. Where two packages give one number,
the script stops unless they agree.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import zipfile
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures" / "features"
sys.path.insert(0, str(HERE.parent.parent / "sdk" / "python"))
import export_features  # noqa: E402
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model  # noqa: E402

if importlib.util.find_spec("torchvision") is None:  # some peers import it to read files, which is not asked for here
    for name in ("", ".transforms", ".transforms.functional", ".models", ".datasets"):
        stand_in = MagicMock()
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchvision" + name, None)
        sys.modules["torchvision" + name] = stand_in

from cleanfid.resize import make_resizer  # noqa: E402
from prdc import compute_prdc  # noqa: E402
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402
from torch_fidelity.metric_kid import mmd2  # noqa: E402
from torchmetrics.functional.multimodal.clip_score import _clip_score_update  # noqa: E402
from torchmetrics.image.kid import poly_mmd  # noqa: E402

COUNT, SIDE, NEIGHBOURS = 40, 10, 5


def prepare(pictures: np.ndarray, size: int, library: str, interpolation: str, mean: list, std: list) -> torch.Tensor:
    """pictures: [n, C, H, W] of bytes, as whole or other numbers. Returns what the encoder is given, [n, 3, size, size]."""
    resize = make_resizer(library, False, interpolation, (size, size))
    out = []
    for picture in pictures:
        rgb = np.repeat(picture, 3, 0) if len(picture) == 1 else picture
        out.append(resize(rgb.transpose(1, 2, 0).astype(np.float32)).transpose(2, 0, 1) / 255)
    shaped = torch.tensor(np.stack(out), dtype=torch.float32)
    return (shaped - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def prepared_cases(r: np.random.Generator) -> list[dict]:
    """Each way of resizing, smaller and larger, of grey and colour, quantised and not."""
    cases = []
    for library, interpolation, shape, size, quantise in [
        ("PIL", "bicubic", (3, 13, 11), 5, True),
        ("PIL", "bicubic", (1, 6, 9), 14, True),
        ("PIL", "bicubic", (3, 7, 12), 7, False),
        ("PIL", "bilinear", (3, 13, 11), 5, True),
        ("PIL", "bilinear", (3, 4, 5), 9, False),
        ("PIL", "nearest", (3, 13, 11), 5, True),
        ("PIL", "nearest", (1, 4, 5), 9, True),
        ("PyTorch", "bilinear", (3, 13, 11), 5, True),
        ("PyTorch", "bicubic", (3, 5, 4), 9, True),
    ]:
        values = r.uniform(-1.1, 1.1, size=(1, *shape)).astype(np.float32)
        scaled = (values.astype(np.float64) + 1) / 2 * 255
        bytes_ = np.clip(np.round(scaled), 0, 255) if quantise else scaled
        given = {"size": size, "interpolation": interpolation, "antialias": library == "PIL", "quantise": quantise}
        expected = prepare(bytes_, size, library, interpolation, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
        cases.append({"keys": given, "shape": list(shape), "x": values.ravel().tolist(), "expected": expected.flatten().tolist()})
    return cases


class Conv(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = torch.nn.Conv2d(8, 12, 3, stride=2, padding=1)
        for layer in (self.first, self.second):
            layer.weight.data *= 4  # as they begin, all pictures look alike

    def forward(self, x):
        return torch.relu(self.second(torch.nn.functional.silu(self.first(x)))).mean((2, 3))


class Flat(torch.nn.Module):
    """Shows what an encoder is given."""

    def forward(self, x):
        return x.flatten(1)


class Predictor(torch.nn.Module):
    """LAION's form, in small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 7, 6, 5, 4, 1]
        parts: list[torch.nn.Module] = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            parts += [torch.nn.Linear(a, b)] + ([torch.nn.Dropout(0.1)] if i < 3 else [])
        self.layers = torch.nn.Sequential(*parts)

    def forward(self, x):
        return self.layers(x)


def export(module: torch.nn.Module, size: int, name: str, **more) -> str:
    """By the script that users have; returns the TOML that it prints."""
    said = StringIO()
    with redirect_stdout(said):
        export_features.write(module, size, FIXTURES / name, **more)
    return said.getvalue().replace(str(FIXTURES) + "/", "")


def strip(path: Path) -> None:
    """Takes away where the source stood on the machine that wrote the file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist() if not name.endswith(".debug_pkl")}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name), content)


def features_of(module: torch.nn.Module, prepared: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(prepared).numpy().astype(np.float64)


def agree(name: str, one: float, other: float) -> float:
    if abs(one - other) > 1e-9 * max(1, abs(one)):
        raise SystemExit(f"{name}: {one} and {other}")
    return one


def measures(a: np.ndarray, b: np.ndarray) -> dict:
    fd = calculate_frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    kernel = lambda u, v: (u @ v.T / u.shape[1] + 1) ** 3  # noqa: E731
    kid = agree("kid", float(mmd2(kernel(a, a), kernel(a, b), kernel(b, b))), float(poly_mmd(torch.tensor(b), torch.tensor(a))))
    found = compute_prdc(real_features=b, fake_features=a, nearest_k=NEIGHBOURS)
    return {"fd": float(fd), "kid": kid, **{key: float(value) for key, value in found.items()}}


class Tensors:
    """CLIPModel as torchmetrics calls it: features are tensors, whatever the version of transformers gives."""

    def __init__(self, model: CLIPModel) -> None:
        self.model, self.config = model, model.config

    def to(self, device):
        return self

    def get_image_features(self, pixels):
        return export_features.Pictures(self.model)(pixels)

    def get_text_features(self, tokens, mask=None):
        return export_features.text_features(self.model, {"input_ids": tokens, "attention_mask": mask})


def clip_score(model: CLIPModel, prepared: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[n], by torchmetrics."""
    def processor(text=None, images=None, **_):
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        chosen = torch.stack([tokens[int(word)] for word in text])
        return {"input_ids": chosen, "attention_mask": torch.ones_like(chosen)}

    words = [str(i) for i in range(len(tokens))]
    score, count = _clip_score_update(list(prepared), words, Tensors(model), processor)
    assert count == len(prepared)
    return score.double()


def main() -> None:
    torch.manual_seed(2026)
    r = np.random.default_rng(2026)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    a = np.clip(r.normal(120, 50, size=(COUNT, 3, SIDE, SIDE)), 0, 255).astype(np.uint8)
    b = np.clip(r.normal(130, 45, size=(COUNT, 3, SIDE, SIDE)) + 20 * np.sin(np.arange(SIDE)), 0, 255).astype(np.uint8)
    save_file({"samples": torch.tensor(a), "reference": torch.tensor(b)}, FIXTURES / "pictures.safetensors")
    out: dict = {"prepared": prepared_cases(r)}
    torch.jit.script(Flat()).save(FIXTURES / "flat.pt")

    conv = Conv()
    out["conv"] = {"toml": export(conv, 16, "conv.pt")}
    none = ([0.0] * 3, [1.0] * 3)
    fa, fb = (features_of(conv, prepare(x, 16, "PIL", "bicubic", *none)) for x in (a, b))
    out["conv"].update({"features": fa[:3].tolist(), **measures(fa, fb)})
    np.savez_compressed(FIXTURES / "statistics.npz", mu=fb.mean(0), sigma=np.cov(fb, rowvar=False))
    np.savez(FIXTURES / "statistics_f4.npz", sigma=np.asfortranarray(np.cov(fb, rowvar=False).astype(np.float32)), mu=fb.mean(0).astype(np.float32))
    np.savez_compressed(FIXTURES / "plane.npz", mu=np.array([0.1, -0.2]), sigma=np.array([[1.0, 0.2], [0.2, 0.5]]))  # of two features
    broken = {
        "no_sigma": {"mu": np.zeros(3)},
        "shapes": {"mu": np.zeros(3), "sigma": np.eye(2)},
        "integers": {"mu": np.zeros(3, np.int64), "sigma": np.eye(3)},
        "asymmetric": {"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])},
        "infinite": {"mu": np.array([0.0, np.inf]), "sigma": np.eye(2)},
    }
    for name, arrays in broken.items():
        np.savez_compressed(FIXTURES / f"broken_{name}.npz", **arrays)

    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = CLIPModel(
        CLIPConfig(
            text_config={**small, "vocab_size": 50, "max_position_embeddings": 9, "bos_token_id": 0, "eos_token_id": 49},
            vision_config={**small, "image_size": 12, "patch_size": 4},
            projection_dim=8,
        )
    ).eval()
    with torch.no_grad():  # as they begin, all pictures look alike to it
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    tokens = torch.cat([torch.randint(1, 49, (COUNT, 6)), torch.full((COUNT, 1), 49)], 1)
    clip = export_features.Pictures(model)
    out["clip"] = {"toml": export(clip, 12, "clip.pt", mean_and_std=export_features.CLIP)}
    pa, pb = (prepare(x, 12, "PIL", "bicubic", *export_features.CLIP) for x in (a, b))
    ca, cb = features_of(clip, pa), features_of(clip, pb)
    texts = export_features.text_features(model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    save_file({"text_features": texts.contiguous()}, FIXTURES / "texts.safetensors")
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    scores = clip_score(model, pa, tokens).numpy()
    cosines = 100 * (unit(ca) * unit(texts.numpy().astype(np.float64))).sum(1)
    assert np.abs(scores - cosines).max() < 1e-4, np.abs(scores - cosines).max()
    out["clip"].update({"features": ca[:3].tolist(), "scores": scores.tolist(), **measures(ca, cb)})

    predictor = Predictor(8).eval()
    with torch.no_grad():
        rated = predictor(torch.tensor(unit(ca), dtype=torch.float32)).double().mean()
    save_file({name: tensor.contiguous() for name, tensor in predictor.state_dict().items()}, FIXTURES / "predictor.safetensors")
    with torch.no_grad():
        torch.jit.trace(predictor, torch.randn(2, 8)).save(FIXTURES / "predictor.pt")
    out["aesthetic"] = float(rated)

    dinov2 = export_features.ClassToken(Dinov2Model(Dinov2Config(image_size=12, patch_size=4, mlp_ratio=1, **{k: v for k, v in small.items() if k != "intermediate_size"})).eval())
    out["dinov2"] = {"toml": export(dinov2, 12, "dinov2.pt", mean_and_std=export_features.IMAGENET)}
    out["dinov2"]["features"] = features_of(dinov2, prepare(a, 12, "PIL", "bicubic", *export_features.IMAGENET))[:3].tolist()

    for path in FIXTURES.glob("*.pt"):
        strip(path)
    packages = {p: version(p) for p in ("torch", "transformers", "pillow", "clean-fid", "pytorch-fid", "torch-fidelity", "torchmetrics", "prdc", "scipy")}
    out = {"made_by": "tests/parity/make_features.py", "packages": packages, **out}
    (HERE / "features.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
