"""What ships with the embedded model to judge edits of it by: autoencoders with what stands for concepts, and Diff-C heads."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from api_schemas.feature_scores import Place
from editor.checkpoints import file_digest
from editor.emoji.features import heads, unet_sae
from editor.emoji.vocabulary import OBJECTS
from editor.features.sae.model import WEIGHTS, read_card
from editor.judging.feature_scores.scored import Autoencoder, Head, Instruments
from editor.prompts.concepts import Kind

STANDS = 0.8
"""Least AUC on held-out pictures of a latent that stands for a concept."""
READS: dict[Kind, str] = {"object": "mid_block", "style": "up_blocks.0"}
PROTOCOL = "images noised to the timestep, under the empty prompt"


@cache
def instruments() -> Instruments:
    """All of them; autoencoders only where they were trained."""
    found: dict[Kind, Autoencoder] = {
        kind: autoencoder(module) for kind, module in READS.items() if (unet_sae.FOLDER / module / WEIGHTS).is_file()
    }
    return Instruments(found, {"object": head("object"), "style": head("style")}, spread())


def autoencoder(module: str) -> Autoencoder:
    """One site's, with the latents that its card gives for objects and styles."""
    folder = unet_sae.FOLDER / module
    card = read_card(folder)
    stands = {name: [latent] for kind in READS for name, latent in standing(card["concepts"][kind]["best"]).items()}
    place = Place(
        module=module, timestep=card["timestep"], protocol=PROTOCOL, digest=file_digest(folder / WEIGHTS)
    )  # fmt: skip
    return Autoencoder(unet_sae.unet_sae(module), place, stands)


def standing(best: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """The latents that tell their concept on held-out pictures."""
    return {name: int(one["latent"]) for name, one in best.items() if one["auc"] >= STANDS}


def head(asks: Kind) -> Head:
    """A Diff-C classifier."""
    classifier, weights = heads.diffc_head(asks), Path(heads.FOLDER / asks / "model.safetensors")
    config = classifier.config
    place = Place(module=config.module, timestep=config.timestep, protocol=PROTOCOL, digest=file_digest(weights))
    return Head(classifier, place)


def spread() -> tuple[str, ...]:
    """Objects of all groups in turn: controls should differ."""
    longest = max(map(len, OBJECTS.values()))
    return tuple(names[i] for i in range(longest) for names in OBJECTS.values() if i < len(names))
