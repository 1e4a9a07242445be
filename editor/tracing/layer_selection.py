"""The layer to edit: the trace's, when the evidence separates it, else the default, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.report import TraceRecord
from editor.tracing.result import Trace, text_only
from editor.tracing.sites import TextSite

DEFAULT_LAYER = 0
"""Where Diff-QuickFix found the concepts of CLIP encoders (Basu et al. 2024, sec. 4)."""


@dataclass(frozen=True)
class Choice:
    """Which layer's attention output to edit, and why."""

    layer: int
    reason: str
    separated: bool
    """Whether the evidence, rather than the default, chose it."""
    ahead: bool = False
    """Whether the strongest site, of whatever kind, is clearly ahead of the runner-up."""


def choose_layer(trace: Trace, default: int = DEFAULT_LAYER) -> Choice:
    """The layer of the strongest site, if that is a self-attention clearly ahead of every site of other layers or kinds.

    The edit takes it with ``sites="auto"``; the reason goes into the report either way.

    Ahead: the 95 % interval of the difference to the runner-up, paired by observation, lies above zero.
    """
    sites = sorted(own_blocks(trace), key=lambda site: -trace.effects[site].value)
    others = [site for site in sites[1:] if (site.layer, site.kind) != (sites[0].layer, sites[0].kind)]
    if not others:
        return Choice(default, "Fewer than two blocks were traced; the default layer stays.", False)
    first, second = sites[0], others[0]
    lead = trace.difference(first, second)
    found = f"{describe(first, trace)} leads {describe(second, trace)} by {lead.value:.2f} ({lead.low:.2f} to {lead.high:.2f})"
    if lead.low <= 0:
        return Choice(default, f"{found}: not separated; the default layer stays.", False)
    if first.kind != "self_attention":
        return Choice(
            default, f"{found}, but the edit changes attention outputs only; the default layer stays.", False, True
        )
    return Choice(first.layer, f"{found}.", True, True)


def own_blocks(trace: Trace) -> list[TextSite]:
    """Single blocks: a residual stream carries what all layers before it made, so it says nothing about one layer."""
    return [site for site in text_only(trace) if site.kind != "residual" and site.window == 1]


def describe(site: TextSite, trace: Trace) -> str:
    """A site and its effect in words."""
    place = trace.question.places[site.place]
    return f"{site.label.replace('_', '-')} at {place!r} ({trace.effects[site].value:.2f})"


def layers_by_trace(traces: Sequence[TraceRecord]) -> tuple[tuple[int, ...], str]:
    """The layers to edit for several concepts, each as its trace says, and why."""
    if not traces:
        return (DEFAULT_LAYER,), "Nothing was traced; the default layer stays."
    layers = sorted({trace.chosen_layer for trace in traces})
    return tuple(layers), " ".join(trace.choice for trace in traces)
