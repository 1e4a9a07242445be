"""The embedded model with a fox removed; images take few steps."""

from dataclasses import replace

import pytest

from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.generation.config import Sampler, native_precision
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import ImageCache
from editor.judging.attacks import AttackContext, ModelVariant, make_edited_variant
from editor.judging.judge import open_judge
from editor.methods.encoder_edit import edit_encoder
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builder

FOX = ResolvedRemoval(
    Concept("fox"), Destination("dog face", "replacement"), translations=("renard",), spellings="auto"
)


@pytest.fixture(scope="package")
def context(tmp_path_factory: pytest.TempPathFactory) -> AttackContext:
    builder, source = open_prompt_builder(emoji.WEIGHTS), open_checkpoint(emoji.WEIGHTS).encoders[0]
    updates = [done.update for done in edit_encoder(source, builder, [FOX])]
    before = ModelVariant(load_pipeline(emoji.WEIGHTS), Sampler(5, 3.0, native_precision()), builder)
    judge = open_judge(emoji.JUDGE, emoji.WEIGHTS, builder.profile)
    cache = ImageCache(tmp_path_factory.mktemp("images"), "emoji")
    return AttackContext(FOX, 0, [FOX], before, make_edited_variant(before, updates), updates, judge, cache)


@pytest.fixture(scope="package")
def untouched(context: AttackContext) -> AttackContext:
    """The context of an edit without effect."""
    return replace(context, after=make_edited_variant(context.before, []))
