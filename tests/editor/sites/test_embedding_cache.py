"""Rows of a cache keep their values and their order while it grows, and forks grow apart."""

import torch
from torch import Tensor

from editor.sites.embedding_cache import EmbeddingCache


def compute(codes: Tensor) -> tuple[Tensor, Tensor]:
    return codes[:, None].float().expand(-1, 2), codes[:, None].float().expand(-1, 6)


def hidden_of(cache: EmbeddingCache, *codes: int) -> list[float]:
    rows = cache.get_rows(torch.tensor(codes), compute)
    assert cache.hidden is not None
    assert cache.qkv is not None
    assert torch.equal(cache.hidden[rows, 0], cache.qkv[rows, 5])
    return cache.hidden[rows, 0].tolist()


def test_rows_are_found_again_while_the_cache_grows() -> None:
    cache = EmbeddingCache()
    for last in range(1, 40):
        assert hidden_of(cache, *range(last)) == [*range(last)]
    assert hidden_of(cache, 3, 17) == [3, 17]
    assert list(cache.row_of_code) == [*range(39)]


def test_rows_that_were_taken_stay_as_they_are() -> None:
    cache = EmbeddingCache()
    hidden_of(cache, 1, 2)
    taken = cache.hidden
    hidden_of(cache, 3, 4, 5)
    assert taken is not None
    assert taken[:, 0].tolist() == [1, 2]


def test_forks_grow_apart() -> None:
    cache = EmbeddingCache()
    hidden_of(cache, 1, 2)
    hidden_of(cache, 3)
    fork = cache.fork()
    assert hidden_of(fork, 1, 2, 3, 8) == [1, 2, 3, 8]
    assert hidden_of(cache, 9, 1) == [9, 1]
    assert hidden_of(fork, 8) == [8]
    assert hidden_of(EmbeddingCache().fork(), 5) == [5]
