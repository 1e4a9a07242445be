"""Single files: the original layouts of Stable Diffusion 1 and 2, SDXL, SD3 and FLUX, ComfyUI's and OpenCLIP's encoders."""

from collections.abc import Mapping
from pathlib import Path

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import OPENCLIP, Family, Scheme, Site, locate
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import Activation, Place, TextEncoder, check_precision, check_shapes
from editor.checkpoints.unedited_encoders import SecondWay, t5
from editor.errors import CheckpointError

HEAD = 64
"""Width of an attention head in every CLIP text encoder of these families."""
EPS = 1e-5
VOCABULARY = 49408
"""CLIP's; a single file brings no tokenizer, so another vocabulary can't be read."""
OPENAI_WIDTH = 768
T5_COMPONENTS: dict[Family, str] = {"flux": "text_encoder_2", "sd3": "text_encoder_3"}
BACKBONES: dict[str, Family] = {"joint_blocks.0.": "sd3", "double_blocks.0.": "flux"}
READABLE = (
    "Readable are diffusers and transformers folders, single-file checkpoints of Stable Diffusion 1 and 2, SDXL, SD3 and "
    "FLUX with their text encoders inside, and CLIP text encoders of transformers, OpenCLIP and ComfyUI."
)


def open_file(path: Path) -> Checkpoint:
    """Open a single file, with the T5 file beside it where it is one of ComfyUI's encoders."""
    file = TensorFile(path)
    found = locate(file.layout.spans)
    if not found:
        raise unknown(path, file.layout.spans)
    family = family_of(found, file.layout.spans)
    encoders = tuple(encoder_at(file, site, scheme) for site, scheme in found)
    return Checkpoint(path, family, encoders, second_ways(family) or t5_beside(path, family))


def unknown(path: Path, spans: Mapping[str, object]) -> CheckpointError:
    """What was found, and what is readable."""
    roots = sorted({".".join(name.split(".")[:2]) for name in spans})
    some = ", ".join(roots[:5]) + (", ..." if len(roots) > 5 else "")
    return CheckpointError(
        f"{path} holds no CLIP text encoder: its tensors are {some or 'none'}.", field="model", remedy=READABLE
    )


def family_of(found: list[tuple[Site, Scheme]], spans: Mapping[str, object]) -> Family:
    """The backbone decides where there is one, then the last encoder."""
    for mark, family in BACKBONES.items():
        if any(name.removeprefix("model.diffusion_model.").startswith(mark) for name in spans):
            return family
    return found[-1][0].family


def second_ways(family: Family) -> tuple[SecondWay, ...]:
    """T5, whether it lies in the file or is loaded from another."""
    return (t5(T5_COMPONENTS[family], family),) if family in T5_COMPONENTS else ()


def t5_beside(path: Path, family: Family) -> tuple[SecondWay, ...]:
    """ComfyUI keeps T5 in a file of its own."""
    return tuple(t5(file.stem, family) for file in sorted(path.parent.glob("t5xxl*.safetensors"))[:1])


def encoder_at(file: TensorFile, site: Site, scheme: Scheme, component: str | None = None) -> TextEncoder:
    """An encoder whose geometry follows from its shapes."""
    names = scheme.names(site.prefix, scheme.depth(site.prefix, file.layout.spans), file.layout.spans)
    places = {name: Place(file, stored) for name, stored in names.items()}
    shape = next(iter(places.values())).shape
    if len(shape) != 2 or shape[0] != VOCABULARY or shape[1] % HEAD or len(places) < 17:
        raise CheckpointError(
            f"{file.path} holds a text encoder of another make: its token embedding is {list(shape)}.",
            field="model",
            remedy=READABLE,
        )
    encoder = TextEncoder(
        component=component or site.component,
        heads=shape[1] // HEAD,
        eps=EPS,
        layers=scheme.depth(site.prefix, file.layout.spans),
        width=shape[1],
        activation=activation(scheme, shape[1]),
        places=places,
    )
    check_shapes(encoder)
    check_precision(encoder)
    return encoder


def activation(scheme: Scheme, width: int) -> Activation:
    """OpenAI trained its encoder of width 768 with quick GELU; OpenCLIP trains with GELU."""
    return "quick_gelu" if width == OPENAI_WIDTH and scheme is not OPENCLIP else "gelu"
