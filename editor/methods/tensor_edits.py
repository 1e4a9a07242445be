"""What an edit of a model consists of: the updates of its tensors, and the records of how they were computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from api_schemas.report import SolveRecord
from editor.checkpoints.tensor_update import TensorUpdate
from editor.methods.collateral_forecast import rank_changes
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution

MAX_LISTED_PROMPTS = 20
"""Prompts that a record lists as changing most."""


@dataclass(frozen=True)
class TensorEdit:
    """The update of one tensor, and the record of how it was computed."""

    update: TensorUpdate
    record: SolveRecord

    @property
    def updates(self) -> list[TensorUpdate]:
        """The update, as a list."""
        return [self.update]

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """The factors ``(up, down)`` of the update."""
        return self.update.up, self.update.down


@dataclass(frozen=True)
class SharedEdit:
    """The updates of all tensors that read one stream of text, and the record of the solve that they share."""

    factors: tuple[Tensor, Tensor]
    """``(up, down)`` of D, the solution in the stream's space."""
    updates: list[TensorUpdate]
    record: SolveRecord


Edit = TensorEdit | SharedEdit


def make_record(edit: LayerEdit, solution: Solution, updates: Sequence[TensorUpdate]) -> SolveRecord:
    """Return the record of a solve."""
    up, down = solution.up, solution.down
    drift = edit.held_out.drift(up, down)
    return SolveRecord(
        method=edit.method.name,
        component=updates[0].component,
        tensor=updates[0].name,
        shared_by=[update.name for update in updates],
        layer_choice=edit.method.layer_choice,
        columns=solution.row_count,
        rank=solution.up.shape[1],
        preservation=solution.preservation,
        ridge=solution.ridge,
        condition=solution.condition,
        relative_change=float(torch.trace((up.T @ up) @ (down @ down.T)).sqrt() / edit.site.norm_weight.norm()),
        null_prompt_drift=float((edit.null_keys @ down.T @ up.T).abs().max()),
        predicted_retain_p95=float(drift.quantile(0.95)),
        residual=edit.held_out.residual(up, down),
        seconds=solution.seconds,
        trade_off=solution.curve,
        foreseen=rank_changes(edit.held_out_retain_texts, drift)[:MAX_LISTED_PROMPTS],
        feasibility=solution.feasibility,
        warnings=solution.warnings,
        objective=edit.objective_record() if edit.method.name == "default" else None,
    )
