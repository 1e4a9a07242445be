import pytest

from editor.checkpoints import OutputProjection, TextEncoder
from editor.methods.config import MethodConfig
from editor.methods.layer_edit import LayerEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("", "null"))


@pytest.fixture(scope="module")
def edit(source: TextEncoder, builder: PromptBuilder) -> LayerEdit:
    """A removal of an object and of a style at the first layer."""
    model = LazyCLIPTextModel(source)
    return LayerEdit(Site(model, model, OutputProjection(0)), builder, (FOX, INK), MethodConfig())
