"""Read and write autoencoders in other tools' layouts: SAELens, sparsify, and openai's as used by sdxl-unbox.

    SAELens    cfg.json     sae_weights.safetensors   W_enc (d, n), b_enc, W_dec (n, d), b_dec, threshold of a jumprelu
    sparsify   cfg.json     sae.safetensors           encoder.weight (n, d), encoder.bias, W_dec (n, d), b_dec
    openai     config.json  state_dict.safetensors    encoder.weight (n, d), latent_bias, decoder.weight (d, n), pre_bias

Only safetensors files are read. None of these tools centers and scales rows, so the normalization is folded into the biases,
exactly: codes are divided by the scale, to which TopK and ReLU are invariant, and decoder rows keep their norm.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from editor.errors import FeatureError
from editor.features.sae.model import CONFIG_FILE, SparseAutoencoder, load_sae
from editor.io.atomic import write_bytes

Tensors = dict[str, Tensor]
Settings = dict[str, Any]
ARCHITECTURES = {"topk": "topk", "batchtopk": "jumprelu", "relu": "standard"}
"""Our activation -> SAELens' architecture. A trained BatchTopK is a JumpReLU with its threshold."""


@dataclass(frozen=True)
class Layout:
    """File names of a tool's layout, and the conversion to and from it."""

    config: str
    weights: str
    write: Callable[[SparseAutoencoder], tuple[Settings, Tensors]]
    read: Callable[[Settings, Tensors], SparseAutoencoder]


def fold_normalization(sae: SparseAutoencoder) -> SparseAutoencoder:
    """Return an equivalent autoencoder on raw rows, with mean 0 and scale 1."""
    plain = SparseAutoencoder(sae.width, sae.latents, sae.k, sae.activation)
    with torch.no_grad():
        plain.encoder.copy_(sae.encoder)
        plain.decoder.copy_(sae.decoder)
        plain.pre_bias.copy_(sae.mean + sae.pre_bias / sae.scale)
        plain.latent_bias.copy_(sae.latent_bias / sae.scale)
        plain.threshold.copy_(sae.threshold / sae.scale)
    return plain


def sae_from_tensors(
    encoder: Tensor, latent_bias: Tensor, decoder: Tensor, pre_bias: Tensor, k: int, activation: Any = "topk"
) -> SparseAutoencoder:
    """Build an autoencoder from tensors, in float32."""
    sae = SparseAutoencoder(encoder.shape[1], encoder.shape[0], k, activation)
    with torch.no_grad():
        pairs = [
            (sae.encoder, encoder),
            (sae.latent_bias, latent_bias),
            (sae.decoder, decoder),
            (sae.pre_bias, pre_bias),
        ]
        for parameter, tensor in pairs:
            parameter.copy_(tensor.view_as(parameter))
    return sae.eval()


def write_saelens(sae: SparseAutoencoder) -> tuple[Settings, Tensors]:
    """Convert to the layout of SAELens 6."""
    settings = {
        "architecture": ARCHITECTURES[sae.activation],
        "d_in": sae.width,
        "d_sae": sae.latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {},
    }
    tensors = {"W_enc": sae.encoder.T, "b_enc": sae.latent_bias, "W_dec": sae.decoder, "b_dec": sae.pre_bias}
    if sae.activation == "topk":
        settings |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.activation == "batchtopk":
        tensors["threshold"] = sae.threshold
    return settings, tensors


def upgrade_saelens_settings(settings: Settings) -> Settings:
    """Return settings of any version as SAELens 6 reads them (``handle_pre_6_0_config``)."""
    renamed = {"activation_fn_str": "activation_fn", "hook_point": "hook_name"}
    upgraded = {renamed.get(key, key): value for key, value in settings.items()}
    k = (upgraded.get("activation_fn_kwargs") or {}).get("k")
    upgraded["activation_fn"] = upgraded.get("activation_fn") or "relu"
    upgraded.setdefault("architecture", "standard")
    if upgraded["activation_fn"] == "topk" and k is not None:
        upgraded["architecture"] = "topk"
    if upgraded["architecture"] == "topk" and k is not None:
        upgraded["k"] = k
    upgraded["normalize_activations"] = upgraded.get("normalize_activations") or "none"
    upgraded.setdefault("reshape_activations", "hook_z" if "hook_z" in (upgraded.get("hook_name") or "") else "none")
    return upgraded


def read_saelens(settings: Settings, tensors: Tensors) -> SparseAutoencoder:
    """Convert topk, jumprelu and standard autoencoders; decoder norms and a one-sided decoder bias are folded in."""
    settings = upgrade_saelens_settings(settings)
    activation = {theirs: ours for ours, theirs in ARCHITECTURES.items()}.get(settings["architecture"])
    require_supported(activation is not None, f"the architecture {settings['architecture']}")
    require_supported(activation == "topk" or settings["activation_fn"] == "relu", settings["activation_fn"])
    require_supported(activation != "topk" or type(settings.get("k")) is int, "a topk autoencoder without its k")
    for key in ("normalize_activations", "reshape_activations"):
        require_supported(settings[key] == "none", f"{key}: {settings[key]}")
    for key in ("scaling_factor", "finetuning_scaling_factor"):
        ones = key not in tensors or torch.allclose(tensors[key], torch.ones_like(tensors[key]))
        require_supported(ones, f"a {key} other than 1")
    encoder, latent_bias, decoder = tensors["W_enc"].T, tensors["b_enc"], tensors["W_dec"]
    if settings.get("rescale_acts_by_decoder_norm"):
        norms = decoder.norm(dim=1)
        encoder, latent_bias, decoder = encoder * norms[:, None], latent_bias * norms, decoder / norms[:, None]
    if not settings.get("apply_b_dec_to_input", True):
        latent_bias = latent_bias + encoder @ tensors["b_dec"]
    sae = sae_from_tensors(encoder, latent_bias, decoder, tensors["b_dec"], settings.get("k", 1), activation)
    if "threshold" in tensors:
        sae.threshold.copy_(tensors["threshold"])
    return sae


def write_sparsify(sae: SparseAutoencoder) -> tuple[Settings, Tensors]:
    """Convert to the layout of a sparsify 1.3 ``SparseCoder``."""
    require_topk(sae, "sparsify")
    settings = {
        "activation": "topk",
        "expansion_factor": max(1, sae.latents // sae.width),
        "normalize_decoder": True,
        "num_latents": sae.latents,
        "k": sae.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.width,
    }
    names = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")
    return settings, dict(zip(names, (sae.encoder, sae.latent_bias, sae.decoder, sae.pre_bias), strict=True))


def read_sparsify(settings: Settings, tensors: Tensors) -> SparseAutoencoder:
    """Convert a TopK autoencoder; transcoders are not supported."""
    require_supported(settings.get("activation", "topk") == "topk", f"the activation {settings.get('activation')}")
    require_supported(not settings.get("transcode") and not settings.get("skip_connection"), "a transcoder")
    return sae_from_tensors(
        tensors["encoder.weight"], tensors["encoder.bias"], tensors["W_dec"], tensors["b_dec"], int(settings["k"])
    )


def write_openai(sae: SparseAutoencoder) -> tuple[Settings, Tensors]:
    """Convert to openai/sparse_autoencoder's tensor names, with the settings that sdxl-unbox expects."""
    require_topk(sae, "openai")
    settings = {
        "n_dirs_local": sae.latents,
        "d_model": sae.width,
        "k": sae.k,
        "auxk": 256,
        "dead_steps_threshold": 10_000_000,
    }
    tensors = {
        "encoder.weight": sae.encoder,
        "latent_bias": sae.latent_bias,
        "decoder.weight": sae.decoder.T,
        "pre_bias": sae.pre_bias,
        "stats_last_nonzero": torch.zeros(sae.latents, dtype=torch.int64),
    }
    return settings, tensors


def read_openai(settings: Settings, tensors: Tensors) -> SparseAutoencoder:
    """Convert an autoencoder; its dead-latent statistics are dropped."""
    return sae_from_tensors(
        tensors["encoder.weight"],
        tensors["latent_bias"],
        tensors["decoder.weight"].T,
        tensors["pre_bias"],
        int(settings["k"]),
    )


LAYOUTS = {
    "saelens": Layout("cfg.json", "sae_weights.safetensors", write_saelens, read_saelens),
    "sparsify": Layout("cfg.json", "sae.safetensors", write_sparsify, read_sparsify),
    "openai": Layout("config.json", "state_dict.safetensors", write_openai, read_openai),
}


def write_layout(sae: SparseAutoencoder, folder: Path, layout: str) -> None:
    """Write in another tool's layout.

    Raises:
        FeatureError: the layout is unknown, or does not support this activation.
    """
    form = layout_by_name(layout)
    settings, tensors = form.write(fold_normalization(sae))
    ready = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / form.weights, save(ready))
    write_bytes(folder / form.config, json.dumps(settings, indent=1).encode())


def read_any(folder: Path) -> SparseAutoencoder:
    """Read an autoencoder in our layout or another tool's, detected by file names.

    Raises:
        FeatureError: there is none, its files do not belong together, or they are pickled.
    """
    if (folder / CONFIG_FILE).is_file():
        return load_sae(folder)
    for form in LAYOUTS.values():
        if (folder / form.weights).is_file():
            return read_layout(form, folder)
    pickled = sorted(path.name for path in folder.glob("*.p*t*")) if folder.is_dir() else []
    if pickled:
        raise FeatureError(
            f"{pickled[0]} is pickled; loading it could execute arbitrary code.",
            field="folder",
            remedy="If you trust the file, convert it to state_dict.safetensors with safetensors.torch.save_file.",
        )
    return load_sae(folder)


def read_layout(form: Layout, folder: Path) -> SparseAutoencoder:
    """Read an autoencoder from a folder in the given layout."""
    try:
        settings = json.loads((folder / form.config).read_text())
        tensors = {name: tensor.float() for name, tensor in load_file(folder / form.weights).items()}
        return form.read(settings, tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise FeatureError(
            f"{form.config} and {form.weights} do not describe an autoencoder: {error}",
            field="folder",
            remedy="Export it again from the tool that wrote it.",
        ) from error


def layout_by_name(layout: str) -> Layout:
    """Return a layout by name."""
    if layout not in LAYOUTS:
        raise FeatureError(
            f"Unknown layout {layout!r}.", field="layout", remedy=f"Use one of {', '.join(sorted(LAYOUTS))}."
        )
    return LAYOUTS[layout]


def require_supported(condition: bool, feature: str) -> None:
    """Raise unless the condition holds.

    Raises:
        FeatureError: the autoencoder uses a feature that has no equivalent here.
    """
    if not condition:
        raise FeatureError(
            f"Not supported: {feature}.", field="folder", remedy="Export a topk, jumprelu or standard autoencoder."
        )


def require_topk(sae: SparseAutoencoder, layout: str) -> None:
    """Raise for other activations than TopK, which two of the layouts do not support."""
    if sae.activation != "topk":
        raise FeatureError(
            f"The {layout} layout supports TopK autoencoders only; this one is {sae.activation}.",
            field="layout",
            remedy="Use the saelens layout, which supports all three.",
        )
