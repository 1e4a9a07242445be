"""Single files: the original layouts of Stable Diffusion 1 and 2, SDXL, SD3 and FLUX, ComfyUI's and OpenCLIP's encoders."""

from collections.abc import Mapping
from pathlib import Path

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import OPENCLIP, EncoderPrefix, Family, NamingScheme, find_encoders
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import Activation, TensorLocation, TextEncoder, check_precision, check_shapes
from editor.checkpoints.unedited_encoders import UneditedEncoder, t5_encoder
from editor.errors import CheckpointError

HEAD_WIDTH = 64
"""Width of an attention head in every CLIP text encoder of these families."""
LAYER_NORM_EPS = 1e-5
VOCABULARY_SIZE = 49408
"""CLIP's; a single file brings no tokenizer, so another vocabulary can't be read."""
OPENAI_WIDTH = 768
T5_COMPONENTS: dict[Family, str] = {"flux": "text_encoder_2", "sd3": "text_encoder_3"}
BACKBONES: dict[str, Family] = {"joint_blocks.0.": "sd3", "double_blocks.0.": "flux"}
READABLE_LAYOUTS = (
    "Readable are diffusers and transformers folders, single-file checkpoints of Stable Diffusion 1 and 2, SDXL, SD3 and "
    "FLUX with their text encoders inside, and CLIP text encoders of transformers, OpenCLIP and ComfyUI."
)


def open_file(path: Path) -> Checkpoint:
    """Open a single file, with the T5 file beside it where it is one of ComfyUI's encoders."""
    file = TensorFile(path)
    found = find_encoders(file.layout.spans)
    if not found:
        raise unknown_layout(path, file.layout.spans)
    family = infer_family(found, file.layout.spans)
    encoders = tuple(read_encoder(file, site, scheme) for site, scheme in found)
    return Checkpoint(path, family, encoders, t5_encoders(family) or t5_file_beside(path, family))


def unknown_layout(path: Path, spans: Mapping[str, object]) -> CheckpointError:
    """What was found, and what is readable."""
    roots = sorted({".".join(name.split(".")[:2]) for name in spans})
    some = ", ".join(roots[:5]) + (", ..." if len(roots) > 5 else "")
    return CheckpointError(
        f"{path} holds no CLIP text encoder: its tensors are {some or 'none'}.", field="model", remedy=READABLE_LAYOUTS
    )


def infer_family(found: list[tuple[EncoderPrefix, NamingScheme]], spans: Mapping[str, object]) -> Family:
    """The backbone decides where there is one, then the last encoder."""
    for mark, family in BACKBONES.items():
        if any(name.removeprefix("model.diffusion_model.").startswith(mark) for name in spans):
            return family
    return found[-1][0].family


def t5_encoders(family: Family) -> tuple[UneditedEncoder, ...]:
    """T5, whether it lies in the file or is loaded from another."""
    return (t5_encoder(T5_COMPONENTS[family], family),) if family in T5_COMPONENTS else ()


def t5_file_beside(path: Path, family: Family) -> tuple[UneditedEncoder, ...]:
    """ComfyUI keeps T5 in a file of its own."""
    return tuple(t5_encoder(file.stem, family) for file in sorted(path.parent.glob("t5xxl*.safetensors"))[:1])


def read_encoder(
    file: TensorFile, site: EncoderPrefix, scheme: NamingScheme, component: str | None = None
) -> TextEncoder:
    """An encoder whose geometry follows from its shapes."""
    names = scheme.names(site.prefix, scheme.depth(site.prefix, file.layout.spans), file.layout.spans)
    places = {name: TensorLocation(file, stored) for name, stored in names.items()}
    shape = next(iter(places.values())).shape
    if len(shape) != 2 or shape[0] != VOCABULARY_SIZE or shape[1] % HEAD_WIDTH or len(places) < 17:
        raise CheckpointError(
            f"{file.path} holds a text encoder of another make: its token embedding is {list(shape)}.",
            field="model",
            remedy=READABLE_LAYOUTS,
        )
    encoder = TextEncoder(
        component=component or site.component,
        heads=shape[1] // HEAD_WIDTH,
        eps=LAYER_NORM_EPS,
        layers=scheme.depth(site.prefix, file.layout.spans),
        width=shape[1],
        activation=infer_activation(scheme, shape[1]),
        places=places,
    )
    check_shapes(encoder)
    check_precision(encoder)
    return encoder


def infer_activation(scheme: NamingScheme, width: int) -> Activation:
    """OpenAI trained its encoder of width 768 with quick GELU; OpenCLIP trains with GELU."""
    return "quick_gelu" if width == OPENAI_WIDTH and scheme is not OPENCLIP else "gelu"
