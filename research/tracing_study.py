"""Test the paper's two claims on the embedded model: ``python -m research.tracing_study``.

Writes ``docs/reference/tracing-results.md``.

Basu et al. 2024: in the text encoder one site is causal, the first self-attention at the last subject token; in the UNet, what
makes an attribute is spread over many blocks. Objects, styles and backgrounds, read out by the judge from images.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from api_schemas.report import Estimate
from editor import emoji
from editor.generation.config import Sampler, native_precision
from editor.io.plotting import png
from editor.stats.intervals import estimate_mean
from editor.tracing.heatmaps import plot_trace
from editor.tracing.layer_selection import choose_layer
from editor.tracing.result import Trace, traced_block_sites, traced_text_sites
from editor.tracing.screening import TwoStageResult, screen_then_confirm
from editor.tracing.sites import BlockSite, Site, TextSite
from editor.tracing.traced_prompts import ROLES, Attribute
from editor.tracing.tracer import TraceOptions, Tracer

CONCEPTS: dict[Attribute, tuple[str, ...]] = {
    "object": (
        "fox", "pizza", "rocket", "owl", "guitar", "robot", "hot dog", "sunflower", "skull", "bicycle", "rainbow", "umbrella",
    ),
    "style": ("ink", "noto", "fluent", "openmoji"),
    "background": ("blue", "yellow", "pink"),
}  # fmt: skip
IN_UNET: dict[Attribute, tuple[str, ...]] = {
    "object": ("fox", "pizza", "rocket", "guitar"),
    "style": ("ink", "noto", "fluent", "openmoji"),
    "background": ("blue", "yellow", "pink"),
}
SAMPLER = Sampler(steps=12, guidance=3.0, precision=native_precision())
CHEAP, DEAR, UNET = (
    TraceOptions("", prompts=8, draws=3),
    TraceOptions("", prompts=4, draws=1),
    TraceOptions("", prompts=3, draws=1),
)
TOP, CONTROL = 6, 6
LAST = ROLES.index("last subject")


@dataclass(frozen=True)
class Found:
    """One concept's text encoder: every site by text distance, the top, a control and the last subject token by images."""

    attribute: Attribute
    concept: str
    screening: TwoStageResult

    def strongest(self, trace: Trace, place: int | None = None) -> TextSite:
        """The block with the largest effect; anywhere, or at one place."""
        sites = [s for s in traced_text_sites(trace) if s.kind != "residual" and place in (None, s.place)]
        return max(sites, key=lambda site: trace.effects[site].value)


def bench(concept: str, attribute: Attribute, options: TraceOptions) -> Tracer:
    """A trace of the embedded model."""
    asked = replace(options, concept=concept, attribute=attribute, sampler=SAMPLER)
    return Tracer(emoji.WEIGHTS, emoji.JUDGE, asked, "emoji")


def screened(attribute: Attribute, concept: str) -> Found:
    """Rank all sites by text distance; draw images for the top, a control sample and the last subject token's blocks."""
    cheap = bench(concept, attribute, CHEAP).trace(quiet)
    dear = bench(concept, attribute, replace(DEAR, read_out="images"))

    def confirm(sites: Sequence[Site]) -> Trace:
        own = [s for s in traced_text_sites(cheap) if s.place == LAST and s.kind != "residual"]
        return dear.trace(quiet, None, list(dict.fromkeys([*sites, *own])))

    return Found(attribute, concept, screen_then_confirm(cheap, confirm, TOP, CONTROL))


def quiet(done: float) -> None:
    """The study has one bar for all traces."""


def share(hits: Iterable[bool]) -> str:
    """Of concepts, with its interval."""
    return words(estimate_mean([float(hit) for hit in hits]))


def words(found: Estimate) -> str:
    """``0.83 (0.70 to 0.95)``."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def is_paper_site(site: TextSite) -> bool:
    """The first self-attention at the last subject token."""
    return (site.layer, site.kind, site.place) == (0, "self_attention", LAST)


def claim_one(found: Sequence[Found]) -> list[str]:
    """How often the paper's site is the strongest."""
    rows = ["| | " + " | ".join(CONCEPTS) + " | all |", "|---|" + "---|" * (len(CONCEPTS) + 1)]
    groups = [[one for one in found if one.attribute == attribute] for attribute in CONCEPTS] + [list(found)]
    questions = {
        "at the last subject token, by images": lambda one: is_paper_site(one.strongest(one.screening.expensive, LAST)),
        "at the last subject token, by text distance": lambda one: is_paper_site(
            one.strongest(one.screening.cheap, LAST)
        ),
        "among all confirmed blocks, by images": lambda one: is_paper_site(one.strongest(one.screening.expensive)),
        "first self-attention, at any token, by images": lambda one: first_attention(
            one.strongest(one.screening.expensive)
        ),
        "the rule for `sites=auto` chooses layer 0 by the evidence": lambda one: chosen(one.screening.cheap),
    }
    rows += [
        f"| {name} | " + " | ".join(share(map(asked, group)) for group in groups) + " |"
        for name, asked in questions.items()
    ]
    return [*rows, f"| concepts | {' | '.join(str(len(group)) for group in groups)} |"]


def first_attention(site: TextSite) -> bool:
    """Whether the site is the first layer's self-attention."""
    return (site.layer, site.kind) == (0, "self_attention")


def chosen(trace: Trace) -> bool:
    """Whether the trace alone speaks for layer 0."""
    choice = choose_layer(trace)
    return choice.separated and choice.layer == 0


def each_concept(found: Sequence[Found]) -> list[str]:
    """The strongest block of each concept, by images, and how well text distance ranked."""
    head = (
        "concept",
        "strongest block at the last subject token",
        "effect",
        "strongest site",
        "effect",
        "rank correlation",
    )
    rows = [f"| {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for one in found:
        dear = one.screening.expensive
        last = one.strongest(dear, LAST)
        best = max(traced_text_sites(dear), key=lambda site: dear.effects[site].value)
        rows.append(
            f"| {one.concept} | {last.label.replace('_', '-')} | {words(dear.effects[last])} "
            f"| {best.label.replace('_', '-')}, {ROLES[best.place]} | {words(dear.effects[best])} "
            f"| {one.screening.correlation.value:.2f} |"
        )
    return rows


def by_layer(found: Sequence[Found]) -> list[str]:
    """Mean effect at the last subject token, over concepts, by images."""
    depth = 1 + max(site.layer for one in found for site in traced_text_sites(one.screening.expensive))
    rows = ["| | " + " | ".join(f"layer {i}" for i in range(depth)) + " |", "|---|" + "---|" * depth]
    for attribute in CONCEPTS:
        for kind in ("self_attention", "mlp"):
            sites = [TextSite(kind=kind, layer=i, place=LAST) for i in range(depth)]
            cells = [
                over_concepts([one.screening.expensive for one in found if one.attribute == attribute], s)
                for s in sites
            ]
            rows.append(f"| {attribute}, {kind.replace('_', '-')} | {' | '.join(cells)} |")
    return rows


def over_concepts(traces: Sequence[Trace], site: Site) -> str:
    """Mean and interval over concepts."""
    return words(estimate_mean([trace.effects[site].value for trace in traces if site in trace.effects]))


def by_place(found: Sequence[Found]) -> list[str]:
    """Mean effect of the first self-attention by place, over concepts, by text distance."""
    rows = ["| | " + " | ".join(ROLES) + " |", "|---|" + "---|" * len(ROLES)]
    for attribute in CONCEPTS:
        traces = [one.screening.cheap for one in found if one.attribute == attribute]
        cells = []
        for place in range(len(ROLES)):
            site = TextSite(kind="self_attention", layer=0, place=place)
            cells.append(over_concepts(traces, site) if any(site in trace.effects for trace in traces) else "–")
        rows.append(f"| {attribute} | {' | '.join(cells)} |")
    return rows


def unet_tables(traces: dict[Attribute, list[Trace]]) -> list[str]:
    """Effects of the UNet's sites by attribute: the strongest, and how widely they are spread."""
    lines = ["| | " + " | ".join(traces) + " |", "|---|" + "---|" * len(traces)]
    means = {attribute: mean_effects(own) for attribute, own in traces.items()}
    for rank in range(8):
        cells = [
            f"{site.kind.replace('_', '-')} `{site.label}` {words(e)}" for site, e in (m[rank] for m in means.values())
        ]
        lines.append(f"| {rank + 1} | {' | '.join(cells)} |")
    spread = [f"{sum(e.low > 0 for _, e in m)} of {len(m)}" for m in means.values()]
    lines.append(f"| sites whose interval lies above zero | {' | '.join(spread)} |")
    half = [str(sum(e.value >= m[0][1].value / 2 for _, e in m)) for m in means.values()]
    lines.append(f"| sites with at least half of the largest effect | {' | '.join(half)} |")
    return [*lines, "", *kind_table(means)]


def mean_effects(traces: Sequence[Trace]) -> list[tuple[BlockSite, Estimate]]:
    """Every site's effect over all prompts of all concepts, from the largest down."""
    shares = torch.cat([trace.restored_shares for trace in traces])
    effects = [
        (site, estimate_mean(column.tolist()))
        for site, column in zip(traced_block_sites(traces[0]), shares.T, strict=True)
    ]
    return sorted(effects, key=lambda pair: -pair[1].value)


def kind_table(means: dict[Attribute, list[tuple[BlockSite, Estimate]]]) -> list[str]:
    """The largest and the mean effect of each kind of site."""
    lines = ["| largest and mean effect of | " + " | ".join(means) + " |", "|---|" + "---|" * len(means)]
    kinds: dict[str, list[str]] = defaultdict(list)
    for effects in means.values():
        for kind in dict.fromkeys(site.kind for site, _ in effects):
            values = [effect.value for site, effect in effects if site.kind == kind]
            kinds[kind].append(f"{max(values):.2f}, {sum(values) / len(values):.2f}")
    return [*lines, *(f"| {kind.replace('_', '-')} | {' | '.join(cells)} |" for kind, cells in sorted(kinds.items()))]


def page(found: Sequence[Found], unet: dict[Attribute, list[Trace]]) -> str:
    """The document."""
    parts = [
        HEADER,
        "## The text encoder: is the first self-attention at the last subject token the causal site?\n",
        "Share of concepts for which it is the strongest block (self-attention or MLP of one layer), interval over concepts.\n",
        *claim_one(found),
        "\nRestored share at the last subject token, by images, mean and interval over concepts:\n",
        *by_layer(found),
        "\nThe first self-attention at other places, by text distance. The UNet reads every position, padding too:\n",
        *by_place(found),
        "\nOne by one, by images (intervals over prompts); the last column compares text distance with images:\n",
        *each_concept(found),
        "\n![The fox, by text distance](../images/trace-fox.png)\n",
        "## The UNet: is what makes an attribute spread over many blocks?\n",
        "Every block restored alone at all steps, by images, intervals over prompts. The strongest of each attribute:\n",
        *unet_tables(unet),
    ]
    return "\n".join(parts) + "\n"


HEADER = f"""# Tracing the embedded model

Written by `python -m research.tracing_study`; how it is done is in [tracing.md](../explanation/tracing.md). Noise of three
standard deviations on the concept's tokens; an effect is the share of the lost score that one restored site brings back.
Images: {SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}, {SAMPLER.precision}, judged by a separate model. By images,
each concept has {DEAR.prompts} prompts in the text encoder and {UNET.prompts} in the UNet; by text distance
{CHEAP.prompts}, with {CHEAP.draws} draws of the noise.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/reference/tracing-results.md"))
    parser.add_argument("--first", type=int, help="this many concepts of each attribute, to try it out")
    arguments = parser.parse_args()
    some = slice(arguments.first)
    todo = [(attribute, concept) for attribute, names in CONCEPTS.items() for concept in names[some]]
    found = [screened(attribute, concept) for attribute, concept in tqdm(todo, desc="text encoder")]
    in_unet = [(attribute, concept) for attribute, names in IN_UNET.items() for concept in names[some]]
    options = replace(UNET, sites="unet", read_out="images")
    unet: dict[Attribute, list[Trace]] = {attribute: [] for attribute in IN_UNET}
    for attribute, concept in tqdm(in_unet, desc="UNet"):
        unet[attribute].append(bench(concept, attribute, options).trace(quiet))
    figure = png(plot_trace(found[0].screening.cheap))
    (arguments.out.parents[1] / "images").mkdir(parents=True, exist_ok=True)
    (arguments.out.parents[1] / "images" / "trace-fox.png").write_bytes(figure)
    arguments.out.write_text(page(found, unet))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
