"""An edit from removals to tensor updates."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from api_schemas.report import ForeseenRemoval, SolveRecord, TradeOffPoint
from editor.checkpoints import OUT_PROJ, TextEncoder
from editor.methods.collateral_forecast import feasibility, ranked
from editor.methods.diff_quickfix import RIDGE, paper_statistics
from editor.methods.layer_edit import Task, canonical
from editor.prompts import PromptBook, Removal
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import Tower
from editor.solver.config import DEFAULT, Method
from editor.solver.least_squares import cholesky
from editor.solver.low_rank_update import TensorUpdate, factors, update_of
from editor.solver.normal_equations import Problem, pose, pose_sums
from editor.solver.preservation_search import Found, Stress, search, stress_of
from editor.solver.tensor_cache import FORGETFUL, Memory

TRUNCATION = 1e-2
"""Relative Frobenius norm of what the update leaves out to be of low rank: a ten-thousandth of its energy."""
WORST = 20
"""Prompts that the record lists as changing most."""
EXACT = 1e-12
"""The same where nothing but rounding is left out."""


@dataclass(frozen=True)
class Edit:
    """A tensor's update and the record of how it was found."""

    update: TensorUpdate
    record: SolveRecord


@dataclass(frozen=True)
class Solved:
    """An update as ``up @ down``, with what the record says of it."""

    up: Tensor
    down: Tensor
    columns: int
    preservation: float
    ridge: float
    condition: float
    curve: list[TradeOffPoint]
    seconds: float
    feasibility: list[ForeseenRemoval]


def edit(
    source: TextEncoder,
    book: PromptBook,
    removals: Sequence[Removal],
    method: Method = DEFAULT,
    memory: Memory = FORGETFUL,
    about: Sequence[Removal] = (),
) -> list[Edit]:
    """Remove all ``removals`` at once from one text encoder; their order does not matter.

    Args:
        source: the text encoder, opened lazily.
        book: its prompts.
        memory: what a ledger remembers between solves.
        about: whose feasibility is told; without any, that of so many as stand for all.

    Returns:
        For each of ``method.layers`` an exact low-rank update.

    Raises:
        ConceptError: a prompt does not fit the context.
        SolveError: pins leave no direction to edit.
    """
    source.expect()
    base, ordered = Tower(source), canonical(removals)
    updates: dict[int, Tensor] = {}
    done = []
    for layer in method.layers:
        task = Task(Site(base, base.edited(updates), layer), book, ordered, method, memory, canonical(about))
        solved = solve_paper(task) if method.preset == "paper" else solve(task)
        if len(method.layers) > 1:
            updates[layer] = solved.up @ solved.down
        done.append(described(task, solved))
    return done


def solve(task: Task) -> Solved:
    """One site's update."""
    task.prepare()
    problem, found, stress = settled(task)
    weight = found.best.preservation if task.method.preservation == "auto" else task.method.preservation
    start = time.perf_counter()
    core = problem.core(weight)
    seconds = time.perf_counter() - start
    up, down = problem.lifted(*factors(core, TRUNCATION))
    return Solved(
        up=up,
        down=down,
        columns=task.count,
        preservation=weight,
        ridge=problem.ridge,
        condition=condition(problem.system(weight), problem.ridge),
        curve=found.curve,
        seconds=seconds,
        feasibility=feasibility(task, problem, weight, (up, down), stress),
    )


def settled(task: Task) -> tuple[Problem, Found, Stress]:
    """The normal equations and the preservation weight, with more weight on removals that would lag where that costs less."""
    problem = posed(task, {})
    found = search(problem, task.held_out, task.emphasis)
    if task.measured_each and (stress := stress_of(task.some, found.left)):
        evened = posed(task, stress)
        again = search(evened, task.held_out, task.emphasis)
        if again.cost < found.cost:
            return evened, again, stress
    return problem, found, {}


def posed(task: Task, stress: Stress) -> Problem:
    """The normal equations: from columns when they are few, else from exact sums."""
    if task.few is not None:
        return pose(task.columns_under(stress), task.retained, task.free)
    return pose_sums(task.statistics_under(stress), task.preserved, task.free)


def solve_paper(task: Task) -> Solved:
    """The released procedure."""
    statistics, columns = paper_statistics(task.site, task.book, task.removals)
    start = time.perf_counter()
    delta = torch.cholesky_solve(statistics.target.T, cholesky(statistics.moment)).T
    seconds = time.perf_counter() - start
    up, down = factors(delta, EXACT)
    return Solved(up, down, columns, 0.0, RIDGE, condition(statistics.moment, RIDGE), [], seconds, [])


def condition(system: Tensor, ridge: float) -> float:
    """An upper bound of the condition number: no eigenvalue is above the trace, and none below the ridge."""
    return float(torch.trace(system)) / ridge


def described(task: Task, solved: Solved) -> Edit:
    """The update of the site's tensor, and its record."""
    source, name = task.site.base.source, OUT_PROJ.format(layer=task.site.layer)
    up, down = solved.up, solved.down
    drift, weight = task.held_out.drift(up, down), task.site.base.weight(task.site.layer)
    record = SolveRecord(
        preset=task.method.preset,
        component=source.component,
        tensor=name,
        layer=task.site.layer,
        layer_choice=task.method.layer_choice,
        columns=solved.columns,
        rank=solved.up.shape[1],
        preservation=solved.preservation,
        ridge=solved.ridge,
        condition=solved.condition,
        relative_change=float(torch.trace((up.T @ up) @ (down @ down.T)).sqrt() / weight.norm()),
        null_prompt_drift=float((task.null @ down.T @ up.T).abs().max()),
        predicted_retain_p95=float(drift.quantile(0.95)),
        seconds=solved.seconds,
        trade_off=solved.curve,
        foreseen=ranked(task.held_out_texts, drift)[:WORST],
        feasibility=solved.feasibility,
    )
    return Edit(update_of(source, name, up, down, task.site.base.stored_weight(task.site.layer)), record)
