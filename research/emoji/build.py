"""Make the embedded model from nothing: ``python -m research.emoji.build all``.

Steps, in order: artwork, encoder, judge, autoencoder, unet, assemble. Each resumes where it was
interrupted; a finished one is read back in seconds.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from editor import emoji
from research.emoji.assemble import save_judge, save_pipeline, text_encoder_of
from research.emoji.fetch_artwork import build_sheet
from research.emoji.train_clip import ENCODER, ENCODER_PLAN, JUDGE, JUDGE_PLAN, alike, rough, train_clip, wide_shift
from research.emoji.train_tokenizer import train_tokenizer
from research.emoji.train_unet import train_unet
from research.emoji.train_vae import train_autoencoder


@dataclass(frozen=True)
class Build:
    """Every part, trained when first asked for."""

    folder: Path

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """Of the pipeline, and of the judge."""
        return train_tokenizer()

    @cached_property
    def encoder(self) -> CLIPModel:
        """The CLIP whose text half conditions the UNet."""
        return train_clip("encoder", ENCODER, ENCODER_PLAN, self.tokenizer, self.folder)

    @cached_property
    def judge(self) -> CLIPModel:
        """A CLIP of another seed, width and augmentation."""
        return train_clip("judge", JUDGE, JUDGE_PLAN, self.tokenizer, self.folder, rough, wide_shift, alike)

    @cached_property
    def autoencoder(self) -> AutoencoderTiny:
        """Pixels to latents and back."""
        return train_autoencoder(self.folder)

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The denoiser."""
        return train_unet(self.autoencoder, text_encoder_of(self.encoder), self.tokenizer, self.folder)

    def artwork(self) -> None:
        """Fetch and rasterise."""
        build_sheet(self.folder)

    def assemble(self) -> None:
        """Write the folders that ship."""
        encoder = text_encoder_of(self.encoder)
        save_pipeline(emoji.WEIGHTS, self.tokenizer, encoder, self.autoencoder, self.unet)
        save_judge(emoji.JUDGE, self.tokenizer, self.judge)


ACTIONS = ("artwork", "assemble")
"""Steps that write files; the others train when their property is first read."""
STEPS = ("artwork", "encoder", "judge", "autoencoder", "unet", "assemble")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=(*STEPS, "all"))
    parser.add_argument("--folder", type=Path, default=Path("build/emoji"), help="checkpoints and downloads")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build = Build(arguments.folder)
    for step in STEPS if arguments.step == "all" else (arguments.step,):
        made = getattr(build, step)
        if step in ACTIONS:
            made()


if __name__ == "__main__":
    main()
