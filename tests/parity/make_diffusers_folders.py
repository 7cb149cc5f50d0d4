"""Writes tests/fixtures/diffusers: folders as diffusers 0.42.1 saves them, and what it makes of them.

    python3 tests/parity/make_diffusers_folders.py      # needs diffusers 0.42.1, peft 0.21.2, torch 2.13.0

pixel/        a pipeline: UNet2DModel with ten classes and DDPM's schedule
sharded/      a model alone, in several files, of the variant fp16, its scheduler beside
text/         a pipeline's U-Net of the form of SDXL, with a v prediction whose last step is pure noise
guided/       a U-Net that is told the weight of guidance, 7.5 in what is expected
lora/         adapters of text/unet: diffusers', PEFT's with patterns of rank and alpha, kohya's, and kohya's by the names of the
              first code
schedulers/   a scheduler_config.json of each form
empty_prompt.safetensors  what stands for an empty prompt of text/
expected.safetensors  inputs and outputs of the four models, the merged weights, and tables of alphas_cumprod
"""
import json
import shutil
from pathlib import Path

import torch
from diffusers import (DDIMScheduler, DDPMPipeline, DDPMScheduler, EDMEulerScheduler, EulerDiscreteScheduler, LCMScheduler,
                       StableDiffusionXLPipeline, UNet2DConditionModel, UNet2DModel)
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

here = Path(__file__).resolve().parent.parent / "fixtures" / "diffusers"
expected = {}


def randomise(model, seed):
    """Every weight, norms too, so that none could be swapped for another unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.1 + ("norm" in name and name.endswith("weight")))
    return model.eval()


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixel():
    net = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
                      down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
                      norm_num_groups=4, attention_head_dim=4, num_class_embeds=10)
    randomise(net, 1)
    DDPMPipeline(net, DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=100)).save_pretrained(here / "pixel")
    x, t, labels = noise(3, 1, 8, 8), torch.tensor([0.0, 41.0, 99.0]), torch.tensor([0, 3, 9])
    with torch.no_grad():
        expected.update({"pixel.x": x, "pixel.t": t, "pixel.labels": labels, "pixel.out": net(x, t, labels).sample})


def sharded():
    net = UNet2DModel(sample_size=None, in_channels=2, out_channels=2, block_out_channels=(8, 8), layers_per_block=1,
                      down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4,
                      attention_head_dim=None)
    randomise(net, 2).half()
    net.save_pretrained(here / "sharded", variant="fp16", max_shard_size="12KB")
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="sample").save_pretrained(
        here / "sharded")
    x, t = noise(2, 2, 8, 12, seed=3), torch.tensor([7.0, 500.0])
    with torch.no_grad():
        expected.update({"sharded.x": x, "sharded.t": t, "sharded.out": net.float()(x, t).sample})


def text():
    net = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(4, 8), layers_per_block=1,
                               down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                               up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=2, attention_head_dim=(1, 2),
                               transformer_layers_per_block=(1, 1), use_linear_projection=True, cross_attention_dim=12,
                               addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=30)
    randomise(net, 4)
    folder = here / "text"
    net.save_pretrained(folder / "unet")
    EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
                           rescale_betas_zero_snr=True, timestep_spacing="trailing").save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None],
             "force_zeros_for_empty_prompt": True, "scheduler": ["diffusers", "EulerDiscreteScheduler"],
             "text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    x, t = noise(2, 4, 8, 8, seed=5), torch.tensor([1.0, 612.0])
    prompt, pooled = noise(2, 5, 12, seed=6), noise(2, 6, seed=7)
    ids = torch.tensor([[64.0, 64, 0, 0, 64, 64], [48, 64, 3, 1, 64, 64]])
    save_file({"prompt_embeds": noise(1, 5, 12, seed=8), "pooled_prompt_embeds": noise(1, 6, seed=9)}, here / "empty_prompt.safetensors")
    empty = load_file(here / "empty_prompt.safetensors")
    with torch.no_grad():
        def ask(p, q):
            return net(x, t, p, added_cond_kwargs={"text_embeds": q, "time_ids": ids}).sample
        expected.update({"text.x": x, "text.t": t, "text.prompt_embeds": prompt, "text.pooled_prompt_embeds": pooled, "text.time_ids": ids,
                         "text.out": ask(prompt, pooled), "text.zeros": ask(prompt * 0, pooled * 0),
                         "text.empty": ask(empty["prompt_embeds"].expand_as(prompt), empty["pooled_prompt_embeds"].expand_as(pooled))})
    return net


def guided():
    """A model that is told the weight of guidance, as latent consistency models are, and alone in its folder."""
    net = UNet2DConditionModel(sample_size=(8, 12), in_channels=2, out_channels=2, block_out_channels=(4, 8), layers_per_block=1,
                               down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                               up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=2, attention_head_dim=2,
                               cross_attention_dim=6, time_cond_proj_dim=8)
    randomise(net, 11)
    net.save_pretrained(here / "guided")
    DDIMScheduler(beta_schedule="linear").save_pretrained(here / "guided")
    x, t, prompt = noise(2, 2, 8, 12, seed=12), torch.tensor([3.0, 700.0]), noise(2, 4, 6, seed=13)
    scale = 7.5
    told = StableDiffusionXLPipeline.get_guidance_scale_embedding(None, torch.tensor([scale - 1.0] * 2), embedding_dim=8)
    with torch.no_grad():
        expected.update({"guided.x": x, "guided.t": t, "guided.prompt_embeds": prompt,
                         "guided.out": net(x, t, prompt, timestep_cond=told).sample})


def loras(net):
    folder = here / "lora"
    targets = ["to_q", "to_out.0", "proj_in", "conv1", "conv_shortcut", "downsamplers.0.conv", "time_emb_proj"]
    config = LoraConfig(r=2, lora_alpha=3, target_modules=targets, rank_pattern={"conv1": 3}, alpha_pattern={"to_q": 5.0})
    peft = get_peft_model(net, config)
    generator = torch.Generator().manual_seed(10)
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    peft.save_pretrained(folder / "peft")
    (folder / "peft" / "README.md").unlink(missing_ok=True)
    own = get_peft_model_state_dict(peft)
    plain = {key.removeprefix("base_model.model."): value for key, value in own.items()}
    # diffusers' file says no alpha: the scale is 1.
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=plain)
    # The same in the names of older versions, and with a part of a text encoder.
    older = {"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 4)}
    for key, value in plain.items():
        module, factor = key.removesuffix(".weight").rsplit(".", 1)
        word = {"lora_A": "down", "lora_B": "up"}[factor]
        attention, _, layer = module.rpartition(".attn1.")
        if attention:
            module = f"{attention}.attn1.processor.{layer.removesuffix('.0')}_lora"
            older[f"unet.{module}.{word}.weight"] = value.contiguous()
        else:
            older[f"unet.{module}.lora.{word}.weight"] = value.contiguous()
    save_file(older, folder / "older.safetensors", metadata={"format": "pt"})
    kohya, ldm, plain_of = {}, {}, {}
    names = {"down_blocks.1.attentions.0": "input_blocks.3.1", "up_blocks.0.attentions.0": "output_blocks.0.1",
             "up_blocks.0.attentions.1": "output_blocks.1.1", "mid_block.attentions.0": "middle_block.1",
             "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2", "down_blocks.1.resnets.0.conv1": "input_blocks.3.0.in_layers.2",
             "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op", "mid_block.resnets.1.conv1": "middle_block.2.in_layers.2",
             "up_blocks.1.resnets.1.conv_shortcut": "output_blocks.3.0.skip_connection"}
    for key, value in plain.items():
        module, factor = key.removesuffix(".weight").rsplit(".", 1)
        word = {"lora_A": "lora_down", "lora_B": "lora_up"}[factor]
        kohya[f"lora_unet_{module.replace('.', '_')}.{word}.weight"] = value.contiguous()
        kohya[f"lora_unet_{module.replace('.', '_')}.alpha"] = torch.tensor(1.5)
        for mine, theirs in names.items():
            if module == mine or module.startswith(mine + "."):
                other = (theirs + module[len(mine):]).replace(".", "_")
                ldm[f"lora_unet_{other}.{word}.weight"] = value.contiguous()
                plain_of[module] = True
    save_file(kohya, folder / "kohya.safetensors")
    save_file(ldm, folder / "kohya_ldm.safetensors")
    before = {k: v.clone() for k, v in UNet2DConditionModel.from_pretrained(here / "text" / "unet").state_dict().items()}
    merged = peft.merge_and_unload().state_dict()
    for key, value in merged.items():
        if not torch.equal(value, before[key]):
            expected["merged.peft." + key] = value
    # The others by the formula, from the same factors: W + scale B A.
    def change(module):
        a, b = plain[module + ".lora_A.weight"], plain[module + ".lora_B.weight"]
        return (b.flatten(1) @ a.flatten(1)).view(before[module + ".weight"].shape), a.shape[0]
    for module in {k.rsplit(".lora_", 1)[0] for k in plain}:
        delta, rank = change(module)
        w = before[module + ".weight"]
        expected["merged.kohya." + module + ".weight"] = w + delta * (1.5 / rank)
        if module in plain_of:
            expected["merged.ldm." + module + ".weight"] = w + delta
    # diffusers' own reading of its file
    fresh = UNet2DConditionModel.from_pretrained(here / "text" / "unet")
    fresh.load_lora_adapter(load_file(folder / "pytorch_lora_weights.safetensors"), prefix="unet")
    fresh.fuse_lora(lora_scale=0.5)
    fresh.unload_lora()
    for key, value in fresh.state_dict().items():
        if not torch.equal(value, before[key]):
            expected["merged.half." + key] = value


def tables():
    for name, scheduler in {"linear": DDPMScheduler(), "scaled_linear": LCMScheduler(), "sigmoid": DDPMScheduler(beta_schedule="sigmoid"),
                            "squaredcos_cap_v2": DDIMScheduler(beta_schedule="squaredcos_cap_v2"),
                            "trained": DDPMScheduler(num_train_timesteps=3, trained_betas=[0.1, 0.2, 0.4]),
                            "zero_snr": DDIMScheduler(rescale_betas_zero_snr=True, beta_schedule="scaled_linear")}.items():
        folder = here / "schedulers" / name
        scheduler.save_pretrained(folder)
        expected["alphas_cumprod." + name] = scheduler.alphas_cumprod.clone()
    EDMEulerScheduler().save_pretrained(here / "schedulers" / "edm")  # a process without a table


if __name__ == "__main__":
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    pixel()
    sharded()
    guided()
    loras(text())
    tables()
    save_file({key: value.contiguous() for key, value in expected.items()}, here / "expected.safetensors")
