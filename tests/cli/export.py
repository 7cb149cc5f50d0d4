"""What `retort export` wrote, read and sampled by the libraries that it was written for.

    python export.py has diffusers peft …                which of them are installed
    python export.py pipeline FOLDER GIVEN EXPECTED      from_pretrained, and the scheduler beside it
    python export.py lora BASE FILE MERGED               load_lora_weights on the base gives the merged weights
    python export.py peft BASE FOLDER MERGED             the same by PEFT
    python export.py script FILE GIVEN EXPECTED          torch.jit.load

GIVEN has the starting state "x", the noises "noise_1", … of the steps after the first, "timesteps" where there are
several, and "labels". Printed is the largest difference, and for pipelines what was loaded.
"""
import importlib.util
import json
import sys


def tensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def component(folder):
    import os

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


def scheduler_of(folder):
    import os

    import diffusers

    with open(os.path.join(folder, "scheduler", "scheduler_config.json")) as file:
        name = json.load(file)["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder, subfolder="scheduler")


def pipeline(folder, given, expected):
    import os

    import diffusers
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
    if os.path.exists(os.path.join(folder, "model_index.json")):
        whole = diffusers.DiffusionPipeline.from_pretrained(folder)
        print(type(whole).__name__, type(whole.unet).__name__, type(whole.scheduler).__name__)
    print("difference %.3g" % float((x - expected).abs().max()))


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
    import os

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


if __name__ == "__main__":
    {f.__name__: f for f in (has, pipeline, lora, peft, script)}[sys.argv[1]](*sys.argv[2:])
