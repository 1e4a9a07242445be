"""A judge's image processor: resize, crop, rescale and normalise as its ``preprocessor_config.json`` says.

transformers' processors need torchvision or convert one image at a time through floating point. This one takes the integers
that they take, resizes with the same PIL filters, and looks normalised values up in a table of 256 per channel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from api_schemas.judging import ImagePreprocessing, PreprocessingSource
from editor.checkpoints.safe_paths import read_json
from editor.errors import JudgeError
from editor.generation.config import Image
from editor.judging.judge import JUDGE_SETTING

NESTED_FILE, PLAIN_FILE = "processor_config.json", "preprocessor_config.json"
HALF = (0.5, 0.5, 0.5)
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the pixels that OpenAI trained CLIP on."""
BICUBIC, BILINEAR = int(PIL.Image.Resampling.BICUBIC), int(PIL.Image.Resampling.BILINEAR)
DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": {
        "image_mean": OPENAI_MEAN,
        "image_std": OPENAI_STD,
        "resample": BICUBIC,
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
    },
    "Siglip": {
        "image_mean": HALF,
        "image_std": HALF,
        "resample": BICUBIC,
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
    },
    "Siglip2": {
        "image_mean": HALF,
        "image_std": HALF,
        "resample": BILINEAR,
        "do_center_crop": False,
        "patch_size": 16,
        "max_num_patches": 256,
    },
}
"""What transformers' ``...ImageProcessor`` of each family does if its file leaves a field out."""
FAMILY_OF_MODEL_TYPE = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}
TYPE_SUFFIXES = ("Fast", "Pil", "ImageProcessor", "FeatureExtractor")
Size = tuple[int, int] | int | None
"""Height and width, or the length of the shortest edge, or None: images keep their size."""


@dataclass(frozen=True)
class PatchGrid:
    """Siglip2's variable resolution: images keep their aspect ratio and become at most ``count`` patches."""

    side: int
    """Pixels along a side of a patch."""
    count: int


@dataclass(frozen=True)
class ImageProcessor:
    """Turns images ``(height, width, 3)`` uint8 into a vision encoder's inputs."""

    source: PreprocessingSource
    size: Size
    crop: tuple[int, int] | None
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    grid: PatchGrid | None = None

    def process(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """Return the keyword arguments of the vision encoder for a batch of images."""
        resized = [center_crop(resize(image, self.target_size(image), self.resample), self.crop) for image in images]
        if self.grid:
            return stack_patches([self.normalize(image[None])[0] for image in resized], self.grid)
        return {"pixel_values": torch.from_numpy(self.normalize(np.stack(resized)))}

    def target_size(self, image: Image) -> tuple[int, int]:
        """Return the height and width that an image is resized to."""
        height, width = image.shape[:2]
        if self.grid:
            return grid_size(height, width, self.grid)
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        long = int(self.size * max(height, width) / min(height, width))
        return (long, self.size) if width <= height else (self.size, long)

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Return ``(n, 3, height, width)`` float32 of images ``(n, height, width, 3)``."""
        return np.stack([self.table[channel][images[..., channel]] for channel in range(3)], axis=1)

    @cached_property
    def table(self) -> np.ndarray:
        """The normalised value of each of the 256 values of each channel, ``(3, 256)`` float32."""
        values = np.arange(256)[None] * self.scale
        normalized: np.ndarray = (values - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]
        return normalized.astype(np.float32)

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of every processed image; None if they depend on the image."""
        return self.crop or (self.size if isinstance(self.size, tuple) else None)

    def describe(self) -> ImagePreprocessing:
        """Return the record for the report."""
        size = self.crop or self.size
        return ImagePreprocessing(
            source=self.source,
            size=list(size) if isinstance(size, tuple) else [size] if size else [],
            interpolation=PIL.Image.Resampling(self.resample).name.lower(),
            mean=list(self.mean),
            std=list(self.std),
        )


def read_image_processor(folder: Path, config: Mapping[str, Any]) -> ImageProcessor:
    """Read the image processor of a judge's folder, whose ``config.json`` is ``config``.

    Without a file, the published values of the model type are used at the image size of ``config``, and the record says so.

    Raises:
        JudgeError: the file is of an unknown processor or has an invalid value, or its images do not fit the model.
    """
    fields, source = read_fields(folder)
    family = processor_family(folder, fields, str(config.get("model_type")))
    vision = dict(config.get("vision_config") or {})
    defaults = DEFAULTS[family] | ({} if fields else model_sizes(family, vision))
    try:
        processor = make_processor(defaults | fields, source)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise JudgeError(
            f"{folder / source} is not valid: {error}.", field=JUDGE_SETTING, remedy="Download the file again."
        ) from error
    check_image_size(folder, processor, vision.get("image_size"))
    return processor


def read_fields(folder: Path) -> tuple[dict[str, Any], PreprocessingSource]:
    """Return the fields of the processor's file, and the name of the file. transformers 5 nests them in another one."""
    nested = folder / NESTED_FILE
    fields = read_json(nested).get("image_processor") if nested.is_file() else None
    if isinstance(fields, dict):
        return without_nulls(fields), "processor_config.json"
    if (folder / PLAIN_FILE).is_file():
        return without_nulls(read_json(folder / PLAIN_FILE)), "preprocessor_config.json"
    return {}, "model type"


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the fields without a value, which transformers writes for what a processor does not use."""
    return {name: value for name, value in fields.items() if value is not None}


def processor_family(folder: Path, fields: Mapping[str, Any], model_type: str) -> str:
    """Return the family of processors in `DEFAULTS`. Raises JudgeError: it is another one."""
    stated = str(fields.get("image_processor_type") or fields.get("feature_extractor_type") or "")
    family = stated
    for suffix in TYPE_SUFFIXES:
        family = family.removesuffix(suffix)
    family = family or FAMILY_OF_MODEL_TYPE.get(model_type, "CLIP")
    if family not in DEFAULTS:
        raise JudgeError(
            f"The judge in {folder} reads images with a {stated}, which is not supported.",
            field=JUDGE_SETTING,
            remedy="Choose a CLIP, SigLIP or SigLIP 2 model with the image processor of its family.",
        )
    return family


def model_sizes(family: str, vision: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes that a vision encoder's configuration implies."""
    if family == "Siglip2":
        return {"patch_size": vision.get("patch_size", 16), "max_num_patches": vision.get("num_patches", 256)}
    side = int(vision.get("image_size", 224))
    square = {"height": side, "width": side}
    return {"size": {"shortest_edge": side} if family == "CLIP" else square, "crop_size": square}


def make_processor(fields: Mapping[str, Any], source: PreprocessingSource) -> ImageProcessor:
    """Return the processor that a file's fields describe."""
    normalizes, rescales = fields.get("do_normalize", True), fields.get("do_rescale", True)
    return ImageProcessor(
        source,
        parse_size(fields["size"]) if fields.get("do_resize", True) and "size" in fields else None,
        parse_square(fields["crop_size"]) if fields["do_center_crop"] else None,
        int(PIL.Image.Resampling(fields["resample"])),
        parse_channels(fields["image_mean"]) if normalizes else (0.0, 0.0, 0.0),
        parse_channels(fields["image_std"]) if normalizes else (1.0, 1.0, 1.0),
        float(fields.get("rescale_factor", 1 / 255)) if rescales else 1.0,
        PatchGrid(int(fields["patch_size"]), int(fields["max_num_patches"])) if "max_num_patches" in fields else None,
    )


def parse_size(value: Any) -> tuple[int, int] | int:
    """Parse ``size``: a mapping with ``shortest_edge`` or with ``height`` and ``width``, or a number for the shortest edge."""
    if isinstance(value, Mapping) and "shortest_edge" not in value:
        return positive(value["height"]), positive(value["width"])
    return positive(value["shortest_edge"] if isinstance(value, Mapping) else value)


def parse_square(value: Any) -> tuple[int, int]:
    """Parse ``crop_size``, where a number stands for both sides."""
    size = parse_size(value)
    return size if isinstance(size, tuple) else (size, size)


def positive(value: Any) -> int:
    """Return a number of pixels. Raises ValueError: it is not above 0."""
    if int(value) <= 0:
        raise ValueError(f"a size of {value} pixels")
    return int(value)


def parse_channels(value: Any) -> tuple[float, ...]:
    """Parse a mean or standard deviation: one number for all channels, or one for each."""
    channels = [float(value)] * 3 if isinstance(value, int | float) else [float(one) for one in value]
    if len(channels) != 3 or not all(map(math.isfinite, channels)):
        raise ValueError(f"{value} does not have three channels")
    return tuple(channels)


def check_image_size(folder: Path, processor: ImageProcessor, side: Any) -> None:
    """Refuse a processor whose images are of another size than the vision encoder's position embeddings."""
    size = processor.output_size
    if size and isinstance(side, int) and size != (side, side):
        raise JudgeError(
            f"The judge in {folder} reads {side} x {side} pixels, "
            f"but its {processor.source} makes {size[0]} x {size[1]}.",
            field=JUDGE_SETTING,
            remedy="Use the preprocessor_config.json that belongs to this model.",
        )


def resize(image: Image, size: tuple[int, int], resample: int) -> Image:
    """Resize an image to ``(height, width)`` with a PIL filter."""
    if image.shape[:2] == size:
        return image
    resized: Image = np.asarray(PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling(resample)))
    return resized


def center_crop(image: Image, size: tuple[int, int] | None) -> Image:
    """Cut ``(height, width)`` from the middle of an image. A smaller image is padded with zeros."""
    if size is None or image.shape[:2] == size:
        return image
    missing = [max(wanted - given, 0) for wanted, given in zip(size, image.shape[:2], strict=True)]
    padded = np.pad(image, [(-(-one // 2), one // 2) for one in missing] + [(0, 0)])
    top, left = ((given - wanted) // 2 for wanted, given in zip(size, padded.shape[:2], strict=True))
    return padded[top : top + size[0], left : left + size[1]]


def grid_size(height: int, width: int, grid: PatchGrid, precision: float = 1e-5) -> tuple[int, int]:
    """Return the largest size, near the image's aspect ratio, of at most ``grid.count`` patches; by bisection, as Siglip2."""

    def scaled(length: int, scale: float) -> int:
        return max(grid.side, math.ceil(length * scale / grid.side) * grid.side)

    low, high = precision / 10, 100.0
    while high - low >= precision:
        scale = (low + high) / 2
        fits = scaled(height, scale) * scaled(width, scale) <= grid.count * grid.side**2
        low, high = (scale, high) if fits else (low, scale)
    return scaled(height, low), scaled(width, low)


def stack_patches(images: Sequence[np.ndarray], grid: PatchGrid) -> dict[str, Tensor]:
    """Cut images ``(3, height, width)`` into rows of patches, padded to ``grid.count``, with masks and shapes in patches."""
    pixels = torch.zeros(len(images), grid.count, 3 * grid.side**2)
    mask = torch.zeros(len(images), grid.count, dtype=torch.int32)
    shapes = torch.tensor([[image.shape[1] // grid.side, image.shape[2] // grid.side] for image in images])
    for index, image in enumerate(images):
        rows, columns = shapes[index].tolist()
        patches = torch.from_numpy(image).reshape(3, rows, grid.side, columns, grid.side).permute(1, 3, 2, 4, 0)
        pixels[index, : rows * columns] = patches.reshape(rows * columns, -1)
        mask[index, : rows * columns] = 1
    return {"pixel_values": pixels, "pixel_attention_mask": mask, "spatial_shapes": shapes}
