"""What `retort export` wrote, read and sampled by the libraries that it was written for.

    python export.py has diffusers peft …                which of them are installed
    python export.py pipeline FOLDER GIVEN EXPECTED      from_pretrained, and the scheduler beside it
    python export.py predict FOLDER GIVEN EXPECTED       from_pretrained, and the network alone
    python export.py whole FOLDER                        the pipeline of its model_index.json
    python export.py card FOLDER                         the model card's own lines
    python export.py lora BASE FILE MERGED               load_lora_weights on the base gives the merged weights
    python export.py peft BASE FOLDER MERGED             the same by PEFT
    python export.py script FILE GIVEN EXPECTED          torch.jit.load
    python export.py serve                               answers lines of such arguments by lines of JSON
    python export.py autoencoder FOLDER GIVEN            from_pretrained; GIVEN has "x", its latents "z", their picture "y"

GIVEN has the starting state "x", the noises "noise_1", … of the steps after the first, "timesteps" where there are
several, and "labels"; for predict "x", "t" and inputs by name. Printed is the largest difference.
"""
import contextlib
import importlib.util
import io
import json
import os
import shlex
import sys
import traceback


def tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def component(folder):
    import diffusers

    for name in sorted(os.listdir(folder)):
        config = os.path.join(folder, name, "config.json")
        if os.path.exists(config):
            with open(config) as file:
                kind = getattr(diffusers, json.load(file)["_class_name"])
            net, info = kind.from_pretrained(folder, subfolder=name, output_loading_info=True)
            wrong = {key: list(value) for key, value in info.items() if value and key != "error_msgs"}
            if wrong:
                sys.exit("weights do not fit: %s" % wrong)
            return net.eval()
    sys.exit("no config.json in " + folder)


def autoencoder(folder, given):
    import diffusers
    import torch

    with open(os.path.join(folder, "config.json")) as file:
        kind = getattr(diffusers, json.load(file)["_class_name"])
    vae, info = kind.from_pretrained(folder, output_loading_info=True)
    wrong = {key: list(value) for key, value in info.items() if value and key != "error_msgs"}
    if wrong:
        sys.exit("weights do not fit: %s" % wrong)
    given, factor = tensors(given), vae.config.scaling_factor
    with torch.no_grad():
        said = vae.eval().encode(given["x"])
        z = said.latent_dist.mode() if hasattr(said, "latent_dist") else said.latents
        y = vae.decode(given["z"] / factor).sample
    print("difference %.3g" % max((z * factor - given["z"]).abs().max(), (y - given["y"]).abs().max()))


def scheduler_of(folder):
    import diffusers

    with open(os.path.join(folder, "scheduler", "scheduler_config.json")) as file:
        name = json.load(file)["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder, subfolder="scheduler")


def pipeline(folder, given, expected):
    import torch

    net, scheduler = component(folder), scheduler_of(folder)
    given, expected = tensors(given), tensors(expected)["x"]
    noises = [given["noise_%d" % i] for i in range(1, len(given)) if "noise_%d" % i in given]
    if "timesteps" in given:
        scheduler.set_timesteps(timesteps=given["timesteps"].tolist())
    else:
        scheduler.set_timesteps(int(given["steps"]))
    module = sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):  # the next noise, in place of torch's
        module.randn_tensor = lambda shape, **_: noises.pop(0) if noises else torch.zeros(shape)
    more = {"class_labels": given["labels"]} if "labels" in given else {}
    x = given["x"]
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = net(scheduler.scale_model_input(x, t), t.expand(len(x)), **more).sample
            x = scheduler.step(out, t, x).prev_sample
    print("difference %.3g" % float((x - expected).abs().max()))


def predict(folder, given, expected):
    import torch

    net, given = component(folder), tensors(given)
    more = {}
    if "labels" in given:
        more["class_labels"] = given["labels"]
    if "prompt_embeds" in given:
        more["encoder_hidden_states"] = given["prompt_embeds"]
    if "time_ids" in given:
        more["added_cond_kwargs"] = {"text_embeds": given["pooled_prompt_embeds"], "time_ids": given["time_ids"]}
    with torch.no_grad():
        out = net(given["x"], given["t"], **more).sample
    expected = tensors(expected)["x"]
    if out.shape != expected.shape:
        sys.exit("shapes %s and %s" % (list(out.shape), list(expected.shape)))
    print("difference %.3g" % float((out - expected).abs().max()))


def whole(folder):
    import diffusers

    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    out = pipe(batch_size=2, num_inference_steps=2, output_type="pt").images
    print(type(pipe).__name__, "gives", list(out.shape))


def card(folder):
    import torch

    with open(os.path.join(folder, "README.md")) as file:
        code = file.read().split("```python\n")[1].split("```")[0]
    os.chdir(os.path.dirname(folder))
    names = {}
    exec(code, names)
    if not bool(torch.isfinite(names["x"]).all()):
        sys.exit("the card's samples are not finite")
    if "guidance" in names:
        from diffusers import LatentConsistencyModelPipeline as Peer

        width = names["net"].config.time_cond_proj_dim
        wanted = Peer.get_guidance_scale_embedding(None, torch.full((4,), 3.0), embedding_dim=width)
        if float((names["guidance"] - wanted).abs().max()) > 1e-2:
            sys.exit("the card embeds the guidance otherwise than diffusers")
    print("card runs")


def changed(net, merged):
    """The largest difference of the network's weights, with its adapters merged, from those expected."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in net.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    have = {name.replace(".base_layer.", ".").replace("base_model.model.", ""): value
            for name, value in net.state_dict().items() if "lora_" not in name}
    most = max(float((have[name] - value).abs().max()) for name, value in merged.items())
    print("difference %.3g" % most)


def lora(base, file, merged):
    from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin

    net = component(base)
    state, alphas = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
        os.path.dirname(file), weight_name=os.path.basename(file), unet_config=net.config)[:2]
    StableDiffusionXLLoraLoaderMixin.load_lora_into_unet(state, alphas, net)
    changed(net, tensors(merged))


def peft(base, folder, merged):
    from peft import PeftModel

    changed(PeftModel.from_pretrained(component(base), folder), tensors(merged))


def script(file, given, expected):
    import torch

    module, given = torch.jit.load(file), tensors(given)
    with torch.no_grad():
        out = module(given["x"], given["t"], *([given["labels"]] if "labels" in given else []))
    print("difference %.3g" % float((out - tensors(expected)["x"]).abs().max()))


def has(*names):
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    print("missing " + " ".join(missing) if missing else "all there")


def serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        said, code = io.StringIO(), 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                do(shlex.split(line))
            except SystemExit as end:
                code = 0 if end.code in (None, 0) else 1
                print(end.code)
            except Exception:
                code = 1
                traceback.print_exc()
        print(json.dumps({"code": code, "output": said.getvalue()}), file=answers, flush=True)


def do(arguments):
    parts = (has, pipeline, predict, whole, card, lora, peft, script, autoencoder, serve)
    {part.__name__: part for part in parts}[arguments[0]](*arguments[1:])


if __name__ == "__main__":
    do(sys.argv[1:])
