"""Decide where each component of a pipeline comes from, before anything is loaded."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from editor.checkpoints.safe_paths import check_inside, read_json
from editor.checkpoints.tokenizers import open_tokenizer
from editor.errors import CheckpointError
from editor.generation.pipelines.classes import (
    Loader,
    call_without_dtype,
    component_class,
    is_model,
    is_tokenizer,
    text_to_image_class,
)
from editor.generation.pipelines.families import family_folder, scheduler_changes
from editor.generation.pipelines.quiet_libraries import quiet_libraries
from editor.generation.pipelines.sources import Configs, Source, open_source

INDEX = "model_index.json"
UNUSED_COMPONENTS = ("safety_checker", "feature_extractor", "image_encoder")
"""Optional components that text-to-image generation does not need."""
OPTIONAL_T5 = ("text_encoder_3", "tokenizer_3")
"""SD3 works without T5, whose part of the conditioning is then zero."""


@dataclass(frozen=True)
class PipelinePlan:
    """A pipeline that can be loaded."""

    pipeline_class: Any
    folder: Path
    """The diffusers folder with the index."""
    loaders: Mapping[str, Loader | None]
    """How each component is loaded. None for a component that the pipeline does without."""

    def load(self, dtype: torch.dtype) -> Any:
        """Load the pipeline. Raises CheckpointError if a file cannot be read."""
        with quiet_libraries():
            loaded = {name: self.load_component(name, dtype) for name in self.loaders}
            if "requires_safety_checker" in inspect.signature(self.pipeline_class.__init__).parameters:
                loaded["requires_safety_checker"] = False
            pipeline = self.pipeline_class.from_pretrained(self.folder, local_files_only=True, **loaded)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def load_component(self, name: str, dtype: torch.dtype) -> Any:
        """Load a component. Raises CheckpointError if a file cannot be read."""
        loader = self.loaders[name]
        try:
            return loader and loader(dtype)
        except CheckpointError:
            raise
        except Exception as error:  # diffusers, transformers and torch raise many kinds of exceptions
            raise CheckpointError(
                f"The {name} can't be loaded: {error}.", field="model", remedy="Download the model again."
            ) from error


def plan_pipeline(path: Path, components: Path | None = None) -> PipelinePlan:
    """Decide how to load a pipeline. The arguments and errors are those of :func:`load_pipeline`."""
    if components and not components.is_dir():
        raise CheckpointError(
            f"{components} is not a folder.",
            field="components",
            remedy="Pass the folder with the files that the model lacks.",
        )
    is_folder = (path / INDEX).is_file()
    sources = [Source(path) if is_folder else open_source(path), *([open_source(components)] if components else [])]
    denoiser = next((part for source in sources if (part := source.find_part("denoiser"))), None)
    family = family_folder(denoiser) if denoiser and not is_folder else None
    folders = [folder for folder in (path if is_folder else None, components, family) if folder]
    index_folder = next((folder for folder in folders if (folder / INDEX).is_file()), None)
    if index_folder is None:
        raise no_denoiser(path)
    index = read_json(check_inside(index_folder, index_folder / INDEX))
    planner = Planner(path, index, index_folder, sources, Configs(tuple(folders)))
    loaders = planner.loaders()
    if family and denoiser and not (components and (components / "scheduler").is_dir()):
        loaders["scheduler"] = planner.scheduler_loader(family, scheduler_changes(denoiser))
    return PipelinePlan(planner.pipeline_class, index_folder, loaders)


def no_denoiser(path: Path) -> CheckpointError:
    """Return the error for a model from which no image can be generated."""
    return CheckpointError(
        f"Images can't be generated with {path}: it contains no denoiser (UNet or transformer).",
        field="validation.enabled",
        remedy="Pass the folder with the denoiser and the autoencoder as --components, or turn validation off.",
    )


@dataclass(frozen=True)
class Planner:
    """Finds the loader of each component."""

    path: Path
    index: Mapping[str, Any]
    index_folder: Path
    sources: list[Source]
    configs: Configs

    @property
    def pipeline_class(self) -> Any:
        """The class of the pipeline."""
        return text_to_image_class(self.index.get("_class_name"), self.path)

    def loaders(self) -> dict[str, Loader | None]:
        """Return the loader of each component.

        Raises:
            CheckpointError: components are missing; the error lists them.
        """
        pipeline_class, loaders = self.pipeline_class, {}
        missing = self.unlisted_components(pipeline_class)
        for name, (library, class_name) in component_entries(self.index):
            loader = None
            if name not in UNUSED_COMPONENTS or name not in pipeline_class._optional_components:
                loader = self.find_loader(name, component_class(library, class_name, self.path))
                if loader is None and name not in OPTIONAL_T5:
                    missing.append(f"{name} ({class_name})")
            loaders[name] = loader
        if loaders.get("text_encoder_3") and loaders["tokenizer_3"] is None:
            missing.append(f"tokenizer_3 ({self.index['tokenizer_3'][1]})")
        if missing:
            raise self.missing_components(missing)
        return loaders

    def unlisted_components(self, pipeline_class: Any) -> list[str]:
        """Return the components that the pipeline needs and its index does not list."""
        needed, _ = pipeline_class._get_signature_keys(pipeline_class)
        listed = {name for name, _ in component_entries(self.index)}
        return sorted(set(needed) - listed - {*pipeline_class._optional_components, *OPTIONAL_T5})

    def find_loader(self, name: str, found: Any) -> Loader | None:
        """Return the loader of a component from the first source that contains it."""
        loaders: Iterable[Loader | None]
        if is_model(found):
            loaders = (source.model_loader(name, found, self.configs) for source in self.sources)
        elif is_tokenizer(found):
            loaders = self.tokenizer_loaders(name, found)
        else:
            folders = [folder for folder in self.configs.folders if (folder / name).is_dir()]
            loaders = (call_without_dtype(found.from_pretrained, folder / name) for folder in folders)
        return next((loader for loader in loaders if loader), None)

    def tokenizer_loaders(self, name: str, found: Any) -> Iterator[Loader]:
        """Return the loaders of a tokenizer: its folders, then CLIP's own tokenizer for an encoder in a loose file."""
        for source in self.sources:
            if folder := source.tokenizer_folder(name):
                check_inside(source.path, folder)
                yield call_without_dtype(found.from_pretrained, folder, local_files_only=True)
        for source in self.sources:
            if encoder := source.find_encoder(name.replace("tokenizer", "text_encoder")):
                yield call_without_dtype(open_tokenizer, encoder)

    def scheduler_loader(self, family: Path, changes: dict[str, Any]) -> Loader:
        """Return the loader of a family's scheduler with the settings that a file states."""
        library, class_name = self.index["scheduler"]
        scheduler = component_class(library, class_name, self.path)
        config = read_json(family / "scheduler" / "scheduler_config.json") | changes
        return call_without_dtype(scheduler.from_config, config)

    def missing_components(self, missing: list[str]) -> CheckpointError:
        """Return the error for a model that lacks components."""
        names = ", ".join(missing)
        return CheckpointError(
            f"Images can't be generated with {self.path}: it lacks {names}.",
            field="components",
            remedy="Pass a folder that contains them as --components: as folders of diffusers such as tokenizer_2, "
            "or as files such as ae.safetensors and t5xxl_fp16.safetensors. Or turn validation off.",
        )


def component_entries(index: Mapping[str, Any]) -> list[tuple[str, tuple[str, str]]]:
    """Return the components of an index: their names, libraries and classes."""
    entries = [(name, entry) for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2]
    return [(name, (str(library), str(found))) for name, (library, found) in entries if library is not None]
