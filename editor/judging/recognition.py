"""What model and judge know: which names the judge recognises in images of the base model.

A name that the base model does not draw, or that the judge does not see, cannot show that an edit preserved it: unrecognised
before and after, it would count as no drop. Such names are left out of the neighbours and the retained prompts, and reported.
Images and seeds differ from those that are evaluated, so that leaving names out does not bias what is measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from api_schemas.judging import NameRecognition, RecognitionRecord
from editor.generation.config import Image, ImageSpec
from editor.judging.choices import retain_choices
from editor.judging.judge import Judge
from editor.judging.neighbours import Unrecognised
from editor.judging.prompt_groups import PromptGroup, edited_phrases, natural_phrases
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind
from editor.prompts.templates import evenly_spaced
from editor.stats.intervals import estimate_rate

RECOGNITION_SEED = 2_000_000
"""First seed of the images. They do not depend on the request, so that all requests share them."""
MAX_ROUNDS = 3
"""Neighbours that are left out are replaced by the next nearest, which are measured in another round."""

Name = tuple[ConceptKind, str]
BaseImages = Callable[[Sequence[ImageSpec]], Sequence[Image]]
"""Generates images with the base model."""
PlanGroups = Callable[[Unrecognised], list[PromptGroup]]
"""Plans the groups of a request without some names."""


@dataclass(frozen=True)
class Recognition:
    """Of each measured name, for each of its images, whether the judge recognised it."""

    minimum: float = 0.0
    """Share of a name's images in which it must be recognised."""
    hits: Mapping[Name, Sequence[bool]] = field(default_factory=dict)

    @property
    def unrecognised(self) -> Unrecognised:
        """The names that are left out."""
        return frozenset(name for name, hits in self.hits.items() if sum(hits) < self.minimum * len(hits))

    def record(self, confidence: float) -> RecognitionRecord | None:
        """Return the record for the report; None if nothing was measured."""
        if not self.hits:
            return None
        return RecognitionRecord(
            minimum=self.minimum,
            names=len(self.hits),
            images=sum(map(len, self.hits.values())),
            left_out=[
                NameRecognition(kind=kind, name=name, recognised=estimate_rate(self.hits[kind, name], confidence))
                for kind, name in sorted(self.unrecognised)
            ],
        )


def plan_recognised_groups(
    plan: PlanGroups, judge: Judge, builder: PromptBuilder, removals: Sequence[ResolvedRemoval], generate: BaseImages
) -> tuple[list[PromptGroup], Recognition]:
    """Plan the groups of a request from names that the judge recognises in images of the base model.

    Nothing is measured if the profile sets no minimum.
    """
    minimum, hits = judge.profile.judging.minimum_recognition, dict[Name, Sequence[bool]]()
    recognition = Recognition(minimum, hits)
    for _ in range(MAX_ROUNDS if minimum else 0):
        unmeasured = [name for name in retained_names(plan(recognition.unrecognised)) if name not in hits]
        if not unmeasured:
            break
        hits.update(measure_names(judge, builder, unmeasured, removals, generate))
    return plan(recognition.unrecognised), recognition


def retained_names(groups: Sequence[PromptGroup]) -> list[Name]:
    """Return the distinct names that the prompts of neighbours and retained concepts expect."""
    kept = (group for group in groups if group.name in ("neighbours", "retain"))
    return list(dict.fromkeys((group.kind, name) for group in kept for name in group.expected_names))


def measure_names(
    judge: Judge,
    builder: PromptBuilder,
    names: Sequence[Name],
    removals: Sequence[ResolvedRemoval],
    generate: BaseImages,
) -> dict[Name, list[bool]]:
    """Return, for each name, whether the judge recognises it in each of its images; names without prompts are left out."""
    specs = {(kind, name): [*recognition_specs(judge, builder, kind, name)] for kind, name in names}
    images = iter(generate([spec for own in specs.values() for spec in own]))
    by_name = {name: [next(images) for _ in own] for name, own in specs.items()}
    return {
        (kind, name): recognise_name(
            judge, kind, name, shown, [other for same, other in names if same == kind], removals
        )
        for (kind, name), shown in by_name.items()
        if shown
    }


def recognition_specs(judge: Judge, builder: PromptBuilder, kind: ConceptKind, name: str) -> Iterator[ImageSpec]:
    """Yield the images of a name: natural prompts, evenly spaced among those that an edit would use."""
    phrases = natural_phrases(edited_phrases(builder, kind, name), kind)
    for index, phrase in enumerate(evenly_spaced(phrases, judge.profile.judging.recognition_images)):
        yield ImageSpec(phrase.text(), RECOGNITION_SEED + index)


def recognise_name(
    judge: Judge,
    kind: ConceptKind,
    name: str,
    images: Sequence[Image],
    others: Sequence[str],
    removals: Sequence[ResolvedRemoval],
) -> list[bool]:
    """Return whether the judge recognises a name in each image, among the other measured names or all of the kind."""
    choices = retain_choices(judge, kind, [name, *others], removals).names
    found, _ = judge.classify(kind, judge.embed_images(images), choices)
    return [one == name for one in found]
