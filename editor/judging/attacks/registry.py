"""What an attack is, and where attacks are found: one file, one registered class."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, TypeVar

from api_schemas.attacks import Access, AttackRecord
from editor.errors import AttackError
from editor.generation.sampling import Tick
from editor.judging.attacks.context import Scene

GROUP = "expunge.attacks"
"""Entry points of other distributions: name -> class."""


@dataclass(frozen=True)
class Effort:
    """What a request grants an attack."""

    budget: int
    """In the attack's unit."""
    images: int
    seed: int


class Attack(Protocol):
    """An attack on one removal."""

    name: ClassVar[str]
    """As requests call it."""
    access: ClassVar[Access]
    unit: ClassVar[str]
    """What its budget counts."""
    default_budget: ClassVar[int]
    published_budget: ClassVar[int | None]
    """What the authors spend."""
    source: ClassVar[str]
    tells: ClassVar[str]

    def run(self, scene: Scene, effort: Effort, tick: Tick) -> AttackRecord:
        """Attack. The same scene, effort and seed give the same record."""
        ...


Class = TypeVar("Class", bound=Callable[[], Attack])
REGISTERED: dict[str, Callable[[], Attack]] = {}


def register(attack: Class) -> Class:
    """Make a class known under its ``name``."""
    REGISTERED[attack.name] = attack  # type: ignore[attr-defined]
    return attack


def find(name: str) -> Attack:
    """The attack of a name: a built-in one, or one that an installed distribution brings.

    Raises:
        AttackError: there is none.
    """
    if name in REGISTERED:
        return REGISTERED[name]()
    for entry in entry_points(group=GROUP, name=name):
        found: Attack = entry.load()()
        return found
    known = sorted({*REGISTERED, *entry_points(group=GROUP).names})
    raise AttackError(
        f"There is no attack {name!r}.",
        field=f"validation.attacks.plugins.{name}",
        remedy=f"Known are {', '.join(known)}; install the distribution that brings it, or leave it out.",
    )
