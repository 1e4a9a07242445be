"""What an attack is, and where attacks are found: one file, one registered class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from api_schemas.attacks import Access, AttackRecord
from editor.errors import AttackError
from editor.io.progress import ProgressCallback
from editor.judging.attacks.context import AttackContext
from editor.judging.plugins import ATTACKS, list_names, load


@dataclass(frozen=True)
class AttackBudget:
    """What a request grants an attack."""

    limit: int
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

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Attack. The same context, budget and seed give the same record."""
        ...


def load_attack(name: str) -> Attack:
    """Return the attack that is declared under a name. Raises AttackError: there is none."""
    attack_class: Callable[[], Attack] | None = load(ATTACKS, name)
    if attack_class is None:
        known = ", ".join(list_names(ATTACKS))
        raise AttackError(
            f"There is no attack {name!r}.",
            field=f"validation.attacks.plugins.{name}",
            remedy=f"Choose from {known}, or install the distribution that provides this one.",
        )
    return attack_class()
