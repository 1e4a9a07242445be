"""The interface of attacks, and their lookup by name."""

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
    """How much an attack may spend."""

    limit: int
    """Largest number of the attack's units, such as steps."""
    images: int
    seed: int


class Attack(Protocol):
    """An attack on one removal; its class attributes go into the report."""

    name: ClassVar[str]
    """The name under which requests switch the attack on."""
    access: ClassVar[Access]
    unit: ClassVar[str]
    """What the budget counts."""
    default_budget: ClassVar[int]
    published_budget: ClassVar[int | None]
    """The budget in the authors' publication, if there is one."""
    source: ClassVar[str]
    """The publication, and the deviations from it."""
    tells: ClassVar[str]
    """How to interpret a success and a failure."""

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Run the attack. The same context and budget give the same record."""
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
