"""A genetic search over token sequences; each generation is encoded in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LossFunction = Callable[[Tensor], Tensor]
"""Returns the losses ``(n,)`` of genomes ``(n, k)``; infinite for genomes that are not allowed."""


@dataclass(frozen=True)
class GeneticParameters:
    """The settings of Ring-A-Bell."""

    population: int = 200
    survivors: float = 0.5
    mutation: float = 0.25
    crossover: float = 0.5

    @property
    def survivor_count(self) -> int:
        """Genomes that survive a generation."""
        return max(2, round(self.population * self.survivors))

    @property
    def offspring_count(self) -> int:
        """Genomes that a generation adds."""
        return self.population - self.survivor_count


def evolve(
    score: LossFunction,
    alphabet: Tensor,
    length: int,
    generations: int,
    genetics: GeneticParameters,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the last population, best first: genomes ``(n, length)`` of the alphabet's ids, and their losses ``(n,)``.

    The best genomes of a generation survive, so the lowest loss never rises.
    """
    size = (genetics.population, length)
    genomes = alphabet[torch.randint(len(alphabet), size, generator=generator)]
    losses = score(genomes)
    for _ in range(generations - 1):
        keep = losses.argsort()[: genetics.survivor_count]
        parents = genomes[keep]
        children = breed(parents, genetics.offspring_count, alphabet, genetics, generator)
        genomes, losses = torch.cat([parents, children]), torch.cat([losses[keep], score(children)])
    order = losses.argsort()
    return genomes[order], losses[order]


def breed(
    parents: Tensor, count: int, alphabet: Tensor, genetics: GeneticParameters, generator: torch.Generator
) -> Tensor:
    """Return children ``(count, length)``: one-point crossover or a clone, then with some probability one mutated token.

    Clones always mutate.
    """
    mothers, fathers = (
        parents[torch.randint(len(parents), (count,), generator=generator)] for _ in range(2)
    )  # fmt: skip
    length = parents.shape[1]
    cut = torch.randint(1, max(length, 2), (count, 1), generator=generator)
    crossed = torch.rand((count, 1), generator=generator) < genetics.crossover
    children = torch.where((torch.arange(length) >= cut) & crossed, fathers, mothers)
    place = torch.randint(length, (count, 1), generator=generator)
    fresh = alphabet[torch.randint(len(alphabet), (count, 1), generator=generator)]
    clones = (children == mothers).all(1, keepdim=True)
    mutates = (torch.rand((count, 1), generator=generator) < genetics.mutation) | clones
    return torch.where((torch.arange(length) == place) & mutates, fresh, children)
