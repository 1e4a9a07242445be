"""What an attack is, and where attacks are found: one file, one registered class."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from api_schemas.attacks import Access, AttackRecord
from editor.io.progress import ProgressCallback
from editor.judging.attacks.context import AttackContext
from editor.judging.plugins import ATTACKS, load


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
    """Return the attack of a name. Raises AttackError: no installed distribution declares it."""
    attack: Attack = load(ATTACKS, name)()
    return attack
