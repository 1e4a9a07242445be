"""Images with the base model's tensors and with the edited ones, from one pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from editor.checkpoints.tensor_update import TensorUpdate
from editor.generation.config import ImageSpec, Sampler
from editor.generation.edited_weights import edited_weights
from editor.generation.sampling import ImageCache
from editor.io.progress import ProgressCallback, SubProgress
from editor.judging.prompt_scores import GeneratedImages, Images


@dataclass(frozen=True)
class ImagePairGenerator:
    """A pipeline that generates images with the base model's tensors and with the edited ones, and caches both."""

    pipeline: Any
    updates: Sequence[TensorUpdate]
    sampler: Sampler
    before: ImageCache
    after: ImageCache

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: ProgressCallback) -> None:
        """Add the images of ``specs``, before and after the edit, to ``generated``; the pipeline ends with the base tensors."""
        self.generate_base(specs, generated, SubProgress(progress, 0.0, 0.5))
        with edited_weights(self.pipeline, self.updates):
            generated.after.update(self.cached_images(self.after, specs, SubProgress(progress, 0.5, 0.5)))

    def generate_base(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: ProgressCallback) -> None:
        """Add the base model's images of ``specs`` to ``generated``."""
        generated.before.update(self.cached_images(self.before, specs, progress))

    def cached_images(self, cache: ImageCache, specs: Sequence[ImageSpec], progress: ProgressCallback) -> Images:
        """Return the images by spec, from the cache where it has them."""
        return dict(zip(specs, cache.generate(self.pipeline, self.sampler, specs, progress), strict=True))
