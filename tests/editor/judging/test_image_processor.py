"""A judge's image processor gives the pixels of transformers' own, and a judge reads images with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel, Siglip2Model, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from editor import emoji
from editor.checkpoints.safe_paths import read_json
from editor.errors import JudgeError
from editor.generation.config import Image
from editor.judging.judge import open_judge
from editor.judging.judges.image_processor import OPENAI_MEAN, OPENAI_STD, read_image_processor
from editor.prompts import PromptBuilder
from tests.editor.judging.judge_folders import clip_folder, siglip2_folder, siglip_folder

SIZES = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
PROCESSORS = {
    "CLIP with OpenAI's values": CLIPImageProcessorPil(**SIZES),
    "CLIP with other values": CLIPImageProcessorPil(
        image_mean=[0.1] * 3, image_std=[0.2, 0.3, 0.4], resample=2, **SIZES
    ),
    "resized to a larger size than the crop": CLIPImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 31, "width": 32}
    ),
    "padded to the crop": CLIPImageProcessorPil(do_resize=False, crop_size={"height": 70, "width": 51}),
    "neither cropped nor normalised": CLIPImageProcessorPil(
        do_center_crop=False, do_normalize=False, size={"height": 32, "width": 24}
    ),
    "neither rescaled": CLIPImageProcessorPil(do_rescale=False, **SIZES),
    "SigLIP": SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    "SigLIP 2": Siglip2ImageProcessorPil(patch_size=8, max_num_patches=24),
}


def random_images(*shapes: tuple[int, int]) -> list[Image]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("shape", [(64, 64), (48, 65), (33, 20)])
def test_pixels_are_those_of_transformers(name: str, shape: tuple[int, int], tmp_path: Path) -> None:
    PROCESSORS[name].save_pretrained(tmp_path)
    images = random_images(shape, shape)
    expected = PROCESSORS[name](images, return_tensors="pt")
    processed = read_image_processor(tmp_path, {}).process(images)
    assert processed.keys() == expected.keys()
    for field, values in processed.items():
        assert values.shape == expected[field].shape
        assert torch.allclose(values.float(), expected[field].float(), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "own", "model_class"),
    [
        (clip_folder, CLIPImageProcessorPil(**SIZES), CLIPModel),
        (siglip_folder, SiglipImageProcessorPil(size={"height": 32, "width": 32}), SiglipModel),
        (siglip2_folder, Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16), Siglip2Model),
    ],
)
def test_embeddings_are_those_of_transformers(
    make: Callable[..., Path],
    own: Any,
    model_class: Any,
    tokenizer: Any,
    builder: PromptBuilder,
    model_dir: Path,
    tmp_path: Path,
) -> None:
    """For a CLIP with OpenAI's mean and standard deviation, scaling pixels to [-1, 1] gives other embeddings."""
    own.save_pretrained(make(tmp_path, tokenizer))
    judge = open_judge(tmp_path, model_dir, builder.profile)
    model, images, texts = model_class.from_pretrained(tmp_path).eval(), random_images((64, 48), (64, 48)), ["a fox"]
    own_tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = own_tokenizer(texts, padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        seen = model.get_image_features(**own(images, return_tensors="pt")).pooler_output
        read = model.get_text_features(input_ids=ids).pooler_output
    assert torch.allclose(judge.embed_images(images), torch.nn.functional.normalize(seen), atol=1e-5)
    assert torch.allclose(judge.embed_texts(texts), torch.nn.functional.normalize(read), atol=1e-5)
    layers = judge.patch_features(images)
    assert len(layers) == 2
    assert all(layer.shape[0] == 2 and layer.shape[2] == 16 for layer in layers)


@pytest.mark.parametrize(
    ("make", "mean", "std", "size"),
    [
        (clip_folder, OPENAI_MEAN, OPENAI_STD, [32, 32]),
        (siglip_folder, (0.5,) * 3, (0.5,) * 3, [32, 32]),
        (siglip2_folder, (0.5,) * 3, (0.5,) * 3, []),
    ],
)
def test_a_folder_without_processor_uses_the_values_of_its_model_type_and_says_so(
    make: Callable[..., Path], mean: Any, std: Any, size: list[int], tokenizer: Any, tmp_path: Path
) -> None:
    folder = make(tmp_path, tokenizer)
    record = read_image_processor(folder, read_json(folder / "config.json")).describe()
    assert (record.source, record.size) == ("model type", size)
    assert (tuple(record.mean), tuple(record.std)) == (mean, std)


def test_the_embedded_judge_reads_pixels_from_minus_1_to_1() -> None:
    processor = read_image_processor(emoji.JUDGE, read_json(emoji.JUDGE / "config.json"))
    images = random_images((64, 64))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(processor.process(images)["pixel_values"], pixels, atol=1e-6)
    assert processor.describe().source == "preprocessor_config.json"


def test_the_file_of_transformers_5_is_read(tmp_path: Path) -> None:
    own = CLIPImageProcessorPil(image_mean=[0.2] * 3, **SIZES)
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": own.to_dict()}))
    record = read_image_processor(tmp_path, {"model_type": "clip"}).describe()
    assert (record.source, record.mean) == ("processor_config.json", [0.2] * 3)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"image_processor_type": "BlipImageProcessor"}, "BlipImageProcessor"),
        ({"image_mean": [0.5, 0.5]}, "three channels"),
        ({"size": {"shortest_edge": 0}}, "0 pixels"),
        ({"size": {"height": 32}}, "width"),
        ({"resample": 77}, "77"),
        ({"size": 64, "crop_size": 64}, "reads 32 x 32"),
    ],
)
def test_an_unusable_processor_is_refused(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    with pytest.raises(JudgeError, match=says) as caught:
        read_image_processor(tmp_path, {"model_type": "clip", "vision_config": {"image_size": 32}})
    assert caught.value.field == "EXPUNGE_JUDGE"
    assert caught.value.remedy
