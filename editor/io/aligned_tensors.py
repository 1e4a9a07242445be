"""Tensors that are read from files, in memory from which calculations give the same bytes as from computed tensors."""

from collections.abc import Mapping

from torch import Tensor


def align_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors into memory that torch allocates.

    Tensors in a safetensors file may begin at any byte. On some processors the order of the sums in a matrix product, and with
    it the last bits, depends on where its factors begin; torch's own memory always begins at a multiple of 64 bytes.
    """
    return {name: tensor.clone() for name, tensor in tensors.items()}
