"""Test two claims of Basu et al. 2024 on the embedded model: ``python -m research.tracing_study``.

The claims: in the text encoder one site is causal, the first self-attention at the last subject token; in the UNet, the causal
sites of an attribute are spread over many blocks. Objects, styles and backgrounds are read out by the judge from images. Writes
``docs/reference/tracing-results.md``.
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
from editor.io.plotting import render_png
from editor.io.progress import no_progress
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
UNET_CONCEPTS: dict[Attribute, tuple[str, ...]] = {
    "object": ("fox", "pizza", "rocket", "guitar"),
    "style": ("ink", "noto", "fluent", "openmoji"),
    "background": ("blue", "yellow", "pink"),
}
SAMPLER = Sampler(steps=12, guidance=3.0, precision=native_precision())
CHEAP_OPTIONS, EXPENSIVE_OPTIONS, UNET_OPTIONS = (
    TraceOptions("", prompts=8, draws=3),
    TraceOptions("", prompts=4, draws=1),
    TraceOptions("", prompts=3, draws=1),
)
TOP, CONTROL = 6, 6
LAST_SUBJECT = ROLES.index("last subject")


@dataclass(frozen=True)
class ConceptTrace:
    """Traces of one concept in the text encoder: all sites by text distance; top, control and last subject sites by images."""

    attribute: Attribute
    concept: str
    screening: TwoStageResult

    def strongest(self, trace: Trace, place: int | None = None) -> TextSite:
        """Return the block with the largest effect, in all token groups or in one."""
        sites = [s for s in traced_text_sites(trace) if s.kind != "residual" and place in (None, s.place)]
        return max(sites, key=lambda site: trace.effects[site].value)


def make_tracer(concept: str, attribute: Attribute, options: TraceOptions) -> Tracer:
    """Return a tracer of the embedded model."""
    asked = replace(options, concept=concept, attribute=attribute, sampler=SAMPLER)
    return Tracer(emoji.WEIGHTS, emoji.JUDGE, asked, "emoji")


def trace_concept(attribute: Attribute, concept: str) -> ConceptTrace:
    """Rank all sites by text distance; trace the top, a control sample and the last subject token's blocks by images."""
    cheap = make_tracer(concept, attribute, CHEAP_OPTIONS).trace(no_progress)
    expensive = make_tracer(concept, attribute, replace(EXPENSIVE_OPTIONS, read_out="images"))

    def confirm(sites: Sequence[Site]) -> Trace:
        own = [s for s in traced_text_sites(cheap) if s.place == LAST_SUBJECT and s.kind != "residual"]
        return expensive.trace(no_progress, None, list(dict.fromkeys([*sites, *own])))

    return ConceptTrace(attribute, concept, screen_then_confirm(cheap, confirm, TOP, CONTROL))


def render_share(hits: Iterable[bool]) -> str:
    """Render a share of concepts with its interval."""
    return render_estimate(estimate_mean([float(hit) for hit in hits]))


def render_estimate(found: Estimate) -> str:
    """``0.83 (0.70 to 0.95)``."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def is_paper_site(site: TextSite) -> bool:
    """Return whether the site is the first self-attention at the last subject token."""
    return (site.layer, site.kind, site.place) == (0, "self_attention", LAST_SUBJECT)


def render_causal_site_shares(concepts: Sequence[ConceptTrace]) -> list[str]:
    """Render how often the paper's site is the strongest."""
    rows = ["| | " + " | ".join(CONCEPTS) + " | all |", "|---|" + "---|" * (len(CONCEPTS) + 1)]
    groups = [[concept for concept in concepts if concept.attribute == attribute] for attribute in CONCEPTS] + [
        list(concepts)
    ]
    questions = {
        "at the last subject token, by images": lambda concept: is_paper_site(
            concept.strongest(concept.screening.expensive, LAST_SUBJECT)
        ),
        "at the last subject token, by text distance": lambda concept: is_paper_site(
            concept.strongest(concept.screening.cheap, LAST_SUBJECT)
        ),
        "among all confirmed blocks, by images": lambda concept: is_paper_site(
            concept.strongest(concept.screening.expensive)
        ),
        "first self-attention, at any token, by images": lambda concept: is_first_attention(
            concept.strongest(concept.screening.expensive)
        ),
        "`sites=auto` chooses layer 0 by the evidence": lambda concept: selects_layer_0(concept.screening.cheap),
    }
    rows += [
        f"| {name} | " + " | ".join(render_share(map(asked, group)) for group in groups) + " |"
        for name, asked in questions.items()
    ]
    return [*rows, f"| concepts | {' | '.join(str(len(group)) for group in groups)} |"]


def is_first_attention(site: TextSite) -> bool:
    """Return whether the site is the first layer's self-attention."""
    return (site.layer, site.kind) == (0, "self_attention")


def selects_layer_0(trace: Trace) -> bool:
    """Return whether the trace's evidence selects layer 0."""
    choice = choose_layer(trace)
    return choice.separated and choice.layer == 0


def render_concepts(concepts: Sequence[ConceptTrace]) -> list[str]:
    """Render the strongest block of each concept by images, and the rank correlation with text distance."""
    head = (
        "concept",
        "strongest block at the last subject token",
        "effect",
        "strongest site",
        "effect",
        "rank correlation",
    )
    rows = [f"| {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for concept in concepts:
        expensive = concept.screening.expensive
        last = concept.strongest(expensive, LAST_SUBJECT)
        best = max(traced_text_sites(expensive), key=lambda site: expensive.effects[site].value)
        rows.append(
            f"| {concept.concept} | {last.label.replace('_', '-')} | {render_estimate(expensive.effects[last])} "
            f"| {best.label.replace('_', '-')}, {ROLES[best.place]} | {render_estimate(expensive.effects[best])} "
            f"| {concept.screening.correlation.value:.2f} |"
        )
    return rows


def render_layers(concepts: Sequence[ConceptTrace]) -> list[str]:
    """Render the mean effect at the last subject token over concepts, by images."""
    depth = 1 + max(site.layer for concept in concepts for site in traced_text_sites(concept.screening.expensive))
    rows = ["| | " + " | ".join(f"layer {i}" for i in range(depth)) + " |", "|---|" + "---|" * depth]
    for attribute in CONCEPTS:
        for kind in ("self_attention", "mlp"):
            sites = [TextSite(kind=kind, layer=i, place=LAST_SUBJECT) for i in range(depth)]
            cells = [
                render_mean_effect(
                    [concept.screening.expensive for concept in concepts if concept.attribute == attribute], s
                )
                for s in sites
            ]
            rows.append(f"| {attribute}, {kind.replace('_', '-')} | {' | '.join(cells)} |")
    return rows


def render_mean_effect(traces: Sequence[Trace], site: Site) -> str:
    """Render the mean effect over concepts with its interval."""
    return render_estimate(estimate_mean([trace.effects[site].value for trace in traces if site in trace.effects]))


def render_token_groups(concepts: Sequence[ConceptTrace]) -> list[str]:
    """Render the mean effect of the first self-attention by token group, over concepts, by text distance."""
    rows = ["| | " + " | ".join(ROLES) + " |", "|---|" + "---|" * len(ROLES)]
    for attribute in CONCEPTS:
        traces = [concept.screening.cheap for concept in concepts if concept.attribute == attribute]
        cells = []
        for place in range(len(ROLES)):
            site = TextSite(kind="self_attention", layer=0, place=place)
            cells.append(render_mean_effect(traces, site) if any(site in trace.effects for trace in traces) else "–")
        rows.append(f"| {attribute} | {' | '.join(cells)} |")
    return rows


def render_unet_tables(traces: dict[Attribute, list[Trace]]) -> list[str]:
    """Render the strongest UNet sites of each attribute, and the spread of their effects."""
    lines = ["| | " + " | ".join(traces) + " |", "|---|" + "---|" * len(traces)]
    means = {attribute: mean_effects(own) for attribute, own in traces.items()}
    for rank in range(8):
        cells = [
            f"{site.kind.replace('_', '-')} `{site.label}` {render_estimate(e)}"
            for site, e in (m[rank] for m in means.values())
        ]
        lines.append(f"| {rank + 1} | {' | '.join(cells)} |")
    spread = [f"{sum(e.low > 0 for _, e in m)} of {len(m)}" for m in means.values()]
    lines.append(f"| sites whose interval is above zero | {' | '.join(spread)} |")
    half = [str(sum(e.value >= m[0][1].value / 2 for _, e in m)) for m in means.values()]
    lines.append(f"| sites with at least half of the largest effect | {' | '.join(half)} |")
    return [*lines, "", *render_kinds(means)]


def mean_effects(traces: Sequence[Trace]) -> list[tuple[BlockSite, Estimate]]:
    """Return every site's effect over all prompts of all concepts, in descending order."""
    shares = torch.cat([trace.restored_shares for trace in traces])
    effects = [
        (site, estimate_mean(column.tolist()))
        for site, column in zip(traced_block_sites(traces[0]), shares.T, strict=True)
    ]
    return sorted(effects, key=lambda pair: -pair[1].value)


def render_kinds(means: dict[Attribute, list[tuple[BlockSite, Estimate]]]) -> list[str]:
    """Render the largest and the mean effect of each kind of site."""
    lines = ["| largest and mean effect of | " + " | ".join(means) + " |", "|---|" + "---|" * len(means)]
    kinds: dict[str, list[str]] = defaultdict(list)
    for effects in means.values():
        for kind in dict.fromkeys(site.kind for site, _ in effects):
            values = [effect.value for site, effect in effects if site.kind == kind]
            kinds[kind].append(f"{max(values):.2f}, {sum(values) / len(values):.2f}")
    return [*lines, *(f"| {kind.replace('_', '-')} | {' | '.join(cells)} |" for kind, cells in sorted(kinds.items()))]


def render_page(concepts: Sequence[ConceptTrace], unet: dict[Attribute, list[Trace]]) -> str:
    """Render the page."""
    parts = [
        HEADER,
        "## The text encoder: is the first self-attention at the last subject token the causal site?\n",
        "Share of concepts for which it is the strongest block (self-attention or MLP of one layer), interval over concepts.\n",
        *render_causal_site_shares(concepts),
        "\nRestored share at the last subject token, by images, mean and interval over concepts:\n",
        *render_layers(concepts),
        "\nThe first self-attention at all token groups, by text distance. The UNet attends to padding, too. Not every "
        "prompt has a word after the concept, so “next” and “further” rest on fewer prompts than the other groups:\n",
        *render_token_groups(concepts),
        "\nEach concept, by images (intervals over prompts), and the rank correlation of text distance and images:\n",
        *render_concepts(concepts),
        "\n![The fox, by text distance](../images/trace-fox.png)\n",
        "## The UNet: are the causal sites of an attribute spread over many blocks?\n",
        "Each block restored alone at all steps, by images, intervals over prompts. The strongest sites of each attribute:\n",
        *render_unet_tables(unet),
    ]
    return "\n".join(parts) + "\n"


HEADER = f"""# Tracing the embedded model

Written by `python -m research.tracing_study`; [tracing.md](../explanation/tracing.md) explains the method. The corruption is
noise of three standard deviations on the concept's tokens; an effect is the share of the lost score that restoring one site
recovers.
Images: {SAMPLER.steps} steps, guidance {SAMPLER.guidance:g}, {SAMPLER.precision}, judged by a separate model. By images,
each concept has {EXPENSIVE_OPTIONS.prompts} prompts in the text encoder and {UNET_OPTIONS.prompts} in the UNet;
by text distance {CHEAP_OPTIONS.prompts}, with {CHEAP_OPTIONS.draws} draws of the noise.
"""


def main() -> None:
    """Run the study, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/reference/tracing-results.md"))
    parser.add_argument("--first", type=int, help="number of concepts of each attribute, for a trial run")
    arguments = parser.parse_args()
    selected = slice(arguments.first)
    todo = [(attribute, concept) for attribute, names in CONCEPTS.items() for concept in names[selected]]
    concepts = [trace_concept(attribute, concept) for attribute, concept in tqdm(todo, desc="text encoder")]
    in_unet = [(attribute, concept) for attribute, names in UNET_CONCEPTS.items() for concept in names[selected]]
    options = replace(UNET_OPTIONS, sites="unet", read_out="images")
    unet: dict[Attribute, list[Trace]] = {attribute: [] for attribute in UNET_CONCEPTS}
    for attribute, concept in tqdm(in_unet, desc="UNet"):
        unet[attribute].append(make_tracer(concept, attribute, options).trace(no_progress))
    figure = render_png(plot_trace(concepts[0].screening.cheap))
    (arguments.out.parents[1] / "images").mkdir(parents=True, exist_ok=True)
    (arguments.out.parents[1] / "images" / "trace-fox.png").write_bytes(figure)
    arguments.out.write_text(render_page(concepts, unet))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
