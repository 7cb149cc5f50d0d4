"""Outputs and gradients of diffusers' U-Nets, and the names and shapes of the weights of known ones.

    pip install torch==2.13.0 diffusers==0.42.1 numpy
    python make_diffusers_unets.py        # writes diffusers_unets.json

Weights and inputs are not stored: `numbers` makes them, here and in the test, bit for bit.
"""
import hashlib
import json
import math
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

CLASSES = {"unet_2d": UNet2DModel, "unet_2d_condition": UNet2DConditionModel}


def numbers(shape, stream):
    """Numbers between -1/2 and 1/2, by a hash of their place."""
    mask = np.uint64(0xFFFFFFFF)
    u = (np.arange(math.prod(shape), dtype=np.uint64) * np.uint64(2654435761) + np.uint64(stream * 40503 + 1)) & mask
    u ^= u >> np.uint64(15)
    u = (u * np.uint64(2246822519)) & mask
    u ^= u >> np.uint64(13)
    return torch.from_numpy(u.astype(np.float64) / 2.0**32 - 0.5).reshape(shape)


def weights(model):
    for stream, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        norm = tensor.dim() == 1 and name.endswith(".weight")
        tensor.copy_((numbers(tensor.shape, stream) * 0.5 + (1 if norm else 0)).to(tensor.dtype))


# Streams of the inputs lie behind those of any weight.
STREAMS = {"x": 10001, "prompt_embeds": 10002, "pooled_prompt_embeds": 10003, "time_ids": 10004, "class_labels": 10005,
           "direction": 10006}


def inputs(case):
    shapes = dict(case["inputs"], x=case["x"])
    scale = {"x": 4.0, "time_ids": 500.0, "prompt_embeds": 4.0, "pooled_prompt_embeds": 4.0, "class_labels": 4.0}
    return {name: numbers(shape, STREAMS[name]) * scale[name] for name, shape in shapes.items()}


def evaluate(model, case, dtype):
    given = {name: value.to(dtype) for name, value in inputs(case).items()}
    times = torch.tensor(case["times"], dtype=torch.int64 if case.get("whole_times") else torch.float32)
    more = {}
    if "labels" in case:
        more["class_labels"] = torch.tensor(case["labels"])
    if "class_labels" in given:
        more["class_labels"] = given["class_labels"]
        if case["config"].get("class_embed_type") == "timestep":
            more["class_labels"] = given["class_labels"].to(torch.float32)
    if case["network"] == "unet_2d":
        out = model(given["x"], times, **more).sample
    else:
        if "pooled_prompt_embeds" in given:
            more["added_cond_kwargs"] = {"text_embeds": given["pooled_prompt_embeds"],
                                         "time_ids": given["time_ids"].to(torch.float32)}
        if "guidance" in case:
            width = case["config"]["time_cond_proj_dim"]
            waves = StableDiffusionXLPipeline.get_guidance_scale_embedding(None, torch.tensor(case["guidance"]) - 1, width)
            more["timestep_cond"] = waves.to(dtype)
        if "mask" in case:
            more["encoder_attention_mask"] = torch.tensor(case["mask"])
        out = model(given["x"], times, encoder_hidden_states=given["prompt_embeds"], **more).sample
    return out[:, : case["x"][1]]


def as_keys(config):
    """A config's null as Retort's keys spell it."""
    words = {"mid_block_type", "class_embed_type", "cross_attention_norm"}
    return {key: ("none" if key in words else 0) if value is None else value for key, value in config.items()}


def case(name, network, config, x, times, inputs=None, gradients=False, **more):
    return {"name": name, "network": network, "config": config, "x": x, "times": times, "inputs": inputs or {},
            "gradients": gradients, **more}


ATTN = dict(down_block_types=["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"], block_out_channels=[8, 16, 16],
            layers_per_block=1, norm_num_groups=4)
CM = dict(down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
          up_block_types=["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"], block_out_channels=[8, 16, 16],
          norm_num_groups=4, attention_head_dim=4, resnet_time_scale_shift="scale_shift", downsample_type="resnet",
          upsample_type="resnet", num_class_embeds=10)
CASES = [
    case("ddpm", "unet_2d", dict(ATTN, attention_head_dim=3, num_class_embeds=10, downsample_padding=0,
                                 flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6),
         [2, 3, 8, 12], [3.25, 871.5], labels=[2, 9], gradients=True),
    case("learned times", "unet_2d", dict(ATTN, attention_head_dim=None, time_embedding_type="learned",
                                          num_train_timesteps=20, mid_block_scale_factor=1.5, act_fn="gelu",
                                          center_input_sample=True, dropout=0.1),
         [2, 3, 8, 12], [3, 19], whole_times=True),
    case("odd width", "unet_2d", dict(block_out_channels=[9, 18], down_block_types=["DownBlock2D", "AttnDownBlock2D"],
                                      up_block_types=["AttnUpBlock2D", "UpBlock2D"], norm_num_groups=3,
                                      mid_block_type=None, out_channels=6, act_fn="mish", class_embed_type="timestep",
                                      attention_head_dim=6),
         [2, 3, 6, 4], [0.5, 40.75], inputs={"class_labels": [2]}),
    case("identity classes", "unet_2d", dict(ATTN, in_channels=1, out_channels=1, class_embed_type="identity",
                                             time_embedding_dim=20, act_fn="relu", add_attention=False),
         [2, 1, 4, 8], [0.0, 999.0], inputs={"class_labels": [2, 20]}),
    case("consistency model", "unet_2d", dict(CM, layers_per_block=2, attn_norm_num_groups=8),
         [2, 3, 8, 12], [-188.8, 1095.5], labels=[0, 7], gradients=True),
    case("consistency model without norm", "unet_2d", dict(CM, layers_per_block=1, attn_norm_num_groups=None),
         [2, 3, 8, 4], [12.5, 568.6], labels=[3, 3]),
    case("NCSN++", "unet_2d", dict(block_out_channels=[32, 32, 64], layers_per_block=1, norm_num_groups=None,
                                   down_block_types=["SkipDownBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D"],
                                   up_block_types=["AttnSkipUpBlock2D", "SkipUpBlock2D", "SkipUpBlock2D"],
                                   time_embedding_type="fourier", norm_eps=1e-6, attention_head_dim=None,
                                   mid_block_scale_factor=math.sqrt(2)),
         [2, 3, 8, 12], [0.25, 3.5], gradients=True),
    case("Stable Diffusion", "unet_2d_condition",
         dict(block_out_channels=[8, 16, 16], norm_num_groups=4, attention_head_dim=2, cross_attention_dim=24,
              down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
              up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], time_cond_proj_dim=16),
         [2, 4, 7, 10], [3.25, 871.5], inputs={"prompt_embeds": [2, 5, 24]}, guidance=[7.5, 2.25],
         mask=[[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], gradients=True),
    case("SDXL", "unet_2d_condition",
         dict(block_out_channels=[8, 16, 16], norm_num_groups=4, attention_head_dim=[1, 2, 4], cross_attention_dim=32,
              down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
              up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], layers_per_block=1,
              transformer_layers_per_block=[1, 2, 3], use_linear_projection=True, upcast_attention=True,
              addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=64),
         [2, 4, 6, 9], [3.25, 871.5],
         inputs={"prompt_embeds": [2, 5, 32], "pooled_prompt_embeds": [2, 16], "time_ids": [2, 6]}, gradients=True),
    case("added attention", "unet_2d_condition",
         dict(block_out_channels=[8, 16], norm_num_groups=4, attention_head_dim=4, cross_attention_dim=32,
              down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"], layers_per_block=1,
              mid_block_type="UNetMidBlock2DSimpleCrossAttn",
              up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"], resnet_skip_time_act=True,
              resnet_out_scale_factor=1.4, cross_attention_norm="group_norm", encoder_hid_dim=12,
              encoder_hid_dim_type="text_proj", addition_embed_type="text", addition_embed_type_num_heads=4,
              class_embed_type="timestep", act_fn="gelu", time_embedding_act_fn="silu", timestep_post_act="mish"),
         [2, 4, 6, 4], [3.25, 871.5], inputs={"prompt_embeds": [2, 5, 12], "class_labels": [2]},
         mask=[[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], gradients=True),
    case("added attention alone", "unet_2d_condition",
         dict(block_out_channels=[16, 16], norm_num_groups=4, attention_head_dim=[4, 8], cross_attention_dim=16,
              down_block_types=["SimpleCrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D"], layers_per_block=1,
              mid_block_type="UNetMidBlock2DSimpleCrossAttn", only_cross_attention=True,
              up_block_types=["SimpleCrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D"],
              resnet_time_scale_shift="scale_shift", cross_attention_norm="layer_norm", class_embed_type="projection",
              projection_class_embeddings_input_dim=6, mid_block_scale_factor=1.3),
         [2, 4, 4, 6], [3.25, 871.5], inputs={"prompt_embeds": [2, 5, 16], "class_labels": [2, 6]}),
    case("nested layers", "unet_2d_condition",
         dict(block_out_channels=[8, 16], norm_num_groups=4, attention_head_dim=[2, 4], cross_attention_dim=[24, 24],
              down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], layers_per_block=[1, 2],
              up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], only_cross_attention=True,
              transformer_layers_per_block=[2, [1, 2]], reverse_transformer_layers_per_block=[[2, 1, 1], 1],
              time_embedding_type="fourier", class_embed_type="simple_projection", conv_out_kernel=5,
              projection_class_embeddings_input_dim=6, downsample_padding=0, flip_sin_to_cos=False),
         [2, 4, 6, 10], [0.25, 1.5], inputs={"prompt_embeds": [2, 5, 24], "class_labels": [2, 6]}),
    case("classes beside times", "unet_2d_condition",
         dict(block_out_channels=[8, 16], norm_num_groups=4, attention_head_dim=[4, 8], cross_attention_dim=24,
              down_block_types=["CrossAttnDownBlock2D", "AttnDownBlock2D"], layers_per_block=1,
              mid_block_type="UNetMidBlock2D", up_block_types=["AttnUpBlock2D", "CrossAttnUpBlock2D"],
              num_class_embeds=5, class_embeddings_concat=True, conv_in_kernel=5, center_input_sample=True,
              time_embedding_dim=12, freq_shift=1, mid_block_scale_factor=0.8),
         [2, 4, 6, 8], [3.25, 871.5], inputs={"prompt_embeds": [2, 5, 24]}, labels=[4, 1]),
    case("no middle", "unet_2d_condition",
         dict(block_out_channels=[8, 16], norm_num_groups=4, attention_head_dim=3, cross_attention_dim=24,
              down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], layers_per_block=1,
              mid_block_type=None, up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], time_embedding_dim=12,
              class_embed_type="identity"),
         [1, 4, 5, 3], [41.5], inputs={"prompt_embeds": [1, 3, 24], "class_labels": [1, 12]}),
]

SD = dict(cross_attention_dim=768, sample_size=64)
SDXL = dict(block_out_channels=[320, 640, 1280], attention_head_dim=[5, 10, 20], cross_attention_dim=2048,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
IMAGENET = dict(block_out_channels=[192, 384, 576, 768], layers_per_block=3, attention_head_dim=64,
                down_block_types=["ResnetDownsampleBlock2D"] + ["AttnDownBlock2D"] * 3,
                up_block_types=["AttnUpBlock2D"] * 3 + ["ResnetUpsampleBlock2D"],
                resnet_time_scale_shift="scale_shift", attn_norm_num_groups=32, downsample_type="resnet",
                upsample_type="resnet", num_class_embeds=1000)
LSUN = dict(IMAGENET, block_out_channels=[256, 256, 512, 512, 1024, 1024], layers_per_block=2, num_class_embeds=None,
            resnet_time_scale_shift="default",
            down_block_types=["ResnetDownsampleBlock2D"] * 3 + ["AttnDownBlock2D"] * 3,
            up_block_types=["AttnUpBlock2D"] * 3 + ["ResnetUpsampleBlock2D"] * 3)
DDPM = dict(downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, attention_head_dim=None)
CELEBA = dict(DDPM, block_out_channels=[128, 128, 256, 256, 512, 512],
              down_block_types=["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
              up_block_types=["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4)
CIFAR = dict(DDPM, block_out_channels=[128, 256, 256, 256],
             down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
             up_block_types=["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"])
NCSNPP = dict(block_out_channels=[128, 128, 256, 256, 256, 256, 256], norm_num_groups=None, attention_head_dim=None,
              down_block_types=["SkipDownBlock2D"] * 4 + ["AttnSkipDownBlock2D"] + ["SkipDownBlock2D"] * 2,
              up_block_types=["SkipUpBlock2D"] * 2 + ["AttnSkipUpBlock2D"] + ["SkipUpBlock2D"] * 4,
              time_embedding_type="fourier", mid_block_scale_factor=math.sqrt(2), norm_eps=1e-6)
KNOWN = [
    ("the defaults of UNet2DModel", "unet_2d", {}),
    ("ddpm-cifar10-32", "unet_2d", CIFAR),
    ("ddpm-celebahq-256", "unet_2d", CELEBA),
    ("consistency model of ImageNet 64", "unet_2d", IMAGENET),
    ("consistency model of LSUN 256", "unet_2d", LSUN),
    ("NCSN++", "unet_2d", NCSNPP),
    ("Stable Diffusion 1.5", "unet_2d_condition", SD),
    ("LCM of Stable Diffusion 1.5", "unet_2d_condition", dict(SD, time_cond_proj_dim=256)),
    ("Stable Diffusion 2.1", "unet_2d_condition",
     dict(attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True,
          upcast_attention=True)),
    ("SDXL", "unet_2d_condition", SDXL),
    ("LCM of SDXL", "unet_2d_condition", dict(SDXL, time_cond_proj_dim=256)),
]


def lines_of(state):
    return sorted(name + " [" + ", ".join(map(str, tensor.shape)) + "]" for name, tensor in state.items())


def known(name, network, config):
    with torch.device("meta"):
        state = CLASSES[network](**config).state_dict()
    config = {key: value for key, value in config.items() if key != "sample_size"}
    return {"name": name, "network": network, "keys": as_keys(config), "tensors": len(state),
            "numbers": sum(tensor.numel() for tensor in state.values()),
            "sha256": hashlib.sha256("\n".join(lines_of(state)).encode()).hexdigest()}


def rounded(tensor, digits):
    return [float(f"%.{digits}g" % value) for value in tensor.detach().double().flatten().tolist()]


def measured(c):
    model = CLASSES[c["network"]](**c["config"]).eval()
    with torch.no_grad():
        weights(model)
        single = evaluate(model, c, torch.float32)
    model = model.double()
    if c["network"] == "unet_2d" and c["config"].get("class_embed_type") == "timestep":
        # diffusers leaves these waves in float32
        model.class_embedding.register_forward_pre_hook(lambda module, args: (args[0].double(),))
    with torch.no_grad():
        weights(model)
    cast = torch.Tensor.float
    torch.Tensor.float = lambda tensor: tensor  # a softmax that would be rounded to float32
    out = evaluate(model, c, torch.float64)
    torch.Tensor.float = cast
    result = {key: value for key, value in c.items() if key not in ("config", "gradients")}
    result |= {"keys": as_keys(c["config"]), "tensors": len(model.state_dict()),
               "numbers": sum(t.numel() for t in model.state_dict().values()),
               "float32": rounded(single, 9), "float64": rounded(out, 15)}
    if c["gradients"]:
        (out * numbers(out.shape, STREAMS["direction"])).sum().backward()
        result["gradients"] = {
            name: rounded(torch.stack([p.grad.norm(), (p.grad * numbers(p.shape, STREAMS["direction"])).sum()]), 15)
            for name, p in model.named_parameters() if p.requires_grad}
    return result


def main():
    torch.set_num_threads(1)
    made = {"versions": {"diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0]},
            "cases": [measured(c) for c in CASES], "known": [known(*k) for k in KNOWN]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
    for c in made["cases"] + made["known"]:
        print(c["name"], c["tensors"], c["numbers"])


if __name__ == "__main__":
    main()
