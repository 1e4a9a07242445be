"""The original tensor names of single-file checkpoints, written without the code under test: diffusers' conversion reversed."""

import re

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def replace_start(name: str, names: dict[str, str]) -> str:
    start = next((start for start in names if name.startswith(f"{start}.")), None)
    return name if start is None else names[start] + name.removeprefix(start)


def unet_names(tensors: Tensors, layers_per_block: int) -> Tensors:
    """Rename the tensors of a UNet as in Stable Diffusion and SDXL."""
    attended = {int(match[1]) for name in tensors if (match := re.match(r"up_blocks\.(\d+)\.attentions", name))}

    def rename(name: str) -> str:
        name = replace_start(name, UNET_TOP)
        if match := re.match(
            r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
        ):
            side, block, module, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
            if module == "downsamplers":
                return f"input_blocks.{(layers_per_block + 1) * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
            if module == "upsamplers":
                last = (layers_per_block + 1) * block + layers_per_block
                return f"output_blocks.{last}.{2 if block in attended else 1}.{rest}"
            index = (layers_per_block + 1) * block + layer + (side == "down")
            start = f"{'input' if side == 'down' else 'output'}_blocks.{index}"
            return f"{start}.0.{replace_start(rest, RESNET)}" if module == "resnets" else f"{start}.1.{rest}"
        if match := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
            if match[1] == "attentions":
                return f"middle_block.1.{match[3]}"
            return f"middle_block.{2 * int(match[2])}.{replace_start(match[3], RESNET)}"
        return name

    return {f"model.diffusion_model.{rename(name)}": tensor for name, tensor in tensors.items()}


def vae_names(tensors: Tensors, blocks: int, prefix: str = "first_stage_model.") -> Tensors:
    """Rename the tensors of an autoencoder as in every single file. Linear layers of the attention are convolutions there."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        if match := re.match(r"(.*)mid_block\.attentions\.0\.(.*)", name):
            leaf = replace_start(match[2], VAE_ATTENTION)
            name, tensor = f"{match[1]}mid.attn_1.{leaf}", tensor[..., None, None] if tensor.dim() == 2 else tensor
        renamed[prefix + name] = tensor
    return renamed


def swap_halves(tensor: Tensor) -> Tensor:
    """Exchange scale and shift: the original order is shift, scale."""
    return torch.cat(tensor.chunk(2)[::-1])


def fuse(tensors: Tensors, names: list[str], kind: str) -> Tensor:
    return torch.cat([tensors[f"{name}.{kind}"] for name in names])


FLUX_TOP = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
FLUX_NORMS = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
QKV = ["attn.to_q", "attn.to_k", "attn.to_v"]
ADDED_QKV = ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]


def flux_names(tensors: Tensors, double: int, single: int, prefix: str = "") -> Tensors:
    """Rename the tensors of a transformer as in FLUX.1."""
    out = {}
    for kind in ("weight", "bias"):
        for name, original in FLUX_TOP.items():
            if f"{name}.{kind}" in tensors:
                out[f"{original}.{kind}"] = tensors[f"{name}.{kind}"]
        out[f"final_layer.adaLN_modulation.1.{kind}"] = swap_halves(tensors[f"norm_out.linear.{kind}"])
        for index in range(double):
            ours, theirs = f"transformer_blocks.{index}.", f"double_blocks.{index}."
            out |= {f"{theirs}{new}.{kind}": tensors[f"{ours}{name}.{kind}"] for name, new in FLUX_DOUBLE.items()}
            out[f"{theirs}img_attn.qkv.{kind}"] = fuse(tensors, [ours + name for name in QKV], kind)
            out[f"{theirs}txt_attn.qkv.{kind}"] = fuse(tensors, [ours + name for name in ADDED_QKV], kind)
        for index in range(single):
            ours, theirs = f"single_transformer_blocks.{index}.", f"single_blocks.{index}."
            out[f"{theirs}linear1.{kind}"] = fuse(tensors, [ours + name for name in [*QKV, "proj_mlp"]], kind)
            out[f"{theirs}linear2.{kind}"] = tensors[f"{ours}proj_out.{kind}"]
            out[f"{theirs}modulation.lin.{kind}"] = tensors[f"{ours}norm.linear.{kind}"]
    for index in range(double):
        for name, new in FLUX_NORMS.items():
            out[f"double_blocks.{index}.{new}.scale"] = tensors[f"transformer_blocks.{index}.{name}.weight"]
    for index in range(single):
        for name, new in {"attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm"}.items():
            out[f"single_blocks.{index}.{new}.scale"] = tensors[f"single_transformer_blocks.{index}.{name}.weight"]
    return {prefix + name: tensor for name, tensor in out.items()}


SD3_TOP = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
SD3_NORMS = {
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
}


def sd3_names(tensors: Tensors, layers: int, prefix: str = "model.diffusion_model.") -> Tensors:
    """Rename the tensors of a transformer as in SD3. In the last block, the context has no more than its modulation."""
    out = {"pos_embed": tensors["pos_embed.pos_embed"]}
    for kind in ("weight", "bias"):
        out |= {f"{new}.{kind}": tensors[f"{name}.{kind}"] for name, new in SD3_TOP.items()}
        out[f"final_layer.adaLN_modulation.1.{kind}"] = swap_halves(tensors[f"norm_out.linear.{kind}"])
        for index in range(layers):
            ours, theirs = f"transformer_blocks.{index}.", f"joint_blocks.{index}."
            for name, new in SD3_BLOCK.items():
                if f"{ours}{name}.{kind}" in tensors:
                    tensor = tensors[f"{ours}{name}.{kind}"]
                    is_last = index == layers - 1 and name == "norm1_context.linear"
                    out[f"{theirs}{new}.{kind}"] = swap_halves(tensor) if is_last else tensor
            out[f"{theirs}x_block.attn.qkv.{kind}"] = fuse(tensors, [ours + name for name in QKV], kind)
            out[f"{theirs}context_block.attn.qkv.{kind}"] = fuse(tensors, [ours + name for name in ADDED_QKV], kind)
            if f"{ours}attn2.to_q.{kind}" in tensors:
                second = [ours + name.replace("attn", "attn2") for name in QKV]
                out[f"{theirs}x_block.attn2.qkv.{kind}"] = fuse(tensors, second, kind)
    for index in range(layers):
        for name, new in SD3_NORMS.items():
            if (full := f"transformer_blocks.{index}.{name}.weight") in tensors:
                out[f"joint_blocks.{index}.{new}.weight"] = tensors[full]
    return {prefix + name: tensor for name, tensor in out.items()}
