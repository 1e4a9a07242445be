"""The card of a calibration, in markdown: what was measured of a base model, and how to read the instruments."""

from collections.abc import Iterator

from api_schemas.jobs import InstrumentFigures
from editor.judging.feature_scores.calibration import PROTOCOL, Calibration

CARD_FILE = "README.md"
MAX_LISTED = 40
"""Names of concepts in each list."""


def render_card(model: str, calibration: Calibration, figures: list[InstrumentFigures]) -> str:
    """Return the card of a calibration of the model with an id."""
    return "\n".join([*_front_matter(), *_header(model, calibration), *_table(figures), *_concepts(calibration)]) + "\n"


def _front_matter() -> Iterator[str]:
    yield from ("---", "library_name: expunge", "tags: [sparse-autoencoder, diff-c, calibration]", "---", "")


def _header(model: str, calibration: Calibration) -> Iterator[str]:
    yield from (f"# Calibration of {model}", "")
    yield f"Instruments that read concepts in the denoiser of a base model, trained on its own images, {PROTOCOL}."
    yield ""
    yield f"- Weights of the base model: sha256 `{calibration.model}`"
    yield f"- Judge: `{calibration.judge}`; a concept is known if it is recognised in half of its images or more"
    yield f"- Images: {calibration.steps} sampler steps, guidance {calibration.guidance:g}, seed {calibration.seed}"
    yield f"- Control concepts: {len(calibration.controls)}"
    yield ""


def _table(figures: list[InstrumentFigures]) -> Iterator[str]:
    yield "| kind | known | not known | module | FVU | linear probe | Diff-C |"
    yield "|---|---|---|---|---|---|---|"
    for row in figures:
        measured = f"{row.unexplained_variance:.3f} | {row.probe_accuracy:.3f} | {row.diffc_accuracy:.3f}"
        yield f"| {row.kind} | {row.known} | {row.unknown} | `{row.module}` | {measured} |"
    yield ""
    yield "FVU is the fraction of variance that the autoencoder leaves unexplained on held-out images; the other two are"
    yield "accuracies on held-out images. `sae/KIND` opens with `expunge features`; edits with `features` use all of them."
    yield ""


def _concepts(calibration: Calibration) -> Iterator[str]:
    for kind in dict.fromkeys(concept.kind for concept in calibration.concepts):
        unknown = [one.name for one in calibration.concepts if one.kind == kind and not one.known]
        yield f"## {kind.capitalize()}s that are not known"
        yield ""
        yield _enumerate(unknown) or "None."
        yield ""


def _enumerate(names: list[str]) -> str:
    others = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {others} more" if others > 0 else "")
