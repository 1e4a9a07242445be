"""The classes of pipelines and components, taken from diffusers and transformers only."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch

from editor.errors import CheckpointError

Loader = Callable[[torch.dtype], Any]
"""Loads a component in a dtype."""
LIBRARIES = ("diffusers", "transformers")
IMAGE_PARAMETERS = {"image", "mask_image", "control_image", "video"}
"""Parameters of pipelines that start from images."""


def text_to_image_class(name: object, source: object) -> Any:
    """Return the class of a pipeline that generates images from prompts alone.

    Args:
        name: ``_class_name`` in ``model_index.json``.
        source: the model, for the error.

    Raises:
        CheckpointError: diffusers has no such pipeline, or it needs more than a prompt.
    """
    import diffusers

    found = getattr(diffusers, str(name), None)
    if inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline) and needs_only_a_prompt(found):
        return found
    raise CheckpointError(
        f"Images can't be generated with {source}: {name or 'it'} is not a text-to-image pipeline of diffusers "
        f"{diffusers.__version__}.",
        field="model",
        remedy="Use a text-to-image pipeline of diffusers, such as StableDiffusionXLPipeline, or turn validation off.",
    )


def needs_only_a_prompt(pipeline_class: Any) -> bool:
    """Return whether a pipeline returns images and needs no other input than a prompt.

    Some text-to-image pipelines, such as ``Flux2Pipeline``, also edit images: ``AutoPipelineForText2Image`` lists them.
    """
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    parameters = inspect.signature(pipeline_class.__call__).parameters.keys()
    if not {"prompt", "num_images_per_prompt"} <= parameters or "Control" in pipeline_class.__name__:
        return False
    if pipeline_class._load_connected_pipes:  # Kandinsky 2 and Stable Cascade are spread over several repositories
        return False
    return not parameters & IMAGE_PARAMETERS or pipeline_class in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()


def component_class(library: str, name: str, source: object) -> Any:
    """Return the class of a component.

    Raises:
        CheckpointError: the class belongs to another library, whose code is never run, or does not exist.
    """
    from diffusers import pipelines

    if library in LIBRARIES:
        module: Any = importlib.import_module(library)
    else:
        module = getattr(pipelines, library, None)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        raise CheckpointError(
            f"{source} asks for {library}.{name}, which is not a class of diffusers or transformers.",
            field="model",
            remedy="Use a model without code of its own, or update diffusers and transformers.",
        )
    return found


def is_model(component: Any) -> bool:
    """Return whether a class has weights. Schedulers and tokenizers have none."""
    return issubclass(component, torch.nn.Module)


def is_tokenizer(component: Any) -> bool:
    """Return whether a class is a tokenizer of transformers."""
    from transformers import PreTrainedTokenizerBase

    return issubclass(component, PreTrainedTokenizerBase)


def weights_stem(model_class: Any) -> str:
    """Return the name of a model's weight files without their ending: that of transformers or of diffusers."""
    return "model" if is_of_transformers(model_class) else "diffusion_pytorch_model"


def is_of_transformers(model_class: Any) -> bool:
    """Return whether a model is one of transformers, rather than of diffusers."""
    from transformers import PreTrainedModel

    return issubclass(model_class, PreTrainedModel)


def call_without_dtype(function: Callable[..., Any], *args: Any, **more: Any) -> Loader:
    """Return a loader of a component that has no dtype."""
    return lambda dtype: function(*args, **more)
