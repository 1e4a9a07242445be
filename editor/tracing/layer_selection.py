"""Choose the layer to edit: the trace's strongest if it is clearly ahead, else the default, with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.report import TraceRecord
from editor.tracing.result import Trace, traced_text_sites
from editor.tracing.sites import TextSite

DEFAULT_LAYER = 0
"""The layer that Diff-QuickFix found causal in CLIP encoders (Basu et al. 2024, sec. 4)."""


@dataclass(frozen=True)
class LayerChoice:
    """The layer whose attention output to edit, and why."""

    layer: int
    reason: str
    separated: bool
    """Whether the evidence chose the layer, rather than the default."""
    ahead: bool = False
    """Whether the strongest site, of any kind, is clearly ahead of the runner-up."""


def choose_layer(trace: Trace, default: int = DEFAULT_LAYER) -> LayerChoice:
    """Choose the layer of the strongest site if that is a self-attention clearly ahead of other layers and kinds.

    Clearly ahead means: the 95 % interval of the difference to the runner-up, paired by observation, is above zero. The edit
    uses the layer with ``sites="auto"``; the report gives the reason either way.
    """
    sites = sorted(single_layer_sites(trace), key=lambda site: -trace.effects[site].value)
    others = [site for site in sites[1:] if (site.layer, site.kind) != (sites[0].layer, sites[0].kind)]
    if not others:
        return LayerChoice(default, "Fewer than two blocks were traced; the default layer stays.", False)
    first, second = sites[0], others[0]
    lead = trace.difference(first, second)
    evidence = (
        f"{describe_site(first, trace)} leads {describe_site(second, trace)} "
        f"by {lead.value:.2f} ({lead.low:.2f} to {lead.high:.2f})"
    )
    if lead.low <= 0:
        return LayerChoice(default, f"{evidence}: not separated; the default layer stays.", False)
    if first.kind != "self_attention":
        reason = f"{evidence}, but the edit changes attention outputs only; the default layer stays."
        return LayerChoice(default, reason, False, True)
    return LayerChoice(first.layer, f"{evidence}.", True, True)


def single_layer_sites(trace: Trace) -> list[TextSite]:
    """Return the sites of one layer only. A residual stream carries all earlier layers, so it does not qualify."""
    return [site for site in traced_text_sites(trace) if site.kind != "residual" and site.window == 1]


def describe_site(site: TextSite, trace: Trace) -> str:
    """Describe a site and its effect."""
    place = trace.spec.places[site.place]
    return f"{site.label.replace('_', '-')} at {place!r} ({trace.effects[site].value:.2f})"


def select_layers(traces: Sequence[TraceRecord]) -> tuple[tuple[int, ...], str]:
    """Return the layers to edit, one for each traced concept, and the reasons."""
    if not traces:
        return (DEFAULT_LAYER,), "Nothing was traced; the default layer stays."
    layers = sorted({trace.chosen_layer for trace in traces})
    return tuple(layers), " ".join(trace.choice for trace in traces)
