"""Read an autoencoder with its own library. Run as a script by an interpreter that has it: NAME FOLDER ROWS OUT."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def sae_lens(folder: Path, rows: torch.Tensor, again: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder)
    sae.save_model(again)
    codes = sae.encode(rows)
    return codes, sae.decode(codes)


def sparsify(folder: Path, rows: torch.Tensor, again: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from sparsify import SparseCoder

    sae = SparseCoder.load_from_disk(folder)
    sae.save_to_disk(again)
    active = sae.encode(rows)
    codes = torch.zeros(len(rows), sae.num_latents).scatter(1, active.top_indices, active.top_acts)
    return codes, sae.decode(active.top_acts, active.top_indices)


if __name__ == "__main__":
    name, folder, rows, out = sys.argv[1], *map(Path, sys.argv[2:])
    with torch.no_grad():
        codes, output = {"saelens": sae_lens, "sparsify": sparsify}[name](
            folder, load_file(rows)["rows"], out.parent / "again"
        )
    save_file({"codes": codes.contiguous(), "output": output.contiguous()}, out)
