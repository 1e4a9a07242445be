"""How the table of scores and attacks reads: docs/reference/results.md's section on it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from api_schemas.attacks import ATTACK_TITLES, AttackRecord, Rate
from api_schemas.feature_scores import DiffCScore, FeatureScores, Residual
from editor.stats.intervals import hit_rate
from research.results.attacks_and_scores import PRESETS, Row

ORDER = [name for name in ATTACK_TITLES if name != "languages"]
SHORT = {
    "names": "names",
    "ring_a_bell_transfer": "Ring-A-Bell, transfer",
    "ring_a_bell_adaptive": "Ring-A-Bell, adaptive",
    "adversarial_key": "key",
    "inversion_text": "inversion, text",
    "inversion_images": "inversion, images",
    "noise_probe": "noise probe",
    "resurgence": "resurgence",
}


PLAINEST = ("names", "adversarial_key", "ring_a_bell_transfer", "ring_a_bell_adaptive")


def page(rows: Sequence[Row]) -> str:
    """The section."""
    parts = [TEXT, SCORES, *map(score_line, rows), ATTACKS, attack_head(), *attack_lines(rows), *discussion(rows)]
    return "\n".join(parts)


def score_line(row: Row) -> str:
    """A row of the first table."""
    cells = (
        row.concept,
        row.preset,
        change(row.target_before, row.target_after),
        change(row.kept_before, row.kept_after),
        *feature_cells(row.features or FeatureScores()),
    )
    return f"| {' | '.join(cells)} |"


def change(before: Rate, after: Rate) -> str:
    """Of a share."""
    return f"{before.value:.2f} → {after.value:.2f}"


def feature_cells(found: FeatureScores) -> Iterator[str]:
    """Residuals by autoencoder and probe, the alarm, and Diff-C as drawn, as asked for, and hidden."""
    sae = found.sae[0] if found.sae else None
    yield residual(sae.residual if sae else None)
    yield residual(sae.probe if sae else None)
    yield f"{sae.fvu_after / sae.fvu_before:.2f}{'' if sae.trusted else ' !'}" if sae else "–"
    by_question = {one.asked_for: one for one in found.diffc}
    yield from (presence(by_question.get(asked)) for asked in ("image", "prompt", "nothing"))


def residual(found: Residual | None) -> str:
    """With its interval; a dash where nothing can be said."""
    if found is None:
        return "–"
    value = found.estimate
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def presence(found: DiffCScore | None) -> str:
    """Before and after."""
    return "–" if found is None else f"{found.before.value:.2f} → {found.after.value:.2f}"


def attack_head() -> str:
    """Column names."""
    return f"| concept | weights | {' | '.join(SHORT.values())} |\n|{'---|' * (2 + len(SHORT))}"


def attack_lines(rows: Sequence[Row]) -> Iterator[str]:
    """For each concept the base model, the released procedure and the default; then all together."""
    for concept in dict.fromkeys(row.concept for row in rows):
        own = [row for row in rows if row.concept == concept]
        yield line(concept, "base", [outcome(own[0], name, before) for name in SHORT])
        yield from (line("", row.preset, [outcome(row, name, after) for name in SHORT]) for row in own)
    yield line("**all**", "base", [pooled(in_preset(rows, PRESETS[0]), name, before) for name in SHORT])
    for preset in PRESETS:
        yield line("", preset, [pooled(in_preset(rows, preset), name, after) for name in SHORT])


def in_preset(rows: Sequence[Row], preset: str) -> list[Row]:
    """Those of one."""
    return [row for row in rows if row.preset == preset]


def line(concept: str, weights: str, cells: Sequence[str]) -> str:
    """A row of the second table."""
    return f"| {concept} | {weights} | {' | '.join(cells)} |"


def before(record: AttackRecord) -> list[bool]:
    """Whether each attempt drew the concept on the base model; nothing where that has no meaning."""
    return [one.found_before for one in record.attempts if one.found_before is not None]


def after(record: AttackRecord) -> list[bool]:
    """On the edited model."""
    return [one.found for one in record.attempts]


Side = Callable[[AttackRecord], list[bool]]


def hits(rows: Sequence[Row], name: str, side: Side) -> list[bool]:
    """All attempts of an attack."""
    return [hit for row in rows if name in row.attacks for hit in side(row.attacks[name])]


def outcome(row: Row, name: str, side: Side) -> str:
    """Hits of attempts."""
    found = hits([row], name, side)
    return f"{sum(found)}/{len(found)}" if found else "–"


def pooled(rows: Sequence[Row], name: str, side: Side) -> str:
    """The rate with its interval."""
    found = hits(rows, name, side)
    return told(hit_rate(found)) if found else "–"


def told(found: Rate) -> str:
    """With Wilson's interval."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def discussion(rows: Sequence[Row]) -> Iterator[str]:
    """What the weakest results are, with their figures."""
    mine = in_preset(rows, "default")
    figures = {name: pooled(mine, name, after) for name in ORDER} | {
        f"{name}_base": pooled(mine, name, before) for name in ORDER
    }
    listed = {
        "cases": "; ".join(cases(mine)) or "none",
        "left_over": ", ".join(left_over(mine)) or "none",
        "weakest": ", ".join(weakest(mine)),
    }
    yield DISCUSSION.format(**figures, **listed)


def weakest(rows: Sequence[Row], count: int = 3) -> list[str]:
    """The concepts that most attempts by prompts alone brought back."""
    shares = {row.concept: [hit for name in PLAINEST for hit in hits([row], name, after)] for row in rows}
    worst = sorted(shares, key=lambda concept: -sum(shares[concept]) / max(1, len(shares[concept])))[:count]
    return [f"{concept} ({sum(shares[concept])} of {len(shares[concept])})" for concept in worst]


def cases(rows: Sequence[Row]) -> Iterator[str]:
    """The plainest prompt of every concept that a prompt alone brought back."""
    for row in rows:
        found = (
            f"{row.concept}, `{record.strongest.what.replace('`', '')}` ({SHORT[name]})"
            for name in PLAINEST
            if (record := row.attacks[name]).strongest and record.strongest.found
        )
        yield from islice(found, 1)


def left_over(rows: Sequence[Row]) -> Iterator[str]:
    """Concepts with a residual that is not nothing, with what took their place."""
    for row in rows:
        for score in (row.features or FeatureScores()).sae:
            for found, by in ((score.residual, "autoencoder"), (score.probe, "probe")):
                if found and found.estimate.low > 0:
                    yield f"{row.concept} → {row.destination or 'nothing'}, {found.estimate.value:.2f} ({by})"


TEXT = """## Scores and attacks

Ten objects and four styles, removed one at a time by the default and by the released procedure (`paper`); the base model
beside them. *Target*: share of images of prompts about the concept in which the judge finds it, half of the prompts in
wordings that the edit never saw. *Kept*: the same for two prompts about each of twelve objects that nobody removes. The
other columns are explained in [attacks.md](attacks.md#scores-from-inside-of-the-model): *left* is the share of the concept's
signal that is left in the features of the UNet, by an autoencoder and by a linear probe, with 95 % intervals; *FVU* is how
many times as much the autoencoder leaves unexplained as before (above 1.5 it is not to be trusted, marked !); *Diff-C* is
the probability of the concept in the images as drawn, in the same under their prompts, and in the base model's images
restored under the empty prompt. A dash: nothing stands for the concept, or it can't be told on the base model.
"""
COLUMNS = (
    "concept", "weights", "target", "kept", "left, autoencoder", "left, probe", "FVU", "Diff-C, image", "Diff-C, prompt",
    "Diff-C, hidden",
)  # fmt: skip
SCORES = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
ATTACKS = """
### Attacks

Images in which the judge recognises the removed concept, of those that the strongest attempts of each attack drew
([attacks.md](attacks.md) says what each does and which budget is its authors'). *Base* is what the same attempts draw on
the base model: an attack that finds little there proves little. Budgets here are small: 600 prompts for Ring-A-Bell, 30
and 25 steps for an inversion from text and from images, 100 for fine-tuning, which is tried on the default's weights. The
last rows pool all concepts, with Wilson's interval.
"""
DISCUSSION = """
### The weakest results

**Whoever holds the weights gets the concept back.** A new token learned through the edited encoder draws it in
{inversion_images} of images when it is learned from pictures, and in {inversion_text} when it is learned from the original
encoder's states alone, in seconds. From noised pictures of the concept, under the empty prompt, the default's edited model
restores what the base model restores: {noise_probe} against {noise_probe_base}; Diff-C finds the concept in such pictures
as before. Nothing else could be expected: the edit changes what words mean to the text encoder, and the image half still
can draw what it could. The removal is one of prompts, not of knowledge, and every report says so. That the released
procedure restores less is no merit: it damages the empty prompt along with everything else (*kept*), and the autoencoder's
alarm goes off for each of its edits.

**Prompts.** Of the default's attacks by prompts alone, other names and spellings succeed in {names} (base: {names_base}),
prompts searched on the original encoder in {ring_a_bell_transfer} (base: {ring_a_bell_transfer_base}), prompts searched on
the edited encoder in {ring_a_bell_adaptive} (base: {ring_a_bell_adaptive_base}), words with the nearest keys in
{adversarial_key} (base: {adversarial_key_base}). The edit is made at the tokens of the concept's names, in the first layer;
what other tokens add up to in later layers it does not reach. Most attempts succeed on {weakest}. By concept, the
plainest prompt that drew it: {cases}. A name torn apart can be given as an alias; nonsense that a search puts together
can't be foreseen.

**What took the concept's place may look like it.** The residuals compare with all controls, not with the destination:
where that is the concept's like, a part of the signal stays though judge and Diff-C see the concept go. The default's
residuals whose interval is above 0: {left_over}. A residual below 0 is a destination less like the concept than other things
are.

**Fine-tuning** on pictures that don't show the concept brought it back in {resurgence} of images.
"""
