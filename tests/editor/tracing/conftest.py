import pytest

from editor.prompts import PromptBuilder
from editor.tracing.traced_prompts import TracedPrompts, make_traced_prompts
from tests.editor.tracing.tiny_pipelines import pipeline as pipeline
from tests.editor.tracing.tiny_pipelines import xl as xl


@pytest.fixture(scope="session")
def fox(builder: PromptBuilder) -> TracedPrompts:
    return make_traced_prompts(builder, "object", "fox", 3)
