"""Effects, result files, the choice of a layer, screening and figures, for known scores."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from torch import Tensor

from api_schemas.errors import UsageError
from editor.io.memory_size import parse_memory
from editor.stats.intervals import estimate_mean
from editor.tracing.heatmaps import plot_trace, render_svg, write_figures
from editor.tracing.layer_selection import choose_layer
from editor.tracing.result import Trace, TraceSpec, load_trace
from editor.tracing.screening import rank_correlation, screen_then_confirm
from editor.tracing.sites import BlockSite, Site, text_sites

PROMPTS, DRAWS = 6, 2


def make_spec(sites: list[Site], places: tuple[str, ...] = ("last subject",), prompts: int = PROMPTS) -> TraceSpec:
    samples = tuple((p, d, 0) for p in range(prompts) for d in range(DRAWS))
    return TraceSpec(
        model="tiny", concept="f$x^2", attribute="object", read_out="distance", corruption="noise", seed=0,
        prompts=tuple(map(str, range(prompts))), places=places, samples=samples, sites=tuple(sites),
    )  # fmt: skip


def trace_of(shares: Tensor, sites: list[Site], places: tuple[str, ...] = ("last subject",)) -> Trace:
    """A trace whose restored shares ``(samples, sites)`` are known: clean 5, corrupted 1."""
    scores = torch.cat([torch.tensor([[5.0, 1.0]]).expand(len(shares), 2), 1 + 4 * shares], 1).double()
    return Trace(make_spec(sites, places, len(shares) // DRAWS), scores)


BLOCKS: list[Site] = list(text_sites(3, [0], ("self_attention", "mlp")))


def planted_trace(column: int, lead: float = 0.5, noise: float = 0.05) -> Trace:
    shares = 0.2 + noise * torch.randn(PROMPTS * DRAWS, len(BLOCKS), generator=torch.Generator().manual_seed(0))
    shares[:, column] += lead
    return trace_of(shares, BLOCKS)


def test_effect_averages_the_restored_share_over_prompts() -> None:
    shares = torch.rand(PROMPTS * DRAWS, len(BLOCKS), generator=torch.Generator().manual_seed(1))
    trace = trace_of(shares, BLOCKS)
    for column, site in enumerate(BLOCKS):
        wanted = estimate_mean(shares[:, column].reshape(PROMPTS, DRAWS).mean(1).tolist())
        found = trace.effects[site]
        assert found.n == PROMPTS
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high), abs=1e-6)


def test_draws_are_the_observations_of_a_single_prompt() -> None:
    assert trace_of(torch.rand(DRAWS, len(BLOCKS)), BLOCKS).effects[BLOCKS[0]].n == DRAWS


def test_prompts_without_the_token_group_are_left_out() -> None:
    shares = torch.full((PROMPTS * DRAWS, len(BLOCKS)), 0.5)
    shares[:4, 0] = float("nan")
    shares[:, 1] = float("nan")
    trace = trace_of(shares, BLOCKS)
    assert trace.effects[BLOCKS[0]].n == PROMPTS - 2
    assert BLOCKS[1] not in trace.effects


def test_effects_are_zero_if_the_corruption_has_no_cost() -> None:
    scores = torch.ones(PROMPTS * DRAWS, 2 + len(BLOCKS)).double()
    assert {effect.value for effect in Trace(make_spec(BLOCKS), scores).effects.values()} == {0.0}


def test_trace_round_trips_through_files(tmp_path: Path) -> None:
    trace = planted_trace(2)
    paths = trace.save(tmp_path)
    assert {path.name for path in paths} == {"trace.json", "trace.safetensors"}
    back = load_trace(tmp_path)
    assert back.spec == trace.spec
    assert torch.equal(back.scores, trace.scores)
    assert back.summary == trace.summary


@pytest.mark.parametrize("column", [0, 2, 4])
def test_separated_attention_layer_is_chosen(column: int) -> None:
    choice = choose_layer(planted_trace(column))
    assert (choice.layer, choice.separated) == (column // 2, True)


def test_default_layer_is_kept_without_evidence() -> None:
    choice = choose_layer(planted_trace(2, lead=0.0, noise=0.3), default=0)
    assert (choice.layer, choice.separated) == (0, False)
    assert "not separated" in choice.reason


def test_default_layer_is_kept_if_an_mlp_is_strongest() -> None:
    choice = choose_layer(planted_trace(3))
    assert (choice.layer, choice.separated, choice.ahead) == (0, False, True)
    assert "attention outputs only" in choice.reason


def test_screening_confirms_top_and_control_sites() -> None:
    sites: list[Site] = list(text_sites(6, [0, 1]))
    cheap = trace_of(torch.linspace(1, 0, len(sites)).expand(8, -1), sites, ("a", "b"))
    asked: list[Site] = []

    def confirm(chosen: list[Site]) -> Trace:
        asked.extend(chosen)
        shares = torch.tensor([sites.index(site) / len(sites) for site in chosen]).expand(8, -1)
        return trace_of(shares, list(chosen), ("a", "b"))

    screening = screen_then_confirm(cheap, confirm, top=5, control=7)  # type: ignore[arg-type]
    assert screening.top == tuple(sites[:5])
    assert len(set(asked)) == 12
    assert not set(screening.control) & set(screening.top)
    assert screening.correlation.value == pytest.approx(-1), "the expensive read-out ranks in reverse order"
    assert not screening.cheap_found_strongest


def test_rank_correlation_averages_ranks_of_ties() -> None:
    """Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4."""
    assert rank_correlation([(0, 0), (1, 5), (1, 3), (9, 7)]).value == pytest.approx(0.9486833)
    assert rank_correlation([(1, 0), (1, 1), (1, 2)]).value == 0


def test_figure_shows_every_effect(tmp_path: Path) -> None:
    sites: list[Site] = list(text_sites(3, [0, 1]))
    values = torch.tensor([0.01 * (i + 10) for i in range(len(sites))]).expand(8, -1).clone()
    values[:, 4] = torch.tensor([-0.5, 0.5] * 2).repeat(2)
    trace = trace_of(values, sites, ("f$x^2", "EOS"))
    paths = write_figures(trace, tmp_path)
    assert [path.suffix for path in paths] == [".svg", ".png"]
    texts = {element.text for element in ET.fromstring(paths[0].read_bytes()).iter() if element.tag.endswith("text")}
    assert {str(i + 10) for i in range(len(sites)) if i != 4} <= texts
    assert {"f$x^2", "EOS", "self-attention", "MLP"} <= texts
    assert b"url(#" in paths[0].read_bytes(), "hatched where the interval holds zero"
    assert render_svg(plot_trace(trace)) == paths[0].read_bytes(), "the same trace, the same bytes"


def test_figure_says_which_token_groups_rest_on_fewer_prompts(tmp_path: Path) -> None:
    sites: list[Site] = list(text_sites(2, [0, 1]))
    shares = torch.full((PROMPTS * DRAWS, len(sites)), 0.5)
    further = [i for i, site in enumerate(sites) if site.place == 1]  # type: ignore[union-attr]
    shares[: 2 * DRAWS, further] = float("nan")
    figure, _ = write_figures(trace_of(shares, sites, ("last subject", "further")), tmp_path)
    texts = {element.text for element in ET.fromstring(figure.read_bytes()).iter() if element.tag.endswith("text")}
    assert {"last subject", f"further ({PROMPTS - 2} of {PROMPTS})"} <= texts


def test_block_sites_are_plotted_as_bars(tmp_path: Path) -> None:
    names = ("down_blocks.0.resnets.0", "mid_block.resnets.0", "up_blocks.0.attentions.0.transformer_blocks.0.attn2")
    sites: list[Site] = [
        BlockSite(kind=kind, stage="up", modules=(name,))  # type: ignore[arg-type]
        for kind, name in zip(("resnet", "resnet", "cross_attention"), names, strict=True)
    ]
    write_figures(trace_of(torch.rand(8, 3), sites), tmp_path)
    text = (tmp_path / "trace.svg").read_text()
    assert all(label in text for label in ("down.0.resnets.0", "mid.resnets.0", "up.0.attentions.0.0.attn2"))


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("12", 12)]
)
def test_memory_amounts_are_parsed(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "0GB", "-1GB"])
def test_invalid_memory_amounts_are_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_memory(text)
