"""Makes a small model, as `kind` says, in the working folder; and reference.json: inputs, and its data prediction."""

import json
import pickle
import sys

import torch


def note(**tensors):
    out = {name: {"shape": list(t.shape), "numbers": t.double().flatten().tolist()} for name, t in tensors.items()}
    with open("reference.json", "w") as file:
        json.dump(out, file)


def randomise(module):
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return module.eval()


def of_diffusers(kind):
    import diffusers

    conditions, keywords = {}, {}
    steps = torch.tensor([0.0, 417.0, 800.0])
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16}
    if kind == "dit":
        config = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8}
        model = diffusers.DiTTransformer2DModel(**config, in_channels=4, out_channels=8, num_embeds_ada_norm=5)
        conditions["labels"] = keywords["class_labels"] = torch.tensor([0, 4, 5])
    elif kind == "text":
        down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
        added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
        model = diffusers.UNet2DConditionModel(
            **blocks, **added, down_block_types=down, up_block_types=up, cross_attention_dim=12, attention_head_dim=2,
            projection_class_embeddings_input_dim=4 * 6 + 10,
        )  # fmt: skip
        conditions["prompt_embeds"] = keywords["encoder_hidden_states"] = torch.randn(3, 9, 12)
        conditions["pooled_prompt_embeds"], conditions["time_ids"] = torch.randn(3, 10), torch.rand(3, 6) * 50
        keywords["added_cond_kwargs"] = {"text_embeds": conditions["pooled_prompt_embeds"], "time_ids": conditions["time_ids"]}
    else:
        down, up = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
        classes = 6 if kind == "unet" else None
        model = diffusers.UNet2DModel(**blocks, down_block_types=down, up_block_types=up, attention_head_dim=4, num_class_embeds=classes)
        if classes:
            conditions["labels"] = keywords["class_labels"] = torch.tensor([0, 3, 5])
    randomise(model)
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction" if kind == "pipeline" else "epsilon")
    if kind == "pipeline":
        diffusers.DDIMPipeline(unet=model, scheduler=scheduler).save_pretrained("model")
    else:
        model.save_pretrained("model")
        scheduler.save_pretrained("model")
    size = model.config.sample_size
    x = torch.randn(3, model.config.in_channels, size, size)
    with torch.no_grad():
        out = model(x, steps, return_dict=False, **keywords)[0][:, : model.config.in_channels].double()
    a = scheduler.alphas_cumprod.double()[steps.long()].sqrt().reshape(-1, 1, 1, 1)
    s = (1 - a**2).sqrt()
    data = a * x - s * out if kind == "pipeline" else (x - s * out) / a
    note(x=x, t=steps + 1, data=data, **conditions)


def of_edm(kind):
    import edm_stand_in

    net = randomise(getattr(edm_stand_in, "EDMPrecond" if kind == "edm" else "VPPrecond")(8, 3, 4))
    with open("net.pkl", "wb") as file:
        pickle.dump({"ema": net}, file)
    x, sigma, labels = torch.randn(3, 3, 8, 8) * 2, torch.tensor([0.02, 1.3, 70.0]), torch.tensor([0, 3, 4])
    one_hot = torch.cat([torch.eye(4), torch.zeros(1, 4)])[labels]
    with torch.no_grad():
        note(x=x, t=sigma, labels=labels, data=net(x, sigma, one_hot))


def of_k_diffusion():
    import k_diffusion as K

    config = {"model": {"type": "stand-in", "input_channels": 3, "input_size": [8, 8], "sigma_data": 0.6}, "dataset": {"num_classes": 4}}
    with open("config.json", "w") as file:
        json.dump(config, file)
    inner = randomise(K.config.make_model(config))
    torch.save({"model": {}, "model_ema": inner.state_dict()}, "weights.pth")
    x, sigma, labels = torch.randn(3, 3, 8, 8) * 2, torch.tensor([0.02, 1.3, 70.0]), torch.tensor([0, 3, 4])
    with torch.no_grad():
        note(x=x, t=sigma, labels=labels, data=K.config.make_denoiser_wrapper(config)(inner)(x, sigma, class_cond=labels))


torch.manual_seed(0)
kind = sys.argv[1]
if kind in ("edm", "vp"):
    of_edm(kind)
elif kind == "k_diffusion":
    of_k_diffusion()
else:
    of_diffusers(kind)
