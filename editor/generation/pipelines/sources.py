"""Where the components of a pipeline are: diffusers folders and loose files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from editor.checkpoints.key_mapping import TOKEN_EMBEDDING, Component, find_encoders
from editor.checkpoints.load_transformers import load_module
from editor.checkpoints.safe_paths import check_inside, chosen_variant, find_weights, read_json
from editor.checkpoints.single_file import read_encoder
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import TextEncoder
from editor.errors import CheckpointError
from editor.generation.pipelines.classes import Loader, is_of_transformers, weights_stem
from editor.generation.pipelines.parts import Kind, Part, find_parts
from editor.generation.pipelines.weights import check_gguf_is_installed, load_gguf_t5, load_model, load_t5, unfit

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
"""One of them must exist in the folder of a tokenizer."""
CLIP_CLASSES = {"CLIPTextModel": False, "CLIPTextModelWithProjection": True}
"""Whether the class projects its pooled output."""


@dataclass(frozen=True)
class Source:
    """A model, or a folder with what a model lacks."""

    path: Path
    parts: list[Part] = field(default_factory=list)
    """Components in loose files."""
    encoders: list[TextEncoder] = field(default_factory=list)
    """CLIP text encoders in loose files."""
    gguf: list[Path] = field(default_factory=list)

    def find_part(self, kind: Kind) -> Part | None:
        """Return the component of a kind. Raises CheckpointError if several files contain one."""
        found = [part for part in self.parts if part.kind == kind]
        if len(found) > 1:
            raise CheckpointError(
                f"{self.path} contains more than one {kind}: {found[0].path.name} and {found[1].path.name}.",
                field="components",
                remedy="Use a folder with one file of each kind.",
            )
        return found[0] if found else None

    def model_loader(self, name: str, model_class: Any, configs: "Configs") -> Loader | None:
        """Return the loader of a component with weights, or None if this source does not contain it."""
        if has_weights(self.path, name, model_class):
            return folder_loader(self.path, name, model_class)
        if model_class.__name__ in CLIP_CLASSES:
            encoder = self.find_encoder(name)
            if encoder is None:
                return None
            settings = configs.clip_settings(name)
            check_layers(encoder, name, settings)
            return partial(load_clip, encoder, CLIP_CLASSES[model_class.__name__], settings)
        kind = kind_of(model_class)
        part = self.find_part(kind)
        if kind == "t5":
            return self.t5_loader(part, name, model_class, configs)
        if part is None:
            return None
        return partial(load_model, model_class, part, configs.folder(name, part.path), name)

    def t5_loader(self, part: Part | None, name: str, model_class: Any, configs: "Configs") -> Loader | None:
        """Return the loader of a T5 text encoder in safetensors or GGUF."""
        if part:
            return partial(load_t5, model_class, part, configs.folder(name, part.path) / name, name)
        files = [path for path in self.gguf if "t5" in path.name.lower()]
        if not files:
            return None
        check_gguf_is_installed(files[0])
        return partial(load_gguf_t5, model_class, files[0], configs.folder(name, files[0]) / name)

    def find_encoder(self, component: str) -> TextEncoder | None:
        """Return the CLIP text encoder of a component."""
        return next((encoder for encoder in self.encoders if encoder.component == component), None)

    def tokenizer_folder(self, name: str) -> Path | None:
        """Return the folder of a tokenizer, or None if this source does not contain it."""
        folder = self.path / name
        return folder if any((folder / file).is_file() for file in TOKENIZER_FILES) else None


@dataclass(frozen=True)
class Configs:
    """Folders with ``NAME/config.json`` of components in loose files, in order of preference."""

    folders: tuple[Path, ...]

    def find(self, name: str) -> Path | None:
        """Return the first folder with the configuration of a component."""
        return next((folder for folder in self.folders if (folder / name / "config.json").is_file()), None)

    def folder(self, name: str, path: Path) -> Path:
        """Return the folder with the configuration of a component. Raises CheckpointError if there is none."""
        found = self.find(name)
        if found is None:
            raise CheckpointError(
                f"The configuration of the {name} in {path.name} is not known.",
                field="components",
                remedy=f"Put its {name}/config.json into the folder passed as --components.",
            )
        return found

    def clip_settings(self, name: str) -> dict[str, Any]:
        """Return the settings of a CLIP text encoder that its tensors do not show.

        Stable Diffusion 2 omits the last layer, and the activation is inferred for the released widths only.
        """
        found = self.find(name)
        settings = read_json(found / name / "config.json") if found else {}
        return {key: settings[key] for key in ("num_hidden_layers", "hidden_act") if key in settings}


def open_source(path: Path) -> Source:
    """Open a file, or a folder with its loose files. Reads headers only."""
    files = list(loose_files(path, "*.safetensors")) if path.is_dir() else [path]
    opened = [TensorFile(file) for file in files]
    return Source(
        path,
        parts=[part for file in opened for part in find_parts(file)],
        encoders=[encoder for file in opened for encoder in find_clip(file)],
        gguf=list(loose_files(path, "*.gguf")) if path.is_dir() else [],
    )


def loose_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Return files in a folder and in its subfolders without ``config.json``, which are ComfyUI's rather than diffusers'."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not (path / "config.json").is_file())
    for place in (folder, *subfolders):
        yield from (check_inside(folder, path) for path in sorted(place.glob(pattern)))


def find_clip(file: TensorFile) -> Iterator[TextEncoder]:
    """Find the CLIP text encoders in a file. The name of a file with one encoder tells ``clip_g`` from ``clip_l``."""
    for where, scheme in find_encoders(file.layout.spans):
        component: Component = where.component
        if not where.prefix and "clip_g" in file.path.name.lower():
            component = "text_encoder_2"
        yield read_encoder(file, where, scheme, component)


def check_layers(encoder: TextEncoder, name: str, settings: Mapping[str, Any]) -> None:
    """Raise CheckpointError if the configuration of a CLIP text encoder states more layers than its file has."""
    layers = settings.get("num_hidden_layers", encoder.layers)
    if layers > encoder.layers:
        file = encoder.file_of(TOKEN_EMBEDDING)
        raise unfit(file, name, f"it has {encoder.layers} layers, and the configuration states {layers}")


def load_clip(encoder: TextEncoder, projected: bool, settings: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Load a CLIP text encoder by the reader that the edit uses."""
    return load_module(encoder, dtype, projected, settings)


def kind_of(model_class: Any) -> Kind:
    """Return the kind of component that a class of diffusers or transformers is."""
    if model_class.__name__.startswith("Autoencoder"):
        return "vae"
    return "t5" if model_class.__name__.startswith("T5") else "denoiser"


def has_weights(root: Path, name: str, model_class: Any) -> bool:
    """Return whether a diffusers folder contains the weights of a component."""
    return any((root / name).glob(f"{weights_stem(model_class)}*"))


def folder_loader(root: Path, name: str, model_class: Any) -> Loader:
    """Return the loader of a component in a diffusers folder, in the variant that an edit reads.

    Raises:
        CheckpointError: its weights are pickles, or are outside of the folder.
    """
    return partial(load_folder, root / name, model_class, find_variant(root, name, model_class))


def load_folder(folder: Path, model_class: Any, variant: str | None, dtype: torch.dtype) -> Any:
    """Load a component from its folder. Raises CheckpointError if tensors are missing, which the libraries fill with noise."""
    keyword = "dtype" if is_of_transformers(model_class) else "torch_dtype"
    model, info = model_class.from_pretrained(
        folder,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **{keyword: dtype},
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise CheckpointError(
            f"The weights in {folder} lack {len(missing)} tensors of {model_class.__name__}, among them {missing[0]}.",
            field="model",
            remedy="Download the model again.",
        )
    return model


def find_variant(root: Path, name: str, model_class: Any) -> str | None:
    """Return the variant of a component, such as ``fp16``; None for files without one.

    Raises:
        CheckpointError: its weights are pickles, or are outside of the folder.
    """
    stem = weights_stem(model_class)
    file = find_weights(root, root / name, stem, chosen_variant())[0].name.removeprefix(stem)
    return file.split("-")[0].strip(".").removesuffix("safetensors").strip(".") or None
