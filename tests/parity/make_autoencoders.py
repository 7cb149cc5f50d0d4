"""What diffusers' autoencoders encode and decode, their gradients, and the names and shapes of known ones' weights.

    pip install torch==2.13.0 diffusers==0.42.1 numpy
    python make_autoencoders.py        # writes autoencoders.json

Weights and inputs are not stored: `numbers` makes them, here and in the test, bit for bit.
"""
import hashlib
import json
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from make_diffusers_unets import numbers

CLASSES = {"autoencoder_kl": AutoencoderKL, "autoencoder_tiny": AutoencoderTiny}
STREAMS = {"x": 10001, "z": 10002, "noise": 10003, "direction": 10006}  # behind those of any weight


def build(network, config, dtype):
    model = CLASSES[network](**config).to(dtype).eval()
    with torch.no_grad():
        for stream, (name, tensor) in enumerate(sorted(model.state_dict().items())):
            norm = tensor.dim() == 1 and name.endswith(".weight")
            tensor.copy_((numbers(tensor.shape, stream) * 0.5 + (1 if norm else 0)).to(dtype))
    return model


def encoded(model, x):
    """What the encoder says, and, of a variational one, the latents that are drawn and their divergence."""
    if isinstance(model, AutoencoderTiny):
        latents = model.encode(x).latents
        return latents, latents, None
    posterior = model.encode(x).latent_dist
    noise = numbers(posterior.mean.shape, STREAMS["noise"]).to(x.dtype) * 4
    return posterior.parameters, posterior.mean + posterior.std * noise, posterior.kl()


def flat(tensor):
    digits = 17 if tensor.dtype == torch.float64 else 9
    return [float(f"{value:.{digits}g}") for value in tensor.detach().double().flatten().tolist()]


def make(name, network, config, x, gradients=False):
    out = {"name": name, "network": network, "x": x, "config": config}
    out["keys"] = {key: [] if value is None and key.startswith("latents") else 0 if value is None else value
                   for key, value in config.items()}
    for dtype in (torch.float64, torch.float32):
        model = build(network, config, dtype)
        given = (numbers(x, STREAMS["x"]) * 2).to(dtype)
        said, drawn, kl = encoded(model, given)
        z = (numbers(drawn.shape, STREAMS["z"]) * 4).to(dtype)
        picture = model.decode(z).sample
        kind = str(dtype).removeprefix("torch.")
        out[kind] = {"encoded": flat(said), "decoded": flat(picture)}
        if dtype == torch.float64:
            out.update(latent=list(drawn.shape), picture=list(picture.shape), tensors=len(model.state_dict()),
                       numbers=sum(t.numel() for t in model.state_dict().values()))
            if kl is not None:
                out.update(drawn=flat(drawn), kl=flat(kl))
            if gradients:
                again = model.decode(drawn).sample
                (again * numbers(again.shape, STREAMS["direction"])).sum().backward()
                along = {key: (p.grad * numbers(p.shape, STREAMS["direction"])).sum().item()
                         for key, p in model.named_parameters()}
                out["gradients"] = {key: [p.grad.norm().item(), along[key]] for key, p in model.named_parameters()}
    return out


def known(name, network, config):
    with torch.device("meta"):
        model = CLASSES[network](**config)
    lines = sorted(f"{key} [{', '.join(map(str, t.shape))}]" for key, t in model.state_dict().items())
    return {"name": name, "network": network, "keys": config, "tensors": len(lines),
            "numbers": sum(t.numel() for t in model.state_dict().values()),
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


KL = dict(block_out_channels=[8, 16, 16], norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 3,
          up_block_types=["UpDecoderBlock2D"] * 3)
LARGE = dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2, down_block_types=["DownEncoderBlock2D"] * 4,
             up_block_types=["UpDecoderBlock2D"] * 4)
TINY = dict(encoder_block_out_channels=[8, 8, 8], decoder_block_out_channels=[8, 8, 8])

CASES = [
    make("Stable Diffusion", "autoencoder_kl", dict(KL, layers_per_block=2), [2, 3, 8, 12], gradients=True),
    make("without convolutions of one pixel", "autoencoder_kl",
         dict(KL, in_channels=1, out_channels=1, latent_channels=6, use_quant_conv=False, use_post_quant_conv=False,
              scaling_factor=0.3611, shift_factor=0.1159, act_fn="gelu", force_upcast=False), [2, 1, 12, 8],
         gradients=True),
    make("attention on the levels", "autoencoder_kl",
         dict(block_out_channels=[6, 12], norm_num_groups=3, act_fn="mish", mid_block_add_attention=False,
              down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
              up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"], latent_channels=2, use_post_quant_conv=False,
              latents_mean=[0.25, -1.5], latents_std=[0.5, 3.0], scaling_factor=0.8), [2, 3, 6, 4], gradients=True),
    make("one level", "autoencoder_kl",
         dict(block_out_channels=[8], norm_num_groups=8, act_fn="relu", use_quant_conv=False), [2, 3, 4, 6]),
    make("TAESD", "autoencoder_tiny", dict(TINY, num_encoder_blocks=[1, 2, 1], num_decoder_blocks=[2, 1, 1]),
         [2, 3, 8, 12], gradients=True),
    make("bilinear", "autoencoder_tiny",
         dict(TINY, in_channels=1, out_channels=1, latent_channels=6, act_fn="gelu", upsample_fn="bilinear",
              num_encoder_blocks=[0, 1, 1], num_decoder_blocks=[1, 0, 1], scaling_factor=1.25, shift_factor=0.5),
         [2, 1, 8, 4], gradients=True),
    make("three times, bicubic", "autoencoder_tiny",
         dict(encoder_block_out_channels=[4, 4], decoder_block_out_channels=[6, 6], num_encoder_blocks=[1, 1],
              num_decoder_blocks=[1, 1], upsampling_scaling_factor=3, upsample_fn="bicubic", act_fn="silu"),
         [2, 3, 4, 6]),
    *(make(word, "autoencoder_tiny",
           dict(encoder_block_out_channels=[4, 4], decoder_block_out_channels=[4, 4], num_encoder_blocks=[1, 1],
                num_decoder_blocks=[1, 1], upsampling_scaling_factor=3, upsample_fn=word, act_fn="mish"),
           [1, 3, 4, 6]) for word in ("nearest-exact", "area")),
]
KNOWN = [
    known("Stable Diffusion 1.5", "autoencoder_kl", LARGE),
    known("SDXL", "autoencoder_kl", dict(LARGE, scaling_factor=0.13025, sample_size=1024)),
    known("Flux", "autoencoder_kl", dict(LARGE, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False,
                                         scaling_factor=0.3611, shift_factor=0.1159)),
    known("TAESD", "autoencoder_tiny", {}),
]
for one in KNOWN:
    one["keys"].pop("sample_size", None)
out = {"diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0], "cases": CASES, "known": KNOWN}
Path(__file__).with_name("autoencoders.json").write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n")
print({one["name"]: (one["tensors"], one["numbers"]) for one in CASES + KNOWN})
