"""The pipeline of one base model, kept in memory between jobs. Importing this module does not import torch."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editor.generation.device import ComputeDevice
from editor.io.file_version import ModelVersion, model_version

if TYPE_CHECKING:
    import torch

DEFAULT_SHARE = 0.5
"""Share of the memory that weights may take between jobs, unless ``EXPUNGE_WARM_MEMORY`` says otherwise."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineKey:
    """What a pipeline was loaded from, and onto which device. Another version of a file is another key."""

    path: Path
    components: Path | None
    versions: tuple[ModelVersion, ...]
    device: ComputeDevice

    @classmethod
    def of(cls, path: Path, components: Path | None, device: ComputeDevice) -> "PipelineKey":
        """Return the key of the files as they are now."""
        paths = [path.resolve(), *([components.resolve()] if components else [])]
        return cls(paths[0], components and paths[1], tuple(map(model_version, paths)), device)


@dataclass(frozen=True)
class WarmPipeline:
    """A pipeline in memory, and its state when it was loaded."""

    key: PipelineKey
    pipeline: Any
    state: str

    def is_unmodified(self) -> bool:
        """Return whether no job has left a change in the pipeline."""
        from editor.generation.pipeline_state import pipeline_state

        return pipeline_state(self.pipeline) == self.state


@dataclass
class WarmPipelines:
    """Loads pipelines, and keeps the last one as long as it fits the memory budget."""

    kept: WarmPipeline | None = None

    def load(self, path: Path, components: Path | None, device: ComputeDevice) -> Any:
        """Return the pipeline of a base model on a device: the one in memory if it is the same and unmodified.

        The one in memory is dropped before another is loaded. The arguments and errors are those of
        :func:`editor.generation.pipelines.load_pipeline`.
        """
        from editor.generation.placement import place_pipeline, reset_pipeline

        key = PipelineKey.of(path, components, device)
        if self.kept and self.kept.key == key and self.kept.is_unmodified():
            return reset_pipeline(self.kept.pipeline, device)
        self.drop()
        from editor.generation.pipelines import load_pipeline

        pipeline = place_pipeline(load_pipeline(path, components=components, dtype=device.dtype), device)
        self._keep(key, pipeline)
        return pipeline

    def drop(self) -> None:
        """Free the memory of the pipeline."""
        if self.kept:
            from editor.generation.batch_size import free_memory

            log.info("the pipeline in memory is dropped: another one is needed, or a file or the pipeline has changed")
            self.kept = None
            free_memory()

    def _keep(self, key: PipelineKey, pipeline: Any) -> None:
        """Keep a pipeline for the next job if it fits the budget, and no file has changed while it was loaded."""
        from editor.generation.pipeline_state import pipeline_state, size_in_bytes

        is_small = size_in_bytes(pipeline) <= warm_budget(key.device)
        if is_small and PipelineKey.of(key.path, key.components, key.device) == key:
            self.kept = WarmPipeline(key, pipeline, pipeline_state(pipeline))


def warm_budget(device: ComputeDevice) -> int:
    """Return how many bytes of weights may stay in memory between jobs: the setting's, or half of the memory they are in."""
    settings = device.settings
    if settings.warm_memory is not None:
        return settings.warm_memory
    return int(DEFAULT_SHARE * total_memory(device.torch_device if settings.offload == "none" else None))


def total_memory(device: "torch.device | None") -> int:
    """Return the memory of a GPU in bytes; of the machine for a CPU, for None, and for GPUs that share it."""
    import torch

    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
