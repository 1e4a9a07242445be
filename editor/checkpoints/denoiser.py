"""A checkpoint's denoiser: the tensors that read text, by their names in diffusers, in any file layout.

The tables of original names follow diffusers 0.42 (``loaders/single_file_utils.py``), and hold for the families that
:data:`editor.checkpoints.key_mapping.Family` lists.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from editor.checkpoints.key_mapping import Family, StoredTensor
from editor.checkpoints.safe_paths import chosen_variant, find_weights
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import TensorLocation, digest_tensors
from editor.errors import CheckpointError

COMPONENTS = ("unet", "transformer")
"""Folders of a denoiser in diffusers' layout."""
WEIGHTS_STEM = "diffusion_pytorch_model"
ORIGINAL_PREFIX = "model.diffusion_model."
"""Prefix of the denoiser's tensors in a single file; files of a denoiser alone omit it."""
TEXT_TENSORS = re.compile(
    r"(.+\.)?attn2\.to_[kv]\.weight"
    r"|add_embedding\.linear_1\.weight"
    r"|context_embedder\.weight"
    r"|caption_projection\.linear_1\.weight"
    r"|txt_(in|norm)\.weight"
    r"|cap_embedder\.[01]\.weight"
    r"|time_caption_embed\.caption_embedder\.[01]\.weight"
    r"|time_text_embed\.text_embedder\.linear_1\.weight"
)
"""Names in diffusers of the linear maps that read text, and of the norms before them."""
TEXT_GATES: Mapping[str, str | None] = {
    "context_embedder.weight": None,
    "caption_projection.linear_1.weight": None,
    "txt_in.weight": "txt_norm.weight",
    "cap_embedder.1.weight": "cap_embedder.0.weight",
    "time_caption_embed.caption_embedder.1.weight": "time_caption_embed.caption_embedder.0.weight",
}
"""Names in diffusers of the map through which a transformer reads its sequence of text, and of the norm before it. A denoiser
has at most one."""
ORIGINAL_GATES: Mapping[str, Mapping[str, str]] = {
    "sdxl": {"label_emb.0.0.weight": "add_embedding.linear_1.weight"},
    "sd3": {
        "context_embedder.weight": "context_embedder.weight",
        "y_embedder.mlp.0.weight": "time_text_embed.text_embedder.linear_1.weight",
    },
    "flux": {
        "txt_in.weight": "context_embedder.weight",
        "vector_in.in_layer.weight": "time_text_embed.text_embedder.linear_1.weight",
    },
}
"""Original names of gates -> their names in diffusers, by family."""
ATTENTION_BLOCKS = re.compile(r"(?:(input|output)_blocks\.(\d+)|middle_block)\.1\.(.+)")
"""An attention block of a UNet in its original layout, which counts three modules to a resolution."""


@dataclass(frozen=True)
class Denoiser:
    """A denoiser on disk. None of its tensors are in memory."""

    component: str
    """``unet`` or ``transformer``."""
    locations: Mapping[str, TensorLocation] = field(repr=False)
    """The tensors that read text, by their names in diffusers."""

    @property
    def text_gate(self) -> str | None:
        """The name of the map through which the sequence of text is read; None if there is no such map."""
        return next((name for name in TEXT_GATES if name in self.locations), None)

    def locate(self, name: str) -> TensorLocation:
        """Find a tensor. Raises CheckpointError if the denoiser does not have it."""
        try:
            return self.locations[name]
        except KeyError:
            raise CheckpointError(
                f"The {self.component} has no tensor {name}.",
                field="model",
                remedy="Use the base model that was edited.",
            ) from None

    def stored_name(self, name: str) -> str:
        """Return the name of a tensor in its file."""
        return self.locate(name).stored.name

    def file_of(self, name: str) -> Path:
        """Return the file that contains a tensor."""
        return self.locate(name).file.path

    @property
    def files(self) -> frozenset[Path]:
        """The files that contain the denoiser's tensors."""
        return frozenset(location.file.path for location in self.locations.values())

    @cached_property
    def digest(self) -> str:
        """Digest of the tensors that read text."""
        return digest_tensors(self.locations)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, from the header."""
        return self.locate(name).shape

    def tensor(self, name: str) -> Tensor:
        """Read one tensor in the dtype of the file. Raises CheckpointError: it is missing, quantised or damaged."""
        return self.locate(name).read()


def open_denoiser(path: Path, family: Family) -> Denoiser | None:
    """Open the denoiser of a model, a diffusers folder or a single file. Return None if the model has none.

    Raises:
        CheckpointError: its files cannot be read.
    """
    if path.is_file():
        file = TensorFile(path)
        names = {canonical: name for name in file.layout.spans if (canonical := canonical_name(name, family))}
        component = "unet" if any("attn2" in name for name in names) else "transformer"
        return make_denoiser(component, {name: (file, stored) for name, stored in names.items()})
    component = next((name for name in COMPONENTS if (path / name).is_dir()), "")
    if not component:
        return None
    weights = find_weights(path, path / component, WEIGHTS_STEM, chosen_variant())
    files = [TensorFile(shard) for shard in weights]
    return make_denoiser(component, {name: (file, name) for file in files for name in text_tensors(file.layout.spans)})


def make_denoiser(component: str, found: Mapping[str, tuple[TensorFile, str]]) -> Denoiser | None:
    """Return the denoiser with tensors found by their names in diffusers; None without any."""
    locations = {name: TensorLocation(file, StoredTensor(stored)) for name, (file, stored) in sorted(found.items())}
    return Denoiser(component, locations) if locations else None


def text_tensors(names: Iterable[str]) -> list[str]:
    """Return the names of the tensors that read text."""
    return [name for name in names if TEXT_TENSORS.fullmatch(name)]


def canonical_name(stored: str, family: Family) -> str | None:
    """Return a tensor's name in diffusers; None if it reads no text."""
    name = stored.removeprefix(ORIGINAL_PREFIX)
    gate = ORIGINAL_GATES.get(family, {}).get(name)
    if gate:
        return gate
    block = ATTENTION_BLOCKS.fullmatch(name)
    renamed = rename_block(*block.groups()) if block else name
    return renamed if block and TEXT_TENSORS.fullmatch(renamed) else None


def rename_block(side: str | None, number: str | None, rest: str) -> str:
    """Return the name in diffusers of a tensor of a UNet's attention block: ``input_blocks.4.1.`` is the second of level 1."""
    if side is None or number is None:
        return f"mid_block.attentions.0.{rest}"
    level, place = divmod(int(number) - 1, 3) if side == "input" else divmod(int(number), 3)
    return f"{'down' if side == 'input' else 'up'}_blocks.{level}.attentions.{place}.{rest}"
