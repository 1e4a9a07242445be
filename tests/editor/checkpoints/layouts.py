"""Random text encoders of the true width, and the files of each layout, written without the code under test."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

VOCABULARY, CONTEXT = 49408, 77
WIDTHS = {"clip_l": (768, 3072), "clip_h": (1024, 4096), "clip_g": (1280, 5120)}
PROMPTS = ["a photo of a fox in the snow", "", "two foxes, at night, in the style of someone"]
"""Only the embedding rows of their tokens and of the padding are not zero, so that files stay sparse."""
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.uint8: "U8"}
Tensors = dict[str, Tensor]


def random_encoder(kind: str, ids: Tensor, dtype: torch.dtype, layers: int = 1, seed: int = 0) -> Tensors:
    """Return an encoder's tensors by canonical name. Only rows ``ids`` of the token embedding are not zero."""
    width, mlp = WIDTHS[kind]
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, std: float = 0.05) -> Tensor:
        return (torch.randn(*shape, generator=generator) * std).to(dtype)

    tokens = torch.zeros(VOCABULARY, width, dtype=dtype)
    tokens[ids.unique()] = random(len(ids.unique()), width, std=0.5)
    tensors = {"embeddings.token_embedding.weight": tokens}
    tensors["embeddings.position_embedding.weight"] = random(CONTEXT, width)
    sizes = {"mlp.fc1": (mlp, width), "mlp.fc2": (width, mlp)}
    for layer in range(layers):
        for module in ("self_attn.k_proj", "self_attn.out_proj", "self_attn.q_proj", "self_attn.v_proj", *sizes):
            out, into = sizes.get(module, (width, width))
            tensors[f"encoder.layers.{layer}.{module}.weight"] = random(out, into)
            tensors[f"encoder.layers.{layer}.{module}.bias"] = random(out)
        for norm in ("layer_norm1", "layer_norm2"):
            tensors[f"encoder.layers.{layer}.{norm}.weight"] = 1 + random(width)
            tensors[f"encoder.layers.{layer}.{norm}.bias"] = random(width)
    tensors |= {"final_layer_norm.weight": 1 + random(width), "final_layer_norm.bias": random(width)}
    projection = {"text_projection.weight": random(width, width)}
    return {f"text_model.{name}": tensor for name, tensor in tensors.items()} | projection


def without_projection(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != "text_projection.weight"}


def add_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def remove_prefix(tensors: Tensors) -> Tensors:
    """Rename tensors as transformers 5 and the oldest single files do."""
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def to_openclip(tensors: Tensors) -> Tensors:
    """Convert to OpenCLIP's layout: ``Attention.in_proj_weight`` is ``cat([q, k, v])``; ``x @ text_projection``."""
    flat_names = remove_prefix(tensors)
    layers = sum(name.endswith("layer_norm1.bias") for name in flat_names)
    out = {
        "token_embedding.weight": flat_names["embeddings.token_embedding.weight"],
        "positional_embedding": flat_names["embeddings.position_embedding.weight"],
        "ln_final.weight": flat_names["final_layer_norm.weight"],
        "ln_final.bias": flat_names["final_layer_norm.bias"],
        "text_projection": tensors["text_projection.weight"].t().contiguous(),
        "logit_scale": torch.ones((), dtype=torch.float32),
    }
    for layer in range(layers):
        ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            parts = [flat_names[f"{ours}self_attn.{role}_proj.{kind}"] for role in ("q", "k", "v")]
            out[f"{theirs}attn.in_proj_{kind}"] = torch.cat(parts)
            out[f"{theirs}attn.out_proj.{kind}"] = flat_names[f"{ours}self_attn.out_proj.{kind}"]
            out[f"{theirs}ln_1.{kind}"] = flat_names[f"{ours}layer_norm1.{kind}"]
            out[f"{theirs}ln_2.{kind}"] = flat_names[f"{ours}layer_norm2.{kind}"]
            out[f"{theirs}mlp.c_fc.{kind}"] = flat_names[f"{ours}mlp.fc1.{kind}"]
            out[f"{theirs}mlp.c_proj.{kind}"] = flat_names[f"{ours}mlp.fc2.{kind}"]
    return out


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a safetensors file whose zero rows take no space on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            start = file.tell()
            raw = tensor.contiguous().reshape(-1).view(torch.uint8)
            if tensor.dim() == 2 and len(tensor) == VOCABULARY:
                for row in tensor.abs().amax(1).nonzero().flatten().tolist():
                    file.seek(start + row * len(raw) // VOCABULARY)
                    file.write(tensor[row].view(torch.uint8).numpy().tobytes())
            else:
                file.write(raw.numpy().tobytes())
            file.truncate(start + len(raw))
            file.seek(start + len(raw))
    return path


def encoder_config(kind: str, layers: int = 1, projected: bool = False) -> dict[str, object]:
    """Return the contents of ``config.json`` in a diffusers folder."""
    width, mlp = WIDTHS[kind]
    return {
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_attention_heads": width // 64,
        "num_hidden_layers": layers,
        "hidden_act": "quick_gelu" if kind == "clip_l" else "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
        "bos_token_id": 0,
        "eos_token_id": 2,  # wrong, but so in the published configurations
        "projection_dim": width,
    }
