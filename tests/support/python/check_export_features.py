"""Exports tiny random models of the classes that export_features.py knows, and holds the files against them.

python check_export_features.py SDK_PYTHON FOLDER
"""

import subprocess
import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

program, folder = Path(sys.argv[1]) / "export_features.py", Path(sys.argv[2])
small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def exported(*arguments):
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    (folder / "said.toml").open("a").write(done.stdout)
    return torch.jit.load(folder / "out.pt")


def check(name, one, other):
    apart = (one - other).abs().max().item()
    print(f"{name}: {apart:.1e}")
    assert one.shape == other.shape and apart < 1e-5, name


torch.manual_seed(0)
x = torch.randn(5, 3, 12, 12)
with torch.no_grad():
    text = {**small, "vocab_size": 20, "max_position_embeddings": 9}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config={**small, "image_size": 12, "patch_size": 4}, projection_dim=8)).eval()
    clip.save_pretrained(folder / "clip")
    wanted = clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)
    check("clip", exported("clip", "clip", "out.pt")(x), wanted)

    dinov2 = Dinov2Model(Dinov2Config(image_size=8, patch_size=4, mlp_ratio=1, **small)).eval()
    dinov2.save_pretrained(folder / "dinov2")
    wanted = dinov2(x).last_hidden_state[:, 0]
    check("dinov2", exported("dinov2", "dinov2", "out.pt", "--size", "12")(x), wanted)

    class Layers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1))

        def forward(self, x):
            return self.layers(x)

    torch.jit.script(Layers()).save(folder / "script.pt")
    layers = torch.jit.load(folder / "script.pt").layers
    pictures = torch.rand(2, 3, 299, 299)
    wanted = layers((pictures * 255 - 128) / 128).flatten(1)
    check("inception", exported("inception", "out.pt", "--script", "script.pt")(pictures), wanted)

    torch.save({"layers.0.weight": torch.randn(1, 8, dtype=torch.float16), "layers.0.bias": torch.randn(1)}, folder / "taste.pth")
    exported("aesthetic", "taste.pth", "taste.safetensors")
print("all agree")
