"""Check, before a denoiser is trained, that both routes of the text can carry the vocabulary and its removals.

Step of ``python -m research.emoji_dit.build``; writes ``routes.json``. Removals are solved at a random linear map of the
denoiser's geometry, because the training of the denoiser may learn any map. A probe on the map's outputs stands for the
denoiser.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import HELD_OUT_WORDINGS, OBJECT_NAMES, STYLED_WORDINGS, STYLES, caption
from editor.features.linear_probe import fit_probe
from editor.prompts.templates import evenly_spaced
from research.emoji_dit.train_t5 import ContrastiveT5, token_ids
from research.emoji_dit.train_transformer import HEAD_WIDTH, HEADS, PromptEncoder

WIDTH = HEADS * HEAD_WIDTH
PRESERVATION, RELATIVE_RIDGE = 1.0, 1e-6
MINIMUM_ARTWORK_ACCURACY = 0.98
MINIMUM_RETAINED_ACCURACY = 0.90
"""Share of the retained objects that a probe must still find after 50 removals."""
MINIMUM_PADDING_ACCURACY = 0.2
"""Accuracy of a probe on padding alone. Padding must carry the prompt, as in T5-XXL, so that removals have to reach it."""

Keys = Callable[[Sequence[str]], Tensor]
"""Returns the keys of prompts, ``(n, rows, d)``."""
Grid = list[tuple[int, int]]


@dataclass(frozen=True)
class RouteCapacity:
    """A probe's accuracy on the outputs of a route's map, by the number of removals."""

    route: str
    removals: int
    removed: float
    retained: float


@dataclass(frozen=True)
class RouteChecks:
    """What was measured."""

    artwork_accuracy: float
    padding_accuracy: float
    effective_rank: dict[str, float]
    capacity: list[RouteCapacity]

    def check(self) -> None:
        """Raise RuntimeError if a figure is out of its bounds."""
        final = [one for one in self.capacity if one.removals == max(point.removals for point in self.capacity)]
        failures = {
            "nearest artwork": self.artwork_accuracy < MINIMUM_ARTWORK_ACCURACY,
            "padding": self.padding_accuracy < MINIMUM_PADDING_ACCURACY,
            **{f"retained objects, {one.route}": one.retained < MINIMUM_RETAINED_ACCURACY for one in final},
        }
        if any(failures.values()):
            raise RuntimeError(f"Out of bounds: {', '.join(name for name, failed in failures.items() if failed)}.")


def object_grid() -> Grid:
    """Return every object in every style, as indices."""
    return [(o, s) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]


def grid_captions(wordings: Sequence[str]) -> list[str]:
    """Return a caption of each cell of the grid, cycling through wordings."""
    return [caption(wordings[i % len(wordings)], OBJECT_NAMES[o], STYLES[s]) for i, (o, s) in enumerate(object_grid())]


@torch.no_grad()
def measure_artwork_accuracy(model: ContrastiveT5) -> float:
    """Return the share of held-out captions whose nearest artwork shows their object and style."""
    texts = F.normalize(model.embed_texts(model.token_ids(grid_captions(HELD_OUT_WORDINGS))))
    pictures = Artwork().render([Subject(o, s, 0) for o, s in object_grid()])
    images = F.normalize(model.image(pixel_values=pictures).image_embeds)
    return float(((texts @ images.T).argmax(1) == torch.arange(len(texts))).float().mean())


@torch.no_grad()
def measure_padding_accuracy(prompts: PromptEncoder) -> float:
    """Return the accuracy of a probe that reads objects from the mean of the padding alone."""
    train, test = (padding_means(prompts, grid_captions(w)) for w in (STYLED_WORDINGS, HELD_OUT_WORDINGS))
    labels = [OBJECT_NAMES[o] for o, _ in object_grid()]
    return fit_probe(train, labels).accuracy(test, labels)


def padding_means(prompts: PromptEncoder, captions: list[str]) -> Tensor:
    """Return the mean of each prompt's padding rows, ``(n, d)``."""
    padding = (token_ids(prompts.t5_tokenizer, captions) == prompts.t5_tokenizer.pad_token_id).float()[:, :, None]
    means: Tensor = (prompts.sequences(captions).float() * padding).sum(1) / padding.sum(1)
    return means


def effective_rank(keys: Tensor) -> float:
    """Return the exponential of the entropy of the keys' spectrum (Roy & Vetterli 2007), for keys ``(n, d)``."""
    energy = torch.linalg.svdvals(keys.double()).square()
    share = energy / energy.sum()
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def measure_route(route: str, keys_of: Keys, counts: Sequence[int], seed: int = 0) -> list[RouteCapacity]:
    """Remove objects at a random map of the route's keys, and probe its outputs in held-out wordings.

    Each removed object is mapped to a retained one, in every wording. All rows of a prompt are keys, with equal weights.
    """
    learnt = torch.stack([keys_of(grid_captions([wording])) for wording in STYLED_WORDINGS], 1).double()
    held_out, null = keys_of(grid_captions(HELD_OUT_WORDINGS)).double(), keys_of([""]).double().flatten(0, 1)
    weight = torch.randn(WIDTH, null.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = [OBJECT_NAMES[o] for o, _ in object_grid() for _ in STYLED_WORDINGS]
    probe = fit_probe((learnt @ weight.T).mean(2).flatten(0, 1), labels)

    def measure(names: Sequence[str]) -> RouteCapacity:
        update = solve_removals(weight, learnt, null, names)
        outputs = (held_out @ (weight + update).T).mean(1)
        found = [probe.classes[i] for i in probe.logits(outputs).argmax(1).tolist()]
        truth = [OBJECT_NAMES[o] for o, _ in object_grid()]
        hits = torch.tensor([name == shown for name, shown in zip(truth, found, strict=True)]).float()
        removed = torch.tensor([name in names for name in truth])
        return RouteCapacity(route, len(names), float(hits[removed].mean()), float(hits[~removed].mean()))

    return [measure(evenly_spaced(OBJECT_NAMES, count)) for count in counts]


def solve_removals(weight: Tensor, keys: Tensor, null: Tensor, names: Sequence[str]) -> Tensor:
    """Return the update that maps ``names`` to retained objects, for the keys of the grid ``(cells, wordings, rows, d)``."""
    retained = [name for name in OBJECT_NAMES if name not in names]
    destination = {name: retained[(7 * i + 3) % len(retained)] for i, name in enumerate(names)}
    cells = {(OBJECT_NAMES[o], s): i for i, (o, s) in enumerate(object_grid())}
    pairs = [(cells[name, s], cells[destination[name], s]) for name in names for s in range(len(STYLES))]
    concept, wanted = map(list, zip(*pairs, strict=True))
    kept = sorted({*cells.values()} - {*concept})
    rows = [keys[part].flatten(0, 2) for part in (concept, wanted, kept)]
    return solve_update(weight, rows[0], rows[1], rows[2], null)


def solve_update(weight: Tensor, keys: Tensor, wanted: Tensor, retained: Tensor, null: Tensor) -> Tensor:
    """Return dW = W (S* - S) (S + C + ridge)^-1 in the null space of the null prompt's keys (DESIGN, one solver)."""
    _, singular, basis = torch.linalg.svd(null, full_matrices=True)
    rank = int((singular > 1e-6 * singular[0]).sum())
    free = basis[rank:].T
    residuals = (wanted - keys) @ weight.T
    keys, retained = keys @ free, retained @ free
    moment = keys.T @ keys / len(keys) + PRESERVATION * retained.T @ retained / len(retained)
    ridge = RELATIVE_RIDGE * float(moment.trace()) / len(moment)
    moment.diagonal().add_(ridge)
    target = residuals.T @ keys / len(keys)
    solution: Tensor = torch.linalg.solve(moment, target, left=False) @ free.T
    return solution


@torch.no_grad()
def check_routes(model: ContrastiveT5, prompts: PromptEncoder, folder: Path) -> RouteChecks:
    """Measure both routes, write ``routes.json``, and raise RuntimeError if a figure is out of its bounds."""
    captions = grid_captions(STYLED_WORDINGS)
    keys: dict[str, Keys] = {
        "sequence": lambda texts: prompts.sequences(list(texts)).float(),
        "pooled": lambda texts: prompts.pooled(list(texts)).float()[:, None],
    }
    checks = RouteChecks(
        artwork_accuracy=measure_artwork_accuracy(model),
        padding_accuracy=measure_padding_accuracy(prompts),
        effective_rank={route: effective_rank(of(captions).flatten(0, 1)) for route, of in keys.items()},
        capacity=[point for route, of in keys.items() for point in measure_route(route, of, (1, 10, 50))],
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "routes.json").write_text(json.dumps(asdict(checks), indent=2) + "\n")
    checks.check()
    return checks
