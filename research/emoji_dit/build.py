"""Train `emoji-dit` from scratch: ``python -m research.emoji_dit.build all``.

The steps are encoder, check, transformer and assemble, in this order. An interrupted step resumes; a finished one loads its
checkpoint within seconds.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5Tokenizer

from editor import emoji
from research.emoji_dit.assemble import save_pipeline
from research.emoji_dit.route_capacity import check_routes
from research.emoji_dit.train_t5 import ContrastiveT5, train_t5, train_t5_tokenizer
from research.emoji_dit.train_transformer import PromptEncoder, train_transformer


@dataclass(frozen=True)
class Build:
    """All parts of the model, each trained on first use."""

    folder: Path

    @cached_property
    def tokenizer(self) -> T5Tokenizer:
        """The tokenizer of the T5-style encoder."""
        return train_t5_tokenizer()

    @cached_property
    def encoder(self) -> ContrastiveT5:
        """The T5-style encoder, and the image encoder that it was trained with."""
        return train_t5(self.tokenizer, self.folder)

    @cached_property
    def prompts(self) -> PromptEncoder:
        """Both encoders of the pipeline, frozen."""
        folder = emoji.WEIGHTS
        return PromptEncoder(
            self.tokenizer,
            self.encoder.text,
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            CLIPTextModel.from_pretrained(folder / "text_encoder"),
        )

    @cached_property
    def transformer(self) -> FluxTransformer2DModel:
        """The denoiser."""
        autoencoder = AutoencoderTiny.from_pretrained(emoji.WEIGHTS / "vae")
        return train_transformer(autoencoder, self.prompts, self.folder)

    def check(self) -> None:
        """Check that both routes can carry the vocabulary and its removals, before the denoiser is trained."""
        check_routes(self.encoder, self.prompts, self.folder)

    def assemble(self) -> None:
        """Write the folder that is part of the package."""
        save_pipeline(emoji.DIT_WEIGHTS, self.tokenizer, self.encoder.text, self.transformer)


ACTIONS = ("check", "assemble")
"""Steps that are methods; the others train when their property is first read."""
STEPS = ("encoder", "check", "transformer", "assemble")


def main() -> None:
    """Run the steps named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=(*STEPS, "all"), help="step to run")
    parser.add_argument("--folder", type=Path, default=Path("build/emoji_dit"), help="checkpoints")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build = Build(arguments.folder)
    for step in STEPS if arguments.step == "all" else (arguments.step,):
        part = getattr(build, step)
        if step in ACTIONS:
            part()


if __name__ == "__main__":
    main()
