"""The planner: which adjoint a run can afford."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .adjoints import PLANNED
from .adjoints.base import Sizes
from .engine.dynamics import Dynamics
from .errors import ArgumentError, CostWarning, MemoryBudgetError
from .fixed.dynamics import ExactDynamics
from .losses.base import Linearized
from .problem import check_problem

VARIABLE = "HYPERGRAD_MEMORY_BUDGET"
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class Plan(NamedTuple):
    """A choice of adjoint and what it will cost.

    Attributes:
      adjoint: to pass to :func:`hypergrad.train`.
      memory: predicted peak of the memory that the run allocates, in bytes.
      products: predicted matrix products a step and layer; training alone is 2.
      budget: the bytes that were allowed.
    """

    adjoint: Any
    memory: int
    products: float
    budget: int

    def __repr__(self):
        return (
            f"Plan({self.adjoint!r}: {in_words(self.memory)} of a budget of {in_words(self.budget)}, "
            f"{self.products / 2:.3g} × the products of training)"
        )


def in_words(nbytes: float) -> str:
    """A number of bytes with its unit."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}"
    return f"{nbytes:.0f} bytes"


def plan(
    loss: Callable, params: Any, optimizer: Any, hyper: Any = None, *, steps: int, save_at=None, memory_budget=None
) -> Plan:
    """Choose the adjoint that ``train(…, adjoint=None)`` would use, for the same arguments.

    :class:`Stored` if it fits the budget; else :class:`Reversible` where the dynamics are exact; else
    :class:`Checkpointed` with as many snapshots as fit. The bytes that a step keeps are counted on
    step 0; for the plan everything counts as differentiated.

    Args:
      loss, params, optimizer, hyper, steps, save_at: as for :func:`hypergrad.train`.
      memory_budget: bytes, or a text such as "500MB" or "2GiB"; if None, the environment variable
        HYPERGRAD_MEMORY_BUDGET, or else a quarter of the free memory.

    Raises:
      MemoryBudgetError: nothing fits; says the least that would.
      ArgumentError: a budget that is no number of bytes.

    Cost: one gradient. (``train`` itself plans with the first step of its run, and calls the loss no more than that.)
    """
    problem = check_problem(loss, params, optimizer, hyper, steps)
    saves = 1 if save_at is None else len(save_at)
    return choose(problem.dynamics(everything=True), memory_budget, saves)


_MARGIN = 0.95  # of the budget is planned for; predictions are within some per cent
_DEAR = 20.0  # products a step and layer, ten trainings, from which a plan is not taken without a word


def choose(dynamics: Dynamics, memory_budget=None, saves: int = 1) -> Plan:
    """The plan for a run that has been checked and returns parameters at ``saves`` step counts.

    Linearizes step 0, if there is one; the run that follows takes it over.
    """
    budget = parse_budget(memory_budget)
    sizes = sizes_of(dynamics, dynamics.prepare() if dynamics.steps else None, saves)
    chosen = _cheapest(sizes, _MARGIN * budget, budget)
    if chosen is None:
        costs = [(adjoint, adjoint.cost(sizes)) for adjoint in PLANNED]
        memory, least = min(((cost.memory, adjoint) for adjoint, cost in costs if cost), key=lambda pair: pair[0])
        enough = int(memory / _MARGIN) + 1
        raise MemoryBudgetError(
            f"no adjoint fits the memory budget of {budget:,} bytes: the least is {enough:,} bytes, with "
            f"{least!r}; allow that by train(..., memory_budget={enough}) or {VARIABLE}"
        )
    if chosen.products > _DEAR:
        _warn_that_it_is_dear(chosen, sizes)
    return chosen


def _cheapest(sizes: Sizes, memory: float, budget: int) -> Plan | None:
    """The first of the planned adjoints that fits."""
    for adjoint in PLANNED:
        fitted = adjoint.fitted(sizes, memory)
        cost = None if fitted is None else fitted.cost(sizes)
        if cost is not None:
            return Plan(fitted, cost.memory, cost.products, budget)
    return None


def _warn_that_it_is_dear(chosen: Plan, sizes: Sizes) -> None:
    """Say what it costs, and the least budget with which it costs less than ten trainings."""
    low, high = float(chosen.budget), 2.0 * chosen.budget
    affordable = lambda budget: (_cheapest(sizes, _MARGIN * budget, int(budget)) or chosen).products <= _DEAR
    while not affordable(high):
        low, high = high, 2.0 * high
    while high > 1.01 * low:
        middle = (low + high) / 2.0
        low, high = (low, middle) if affordable(middle) else (middle, high)
    warnings.warn(
        f"with a memory budget of {in_words(chosen.budget)} the derivative takes {chosen.products / 2:.3g} × the "
        f"products of training, with {chosen.adjoint!r}; with {in_words(high)} it takes less than 10 ×: "
        f'train(..., memory_budget="{np.ceil(high / 1e5) / 10:g}MB"), or {VARIABLE}',
        CostWarning,
        stacklevel=4,
    )


def vectors_of_reverse_mode(dynamics: Dynamics) -> int:
    """Bytes of the vectors of a run: state, gradient, step 0 for the planner, the cotangents of these, the replay."""
    return 11 * dynamics.layout.nbytes + 2 * dynamics.updates.nbytes()


def sizes_of(dynamics: Dynamics, linear: Linearized | None, saves: int) -> Sizes:
    """What the parts of a run take, from the sizes of the arrays and what the loss keeps of a step."""
    params, updates = dynamics.layout.nbytes, dynamics.updates
    updates.start(dynamics.layout.of(dynamics.params))
    state = params + updates.nbytes()
    exact, fixed, bits = isinstance(dynamics, ExactDynamics), 0, 0.0
    if exact:  # numbers, and for each that is multiplied a word
        assert isinstance(dynamics, ExactDynamics)
        fixed = state + (state - params) + (params if dynamics.rule.decays_weights else 0)
        bits = dynamics.bits_lost()
    tape = 0 if linear is None else linear.nbytes()
    record = tape + state - params
    record += params if dynamics.keeps_params else 0
    record += params if updates.needs_gradient else 0  # the gradient
    reserved = record if dynamics.loss.kept_in_arena else record - tape
    # The vectors of the run; the parameters that are returned, their cotangents and the gradient by them; and what a
    # product and the derivative of an update work with.
    working = vectors_of_reverse_mode(dynamics) + (2 * saves + 2) * params
    working += dynamics.loss.working(tape) + updates.working()
    return Sizes(dynamics.steps, params, state, fixed, int(bits / 8 * 33 / 32), tape, record, reserved, working, exact)


def parse_budget(memory_budget) -> int:
    """The budget in bytes.

    Raises:
      ArgumentError: it is no number of bytes.
    """
    given, source = memory_budget, "memory_budget"
    if given is None:
        given, source = os.environ.get(VARIABLE), VARIABLE
    if given is None:
        return free_memory() // 4
    number, unit = given, ""
    if isinstance(given, str):
        found = re.fullmatch(r"\s*(.*?)\s*([KMGT]?I?)B?\s*", given.upper())
        number, unit = found.groups() if found else ("", "")
    try:
        value = np.nan if isinstance(given, bool) else float(number) * _UNITS[unit]
    except (TypeError, ValueError, KeyError):
        value = np.nan
    if not 0 < value < np.inf:
        raise ArgumentError(f'{source} must be a number of bytes, such as 2_000_000_000 or "2GB", got {given!r}')
    return int(value)


def free_memory() -> int:
    """Bytes available to this process: of the machine, or of the control group it runs in."""
    try:
        with open("/proc/meminfo") as file:
            found = re.search(r"MemAvailable:\s+(\d+)", file.read())
            free = 1024 * int(found[1] if found else None)  # type: ignore[arg-type]
    except (OSError, TypeError):  # not Linux: half of what there is
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        pass
    return max(free, 0)
