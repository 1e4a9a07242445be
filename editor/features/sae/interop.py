"""Autoencoders in other tools' layouts: SAELens, sparsify, and openai's as sdxl-unbox uses it. safetensors only.

    SAELens    cfg.json     sae_weights.safetensors   W_enc (d, n), b_enc, W_dec (n, d), b_dec, threshold of a jumprelu
    sparsify   cfg.json     sae.safetensors           encoder.weight (n, d), encoder.bias, W_dec (n, d), b_dec
    openai     config.json  state_dict.safetensors    encoder.weight (n, d), latent_bias, decoder.weight (d, n), pre_bias

None of them centres and scales rows, so that is folded into the biases first, exactly: codes come out divided by the
scale, which TopK and ReLU don't mind, and decoder rows keep their length.
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
"""Ours -> SAELens's. A trained BatchTopK is a JumpReLU by its threshold."""


@dataclass(frozen=True)
class Layout:
    """One tool's files, and how they correspond to ours."""

    config: str
    weights: str
    write: Callable[[SparseAutoencoder], tuple[Settings, Tensors]]
    read: Callable[[Settings, Tensors], SparseAutoencoder]


def fold_normalization(sae: SparseAutoencoder) -> SparseAutoencoder:
    """The same function of raw rows with mean 0 and scale 1."""
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
    """One of ours from its tensors, in float32."""
    sae = SparseAutoencoder(encoder.shape[1], encoder.shape[0], k, activation)
    with torch.no_grad():
        pairs = [
            (sae.encoder, encoder),
            (sae.latent_bias, latent_bias),
            (sae.decoder, decoder),
            (sae.pre_bias, pre_bias),
        ]
        for mine, given in pairs:
            mine.copy_(given.view_as(mine))
    return sae.eval()


def write_saelens(sae: SparseAutoencoder) -> tuple[Settings, Tensors]:
    """As SAELens 6 writes a trained autoencoder."""
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


def read_saelens(settings: Settings, tensors: Tensors) -> SparseAutoencoder:
    """topk, jumprelu and standard; decoder norms and a bias that the encoder does not see are folded in."""
    activation = {theirs: mine for mine, theirs in ARCHITECTURES.items()}.get(settings["architecture"])
    require_supported(activation is not None, f"the architecture {settings['architecture']}")
    for key in ("normalize_activations", "reshape_activations"):
        require_supported(settings.get(key, "none") == "none", f"{key}: {settings.get(key)}")
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
    """As sparsify 1.3 saves a SparseCoder."""
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
    """A TopK coder of a model onto itself."""
    require_supported(settings.get("activation", "topk") == "topk", f"the activation {settings.get('activation')}")
    require_supported(not settings.get("transcode") and not settings.get("skip_connection"), "a transcoder")
    return sae_from_tensors(
        tensors["encoder.weight"], tensors["encoder.bias"], tensors["W_dec"], tensors["b_dec"], int(settings["k"])
    )


def write_openai(sae: SparseAutoencoder) -> tuple[Settings, Tensors]:
    """openai/sparse_autoencoder's names, with the settings that sdxl-unbox constructs it from."""
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
    """Its statistics of dead latents are left behind."""
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
        FeatureError: the layout is unknown, or can't hold this kind of autoencoder.
    """
    form = layout_by_name(layout)
    settings, tensors = form.write(fold_normalization(sae))
    ready = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / form.weights, save(ready))
    write_bytes(folder / form.config, json.dumps(settings, indent=1).encode())


def read_any(folder: Path) -> SparseAutoencoder:
    """Ours or another tool's, by the files that are there.

    Raises:
        FeatureError: none is there, the files don't fit, or they are pickled.
    """
    if (folder / CONFIG_FILE).is_file():
        return load_sae(folder)
    for form in LAYOUTS.values():
        if (folder / form.weights).is_file():
            return read_layout(form, folder)
    pickled = sorted(path.name for path in folder.glob("*.p*t*")) if folder.is_dir() else []
    if pickled:
        raise FeatureError(
            f"{pickled[0]} is pickled, and opening it could run anything.",
            field="folder",
            remedy="Write its tensors by safetensors.torch.save_file, as state_dict.safetensors, where you trust it.",
        )
    return load_sae(folder)


def read_layout(form: Layout, folder: Path) -> SparseAutoencoder:
    """From a folder in a known layout."""
    try:
        settings = json.loads((folder / form.config).read_text())
        tensors = {name: tensor.float() for name, tensor in load_file(folder / form.weights).items()}
        return form.read(settings, tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise FeatureError(
            f"{form.config} and {form.weights} don't describe an autoencoder: {error}",
            field="folder",
            remedy="Export it again from the tool that wrote it.",
        ) from error


def layout_by_name(layout: str) -> Layout:
    """By name."""
    if layout not in LAYOUTS:
        raise FeatureError(
            f'There is no layout "{layout}".', field="layout", remedy=f"Choose from {', '.join(sorted(LAYOUTS))}."
        )
    return LAYOUTS[layout]


def require_supported(holds: bool, what: str) -> None:
    """Refuse what we have no equal of."""
    if not holds:
        raise FeatureError(
            f"We have no equal of {what}.", field="folder", remedy="Export a topk, jumprelu or standard autoencoder."
        )


def require_topk(sae: SparseAutoencoder, layout: str) -> None:
    """Two of the layouts know nothing else."""
    if sae.activation != "topk":
        raise FeatureError(
            f"{layout} holds TopK autoencoders only, this is {sae.activation}.",
            field="layout",
            remedy="Choose saelens, which holds all three.",
        )
