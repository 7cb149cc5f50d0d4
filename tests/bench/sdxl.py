#!/usr/bin/env python3
"""SDXL's U-Net at its full size, with random weights: what a forward, a guided solver step and a LoRA step take, here and
in diffusers.

    tests/bench/sdxl.py make [FOLDER]       writes the model (5.2 GB), its scheduler and latents; configs/paper/sdxl
    tests/bench/sdxl.py time [FOLDER]       times both in turn, each in a process of its own, with its peak memory
    tests/bench/sdxl.py agree [FOLDER]      how far apart their predictions are, in float32 and in bfloat16

`--side N` is of the latents (64: of pictures of 512 x 512), `--only TEXT` takes some of the rows, `--output FILE.md` keeps
them. Runs on one core, and on all with `--threads 0`. A processor without bfloat16 takes hours for `agree` at side 64;
`--side 16` is quick. Needs torch, diffusers, peft and safetensors, and `build/release/bin/retort`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
RETORT = ROOT / "build/release/bin/retort"
CONFIG = ROOT / "configs/paper/sdxl.toml"
FOLDER = ROOT / "configs/paper/sdxl"

# unet/config.json of stabilityai/stable-diffusion-xl-base-1.0; what it does not say is the class's default.
UNET = dict(
    sample_size=128, block_out_channels=[320, 640, 1280], attention_head_dim=[5, 10, 20], cross_attention_dim=2048,
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], transformer_layers_per_block=[1, 2, 10],
    use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816)
SCHEDULER = dict(_class_name="DDIMScheduler", num_train_timesteps=1000, beta_schedule="scaled_linear",
                 beta_start=0.00085, beta_end=0.012, prediction_type="epsilon", clip_sample=False,
                 set_alpha_to_one=True, steps_offset=0, timestep_spacing="leading")
SHARD = 1 << 30  # bytes
STUDENT = tomllib.loads(CONFIG.read_text())["student"]


def make(folder, side):
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    unet = folder / "unet"
    unet.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = UNet2DConditionModel(**UNET)
    model.save_config(unet)
    generator = torch.Generator().manual_seed(0)
    shards, shard, size = [], {}, 0
    places, total = {}, 0

    def flush():
        nonlocal shard, size
        save_file(shard, unet / f"part_{len(shards)}.safetensors", metadata={"format": "pt"})
        shards.append(list(shard))
        print(f"{sum(map(len, shards))} of {len(names)} weights", file=sys.stderr)
        shard, size = {}, 0

    names = model.state_dict()
    for name, like in names.items():
        if like.dim() == 1:  # norms are ones and zeros, other biases zero
            weight = torch.full(like.shape, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
        else:
            bound = like[0].numel() ** -0.5
            weight = (2 * torch.rand(like.shape, generator=generator) - 1) * bound
        shard[name] = weight.to(torch.bfloat16)
        size += 2 * like.numel()
        total += 2 * like.numel()
        if size > SHARD:
            flush()
    flush()
    for i, inside in enumerate(shards):
        file = f"diffusion_pytorch_model-{i + 1:05}-of-{len(shards):05}.safetensors"
        os.replace(unet / f"part_{i}.safetensors", unet / file)
        places.update({name: file for name in inside})
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=1))
    pipeline = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True,
                "scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(pipeline, indent=1))
    write_latents(folder, side)


def inputs_of(rows, side):
    import torch

    generator = torch.Generator().manual_seed(1)
    noise = lambda *shape: torch.randn(shape, generator=generator)
    return {"latents": noise(rows, 4, side, side), "prompt_embeds": noise(rows, 77, 2048),
            "pooled_prompt_embeds": noise(rows, 1280),
            "time_ids": torch.tensor([[8.0 * side, 8.0 * side, 0, 0, 8.0 * side, 8.0 * side]]).repeat(rows, 1)}


def write_latents(folder, side):
    from safetensors.torch import save_file

    (folder / "latents").mkdir(exist_ok=True)
    rows = {name: tensor.contiguous() for name, tensor in inputs_of(20, side).items()}
    save_file(rows, folder / "latents/0000.safetensors", metadata={"scaling_factor": "0.13025"})


class Peer:
    """diffusers with peft, in a process of its own: what `retort bench` times as stages."""

    def __init__(self, folder, side, precision):
        import torch
        from diffusers import DDIMScheduler, UNet2DConditionModel

        self.torch = torch
        dtype = getattr(torch, precision)
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype)
        self.unet.requires_grad_(False)
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        self.table = self.scheduler.alphas_cumprod
        self.given = {name: t.to(dtype) for name, t in inputs_of(1, side).items()}

    def predict(self, x, t, rows=1):
        given = {name: g.repeat(rows, *[1] * (g.dim() - 1)) for name, g in self.given.items()}
        if rows == 2:  # without the text first, as in diffusers' pipelines
            for name in ("prompt_embeds", "pooled_prompt_embeds"):
                given[name][0] = 0
        added = {"text_embeds": given["pooled_prompt_embeds"], "time_ids": given["time_ids"]}
        return self.unet(x, t, given["prompt_embeds"], added_cond_kwargs=added).sample

    def forward(self):
        with self.torch.no_grad():
            return self.predict(self.given["latents"], 999)

    def solver_step(self, weight=9.0, x=None):
        x = self.given["latents"] if x is None else x
        with self.torch.no_grad():
            free, told = self.predict(self.torch.cat([x, x]), 499, rows=2).chunk(2)
            self.scheduler.set_timesteps(100)
            return self.scheduler.step(free + weight * (told - free), 490, x).prev_sample

    def prepare_training(self):
        from peft import LoraConfig

        targets = [layer.removeprefix("*.").removesuffix(".weight") for layer in STUDENT["layers"]]
        self.unet.add_adapter(LoraConfig(r=STUDENT["rank"], lora_alpha=STUDENT["alpha"], target_modules=targets))
        for p in self.unet.parameters():
            if p.requires_grad:
                p.data = p.data.float()
        self.unet.enable_gradient_checkpointing()
        self.unet.train()
        self.optimizer = self.torch.optim.AdamW([p for p in self.unet.parameters() if p.requires_grad], lr=1e-4,
                                                weight_decay=1e-2)

    def consistency(self, x, t):
        """The student: c_skip x + c_out x0, with the paper's boundary."""
        signal = self.table[t].sqrt()
        x0 = (x - (1 - self.table[t]).sqrt() * self.predict(x, t)) / signal
        scaled = (10.0 * (t + 1) / 1000) ** 2
        skip = 0.25 / (scaled + 0.25)
        return skip * x + scaled ** 0.5 / (scaled + 0.25) ** 0.5 * x0

    def training_step(self):
        """Consistency distillation: the teacher's guided step, the target there, the student's gradient, AdamW."""
        x = self.given["latents"]
        self.unet.disable_adapters()
        s = self.solver_step(x=x)
        self.unet.enable_adapters()
        with self.torch.no_grad():
            target = self.consistency(s, 489)
        error = self.consistency(x, 499) - target
        loss = ((error ** 2 + 0.001 ** 2).sqrt() - 0.001).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def peer(folder, side, precision, work, out):
    import torch

    if os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    one = Peer(folder, side, precision)
    if work == "training_step":
        one.prepare_training()
    run = getattr(one, work)
    began = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - began
    if out:
        torch.save(result.float(), out)
    print(json.dumps({"seconds": seconds}))


def measured(command, env):
    """Output, and peak memory of the process, in GiB."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"sdxl.py: {' '.join(map(str, command))} ended with {process.returncode}")
    return output, usage.ru_maxrss / (1 << 20)


STAGES = {"forward": ("teacher, one evaluation", ["teacher.guidance=1.0"]), "solver_step": ("solver, one step", []),
          "training_step": ("training step", [])}


def options_of(folder, side, place):
    """Overrides of the configuration: where the model is, and latents of that side."""
    write_latents(folder, side)
    return [f"teacher.folder={folder}", f"dataset.folder={folder / 'latents'}", f"teacher.size=[{side},{side}]",
            f"run.output={place}", "train.batch=1"]


def machine():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown processor")


def times(folder, asked, env, place):
    where = options_of(folder, asked.side, place)
    yield f"{machine()}, {asked.threads or os.cpu_count()} thread(s), latents of 4 x {asked.side} x {asked.side}, one row"
    yield ""
    yield "| work, in float32 from weights in bfloat16 | Retort, s | GiB | diffusers, s | GiB |"
    yield "| --- | --- | --- | --- | --- |"
    for work, (stage, more) in STAGES.items():
        if asked.only not in work:
            continue
        ours, our_memory = measured(
            [RETORT, "bench", CONFIG, *where, *more, "--rounds", 1, "--stage", stage, "--json"], env)
        theirs, their_memory = measured(
            [sys.executable, __file__, "peer", folder, "--side", asked.side, "--work", work], env)
        seconds = json.loads(ours)["stages"][0]["median"]
        yield (f"| {work.replace('_', ' ')} | {seconds:.1f} | {our_memory:.1f} | {json.loads(theirs)['seconds']:.1f} | "
               f"{their_memory:.1f} |")


def agreement(folder, asked, env, place):
    """The noise that both predict for one input: ours by a solver's step to clean data, which it decides."""
    import torch
    from safetensors.torch import load_file, save_file

    where = options_of(folder, asked.side, place)
    start, end, noise = place / "start.safetensors", place / "end.safetensors", place / "noise.pt"
    given = inputs_of(1, asked.side)
    given["x"] = given.pop("latents")
    save_file(given, start)
    ends = [SCHEDULER[key] ** 0.5 for key in ("beta_start", "beta_end")]
    betas = torch.linspace(*ends, SCHEDULER["num_train_timesteps"], dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[-1]
    exact = None
    for precision in ["float32", "bfloat16"]:
        step = ["schedule.steps=1", "solver.type=ddim", "teacher.guidance=1.0", f"backend.precision={precision}"]
        measured([RETORT, "solve", CONFIG, *where, *step, "--start", start, "--out", end], env)
        measured([sys.executable, __file__, "peer", folder, "--side", asked.side, "--work", "forward", "--precision",
                  precision, "--out", noise], env)
        ours = (given["x"].double() - kept.sqrt() * load_file(end)["x"].double()) / (1 - kept).sqrt()
        theirs = torch.load(noise).double()
        exact = theirs if exact is None else exact
        for name, found in [("Retort", ours), ("diffusers", theirs)]:
            if found is not exact:
                apart = ((found - exact).square().mean() / exact.square().mean()).sqrt()
                yield f"{name} in {precision}: {apart:.1e} from diffusers in float32"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "time", "agree", "peer"], metavar="make|time|agree")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=FOLDER)
    parser.add_argument("--side", type=int, default=64, help="of the latents")
    parser.add_argument("--threads", type=int, default=1, help="0: one for each core")
    parser.add_argument("--only", default="", help="a part of a row's name")
    parser.add_argument("--output", help="a file for what is printed")
    for hidden in ("--work", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    if asked.what == "make":
        make(folder, asked.side)
    elif asked.what == "peer":
        peer(folder, asked.side, asked.precision, asked.work, asked.out)
    else:
        env = dict(os.environ)
        if asked.threads:
            env["OMP_NUM_THREADS"] = str(asked.threads)
        lines = []
        with tempfile.TemporaryDirectory() as place:
            for line in (times if asked.what == "time" else agreement)(folder, asked, env, pathlib.Path(place)):
                print(line, flush=True)
                lines.append(line)
        if asked.output:
            pathlib.Path(asked.output).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
