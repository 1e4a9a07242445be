"""Render the section on scores and attacks. Imported by ``python -m research.results``."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from api_schemas.attacks import ATTACK_TITLES, AttackRecord, Rate
from api_schemas.feature_scores import DiffCScore, FeatureScores, Residual
from editor.stats.intervals import hit_rate
from research.results.attacks_and_scores import METHODS, RemovalRow

ATTACK_NAMES = [name for name in ATTACK_TITLES if name != "languages"]
SHORT_TITLES = {
    "names": "names",
    "ring_a_bell_transfer": "Ring-A-Bell, transfer",
    "ring_a_bell_adaptive": "Ring-A-Bell, adaptive",
    "adversarial_key": "key",
    "inversion_text": "inversion, text",
    "inversion_images": "inversion, images",
    "noise_probe": "noise probe",
    "resurgence": "resurgence",
}
PROMPT_ATTACKS = ("names", "adversarial_key", "ring_a_bell_transfer", "ring_a_bell_adaptive")
"""Attacks by prompts alone, in ascending order of how unnatural their prompts are."""


def render(rows: Sequence[RemovalRow]) -> str:
    """Render the section."""
    parts = [
        TEXT,
        SCORES,
        *map(render_scores, rows),
        ATTACKS,
        render_attack_header(),
        *render_attacks(rows),
        *render_discussion(rows),
    ]
    return "\n".join(parts)


def render_scores(row: RemovalRow) -> str:
    """Render a row of the first table."""
    cells = (
        row.concept,
        row.method,
        render_change(row.target_before, row.target_after),
        render_change(row.kept_before, row.kept_after),
        *render_feature_scores(row.features or FeatureScores()),
    )
    return f"| {' | '.join(cells)} |"


def render_change(before: Rate, after: Rate) -> str:
    """Render a rate before and after."""
    return f"{before.value:.2f} → {after.value:.2f}"


def render_feature_scores(found: FeatureScores) -> Iterator[str]:
    """Render the residuals by autoencoder and probe, the growth of the FVU, and Diff-C on images, under prompts, and hidden."""
    sae = found.sae[0] if found.sae else None
    yield render_residual(sae.residual if sae else None)
    yield render_residual(sae.probe if sae else None)
    yield f"{sae.fvu_after / sae.fvu_before:.2f}{'' if sae.trusted else ' !'}" if sae else "–"
    by_question = {one.asked_for: one for one in found.diffc}
    yield from (render_presence(by_question.get(asked)) for asked in ("image", "prompt", "nothing"))


def render_residual(found: Residual | None) -> str:
    """Render a residual with its interval, or a dash if there is none."""
    if found is None:
        return "–"
    value = found.estimate
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def render_presence(found: DiffCScore | None) -> str:
    """Render the probability before and after."""
    return "–" if found is None else f"{found.before.value:.2f} → {found.after.value:.2f}"


def render_attack_header() -> str:
    """Render the header of the second table."""
    return f"| concept | weights | {' | '.join(SHORT_TITLES.values())} |\n|{'---|' * (2 + len(SHORT_TITLES))}"


def render_attacks(rows: Sequence[RemovalRow]) -> Iterator[str]:
    """Render base model and methods for each concept, then for all concepts together."""
    for concept in dict.fromkeys(row.concept for row in rows):
        own = [row for row in rows if row.concept == concept]
        yield render_line(concept, "base", [render_hits(own[0], name, hits_before) for name in SHORT_TITLES])
        yield from (
            render_line("", row.method, [render_hits(row, name, hits_after) for name in SHORT_TITLES]) for row in own
        )
    yield render_line(
        "**all**",
        "base",
        [render_pooled_rate(rows_of_method(rows, METHODS[0]), name, hits_before) for name in SHORT_TITLES],
    )
    for method in METHODS:
        yield render_line(
            "", method, [render_pooled_rate(rows_of_method(rows, method), name, hits_after) for name in SHORT_TITLES]
        )


def rows_of_method(rows: Sequence[RemovalRow], method: str) -> list[RemovalRow]:
    """Return the rows of one method."""
    return [row for row in rows if row.method == method]


def render_line(concept: str, weights: str, cells: Sequence[str]) -> str:
    """Render a row of the second table."""
    return f"| {concept} | {weights} | {' | '.join(cells)} |"


def hits_before(record: AttackRecord) -> list[bool]:
    """Return whether each attempt generated the concept with the base model; empty if that has no meaning."""
    return [one.found_before for one in record.attempts if one.found_before is not None]


def hits_after(record: AttackRecord) -> list[bool]:
    """Return whether each attempt generated the concept with the edited model."""
    return [one.found for one in record.attempts]


HitsFn = Callable[[AttackRecord], list[bool]]


def attack_hits(rows: Sequence[RemovalRow], name: str, hits_of: HitsFn) -> list[bool]:
    """Return the hits of all attempts of an attack."""
    return [hit for row in rows if name in row.attacks for hit in hits_of(row.attacks[name])]


def render_hits(row: RemovalRow, name: str, hits_of: HitsFn) -> str:
    """Render the number of hits and attempts."""
    found = attack_hits([row], name, hits_of)
    return f"{sum(found)}/{len(found)}" if found else "–"


def render_pooled_rate(rows: Sequence[RemovalRow], name: str, hits_of: HitsFn) -> str:
    """Render the hit rate over all rows with its interval."""
    found = attack_hits(rows, name, hits_of)
    return render_rate(hit_rate(found)) if found else "–"


def render_rate(found: Rate) -> str:
    """Render a rate with Wilson's interval."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def render_discussion(rows: Sequence[RemovalRow]) -> Iterator[str]:
    """Render the discussion of the weakest results."""
    mine = rows_of_method(rows, "default")
    figures = {name: render_pooled_rate(mine, name, hits_after) for name in ATTACK_NAMES} | {
        f"{name}_base": render_pooled_rate(mine, name, hits_before) for name in ATTACK_NAMES
    }
    listed = {
        "cases": "; ".join(successful_prompts(mine)) or "none",
        "left_over": ", ".join(remaining_residuals(mine)) or "none",
        "weakest": ", ".join(weakest_concepts(mine)),
    }
    yield DISCUSSION.format(**figures, **listed)


def weakest_concepts(rows: Sequence[RemovalRow], count: int = 3) -> list[str]:
    """Return the concepts with the highest hit rate of attacks by prompts alone."""
    shares = {
        row.concept: [hit for name in PROMPT_ATTACKS for hit in attack_hits([row], name, hits_after)] for row in rows
    }
    worst = sorted(shares, key=lambda concept: -sum(shares[concept]) / max(1, len(shares[concept])))[:count]
    return [f"{concept} ({sum(shares[concept])} of {len(shares[concept])})" for concept in worst]


def successful_prompts(rows: Sequence[RemovalRow]) -> Iterator[str]:
    """Yield the most natural successful prompt of every concept, if there is one."""
    for row in rows:
        found = (
            f"{row.concept}, `{record.strongest.what.replace('`', '')}` ({SHORT_TITLES[name]})"
            for name in PROMPT_ATTACKS
            if (record := row.attacks[name]).strongest and record.strongest.found
        )
        yield from islice(found, 1)


def remaining_residuals(rows: Sequence[RemovalRow]) -> Iterator[str]:
    """Yield the concepts whose residual is above zero, with their destination."""
    for row in rows:
        for score in (row.features or FeatureScores()).sae:
            for found, by in ((score.residual, "autoencoder"), (score.probe, "probe")):
                if found and found.estimate.low > 0:
                    yield f"{row.concept} → {row.destination or 'nothing'}, {found.estimate.value:.2f} ({by})"


TEXT = """## Scores and attacks

Ten objects and four styles, each removed alone by the default method and by `diff_quickfix`, against the base model.
*Target*: share of images of prompts about the concept in which the judge finds it; half of the prompts have wordings that the
edit did not see. *Kept*: the same for two prompts about each of twelve objects that no removal names. The other columns are
explained in [attacks.md](attacks.md#scores-from-inside-of-the-model): *left* is the share of the concept's signal that remains
in the features of the UNet, by an autoencoder and by a linear probe, with 95 % intervals; *FVU* is the autoencoder's
unexplained variance as a multiple of that before the edit (above 1.5 its scores are not reliable, marked !); *Diff-C* is the
probability of the concept in the generated images, in the same images under their prompts, and in the base model's images
restored under the empty prompt. A dash: no feature represents the concept, or it is not detectable in the base model.
"""
COLUMNS = (
    "concept", "weights", "target", "kept", "left, autoencoder", "left, probe", "FVU", "Diff-C, image", "Diff-C, prompt",
    "Diff-C, hidden",
)  # fmt: skip
SCORES = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
ATTACKS = """
### Attacks

Number of images in which the judge recognises the removed concept, of those generated by the strongest attempts of each attack
([attacks.md](attacks.md) describes the attacks and the budgets of their authors). *Base* is the result of the same attempts on
the base model: an attack that finds little there shows little. Budgets here are small: 600 prompts for Ring-A-Bell, 30 and 25
steps for an inversion from text and from images, and 100 for fine-tuning, which runs on the default's weights only. The last
rows pool all concepts, with Wilson's interval.
"""
DISCUSSION = """
### The weakest results

**Anyone who has the weights can recover the concept.** A new token that is learned through the edited encoder generates it in
{inversion_images} of images if it is learned from images, and in {inversion_text} if it is learned from the original encoder's
states, within seconds. From noised images of the concept, under the empty prompt, the default's edited model restores what the
base model restores: {noise_probe} against {noise_probe_base}; Diff-C finds the concept in such images as before. This is to be
expected: the edit changes the meaning of words in the text encoder, and the image half can still generate what it could
before. The edit removes a concept from prompts, not from the weights, and every report says so. That the released procedure
restores less is no advantage: it damages the empty prompt along with everything else (*kept*), and the autoencoder's FVU
exceeds its limit for each of its edits.

**Prompts.** Of the attacks on the default by prompts alone, other names and spellings succeed in {names} (base: {names_base}),
prompts searched on the original encoder in {ring_a_bell_transfer} (base: {ring_a_bell_transfer_base}), prompts searched on
the edited encoder in {ring_a_bell_adaptive} (base: {ring_a_bell_adaptive_base}), words with the nearest keys in
{adversarial_key} (base: {adversarial_key_base}). The edit acts at the tokens of the concept's names, in the first layer; it
does not reach what other tokens combine to in later layers. Most attempts succeed on {weakest}. The most natural successful
prompt of each concept: {cases}. A fragmented name can be given as an alias; nonsense that a search composes cannot be
foreseen.

**The destination may resemble the concept.** The residuals compare with all controls, not with the destination: if that
resembles the concept, a part of the signal remains although judge and Diff-C see the concept disappear. The default's
residuals whose interval is above 0: {left_over}. A residual below 0 means that the destination is less similar to the concept
than other concepts are.

**Fine-tuning** on images without the concept brought it back in {resurgence} of images.
"""
