"""Open a single file: a checkpoint of Stable Diffusion 1 or 2, SDXL, SD3 or FLUX, or an encoder of ComfyUI or OpenCLIP."""

from collections.abc import Mapping
from pathlib import Path

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import OPENCLIP, EncoderPrefix, Family, NamingScheme, find_encoders
from editor.checkpoints.sibling_encoders import absent_encoders, check_distinct
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import Activation, TensorLocation, TextEncoder, check_precision, check_shapes
from editor.checkpoints.unedited_encoders import UneditedEncoder, t5_encoder
from editor.checkpoints.wrapped_modules import check_unwrapped
from editor.errors import CheckpointError

HEAD_WIDTH = 64
"""Width of an attention head in every CLIP text encoder of these families."""
LAYER_NORM_EPS = 1e-5
VOCABULARY_SIZE = 49408
"""Size of CLIP's vocabulary. A single file has no tokenizer, so another vocabulary can't be used."""
OPENAI_WIDTH = 768
TOKEN_EMBEDDING_PART = "token_embedding"
"""Part of a tensor's name in every layout of a CLIP text encoder."""
T5_COMPONENTS: dict[Family, str] = {"flux": "text_encoder_2", "sd3": "text_encoder_3"}
BACKBONES: dict[str, Family] = {"joint_blocks.0.": "sd3", "double_blocks.0.": "flux"}
READABLE_LAYOUTS = (
    "Use a diffusers or transformers folder, a single-file checkpoint of Stable Diffusion 1 or 2, SDXL, SD3 or FLUX that "
    "includes its text encoders, or a CLIP text encoder of transformers, OpenCLIP or ComfyUI."
)


def open_file(path: Path) -> Checkpoint:
    """Open a single file. If it is an encoder of ComfyUI, the T5 file in the same folder belongs to the model too."""
    file = TensorFile(path)
    spans = file.layout.spans
    found = find_encoders(spans)
    if not found:
        check_unwrapped(path, [name for name in spans if TOKEN_EMBEDDING_PART in name])
        raise unknown_layout(path, spans)
    sites = [site for site, _ in found]
    check_distinct(path, sites)
    family = infer_family(found, spans)
    absent = absent_encoders(path, family, sites, spans)
    encoders = tuple(read_encoder(file, site, scheme) for site, scheme in found)
    return Checkpoint(path, family, encoders, absent + (t5_encoders(family) or t5_file_beside(path, family)))


def unknown_layout(path: Path, spans: Mapping[str, object]) -> CheckpointError:
    """Return the error for a file of an unknown layout; it lists the tensors that were found."""
    roots = sorted({".".join(name.split(".")[:2]) for name in spans})
    some = ", ".join(roots[:5]) + (", ..." if len(roots) > 5 else "")
    return CheckpointError(
        f"{path} contains no CLIP text encoder: its tensors are {some or 'none'}.",
        field="model",
        remedy=READABLE_LAYOUTS,
    )


def infer_family(found: list[tuple[EncoderPrefix, NamingScheme]], spans: Mapping[str, object]) -> Family:
    """Return the family of the denoiser if the file contains one, else that of the last encoder."""
    for mark, family in BACKBONES.items():
        if any(name.removeprefix("model.diffusion_model.").startswith(mark) for name in spans):
            return family
    return found[-1][0].family


def t5_encoders(family: Family) -> tuple[UneditedEncoder, ...]:
    """Return the T5 encoder of the family, which may be in this file or in another one."""
    return (t5_encoder(T5_COMPONENTS[family], family),) if family in T5_COMPONENTS else ()


def t5_file_beside(path: Path, family: Family) -> tuple[UneditedEncoder, ...]:
    """Return the T5 encoder in a separate file of the same folder, as ComfyUI stores it."""
    return tuple(t5_encoder(file.stem, family) for file in sorted(path.parent.glob("t5xxl*.safetensors"))[:1])


def read_encoder(
    file: TensorFile, site: EncoderPrefix, scheme: NamingScheme, component: str | None = None
) -> TextEncoder:
    """Read an encoder from a file. Its dimensions follow from the shapes of its tensors."""
    check_unwrapped(file.path, file.layout.spans, within=site.prefix)
    names = scheme.map_names(site.prefix, scheme.count_layers(site.prefix, file.layout.spans), file.layout.spans)
    locations = {name: TensorLocation(file, stored) for name, stored in names.items()}
    shape = next(iter(locations.values())).shape
    check_vocabulary(file.path, shape)
    if len(shape) != 2 or shape[1] % HEAD_WIDTH or len(locations) < 17:
        raise CheckpointError(
            f"{file.path} contains an unsupported text encoder: its token embedding has shape {list(shape)}.",
            field="model",
            remedy=READABLE_LAYOUTS,
        )
    encoder = TextEncoder(
        component=component or site.component,
        heads=shape[1] // HEAD_WIDTH,
        eps=LAYER_NORM_EPS,
        layers=scheme.count_layers(site.prefix, file.layout.spans),
        width=shape[1],
        activation=infer_activation(scheme, shape[1]),
        locations=locations,
    )
    check_shapes(encoder)
    check_precision(encoder)
    return encoder


def check_vocabulary(path: Path, shape: tuple[int, ...]) -> None:
    """Raise CheckpointError if a token embedding has not one row for each token of CLIP's vocabulary."""
    if len(shape) != 2 or shape[0] == VOCABULARY_SIZE:
        return
    more = shape[0] - VOCABULARY_SIZE
    reason = f"{more} tokens were added" if more > 0 else "it has another vocabulary"
    raise CheckpointError(
        f"{path} has {shape[0]:,} token embeddings, and CLIP's vocabulary {VOCABULARY_SIZE:,}: {reason}, which a single file "
        "does not name.",
        field="model",
        remedy="Use the diffusers folder of the model, with its tokenizer.",
    )


def infer_activation(scheme: NamingScheme, width: int) -> Activation:
    """Infer the activation: OpenAI trained its encoder of width 768 with quick GELU; OpenCLIP uses GELU."""
    return "quick_gelu" if width == OPENAI_WIDTH and scheme is not OPENCLIP else "gelu"
