"""Train the embedded model from scratch: ``python -m research.emoji.build all``.

The steps are artwork, encoder, judge, autoencoder, unet and assemble, in this order. An interrupted step resumes; a finished
one loads its checkpoint within seconds.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from editor import emoji
from research.emoji.assemble import extract_text_encoder, save_judge, save_pipeline
from research.emoji.fetch_artwork import build_sheet
from research.emoji.train_clip import (
    ENCODER,
    ENCODER_PLAN,
    JUDGE,
    JUDGE_PLAN,
    degrade,
    random_wide_shift,
    same_background_subjects,
    train_clip,
)
from research.emoji.train_tokenizer import train_tokenizer
from research.emoji.train_unet import train_unet
from research.emoji.train_vae import train_autoencoder


@dataclass(frozen=True)
class Build:
    """All parts of the model, each trained on first use."""

    folder: Path

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of pipeline and judge."""
        return train_tokenizer()

    @cached_property
    def encoder(self) -> CLIPModel:
        """The CLIP whose text encoder conditions the UNet."""
        return train_clip("encoder", ENCODER, ENCODER_PLAN, self.tokenizer, self.folder)

    @cached_property
    def judge(self) -> CLIPModel:
        """The judge: a CLIP with another seed, width and augmentation."""
        return train_clip(
            "judge",
            JUDGE,
            JUDGE_PLAN,
            self.tokenizer,
            self.folder,
            degrade,
            random_wide_shift,
            same_background_subjects,
        )

    @cached_property
    def autoencoder(self) -> AutoencoderTiny:
        """The autoencoder of the pipeline."""
        return train_autoencoder(self.folder)

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The denoiser."""
        return train_unet(self.autoencoder, extract_text_encoder(self.encoder), self.tokenizer, self.folder)

    def artwork(self) -> None:
        """Fetch and rasterise the artwork."""
        build_sheet(self.folder)

    def assemble(self) -> None:
        """Write the folders that are part of the package."""
        encoder = extract_text_encoder(self.encoder)
        save_pipeline(emoji.WEIGHTS, self.tokenizer, encoder, self.autoencoder, self.unet)
        save_judge(emoji.JUDGE, self.tokenizer, self.judge)


ACTIONS = ("artwork", "assemble")
"""Steps that write files; the others train when their property is first read."""
STEPS = ("artwork", "encoder", "judge", "autoencoder", "unet", "assemble")


def main() -> None:
    """Run the steps named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=(*STEPS, "all"), help="step to run")
    parser.add_argument("--folder", type=Path, default=Path("build/emoji"), help="checkpoints and downloads")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build = Build(arguments.folder)
    for step in STEPS if arguments.step == "all" else (arguments.step,):
        part = getattr(build, step)
        if step in ACTIONS:
            part()


if __name__ == "__main__":
    main()
