"""The planner: which adjoint a run can afford."""

from __future__ import annotations

import os
import re
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .adjoints import Checkpointed, Reversible, Stored
from .arrays import nothing_kept
from .binomial import recomputed
from .dynamics import Dynamics
from .errors import ArgumentError, MemoryBudgetError
from .exact_dynamics import ExactDynamics
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


def plan(
    loss: Callable, params: Any, optimizer: Any, hyper: Any = None, *, steps: int, save_at=None, memory_budget=None
) -> Plan:
    """Choose the adjoint that ``train(…, adjoint=None)`` would use, for the same arguments.

    :class:`Stored` if it fits the budget; else :class:`Reversible` where the dynamics are exact; else
    :class:`Checkpointed` with as many snapshots as fit. What the intermediates of a step take is
    measured on step 0; for the plan everything counts as differentiated.

    Args:
      loss, params, optimizer, hyper, steps, save_at: as for :func:`hypergrad.train`.
      memory_budget: bytes, or a text such as "500MB" or "2GiB"; if None, the environment variable
        HYPERGRAD_MEMORY_BUDGET, or else a quarter of the free memory.

    Raises:
      MemoryBudgetError: nothing fits; says the least that would.
      ArgumentError: a budget that is no number of bytes.

    Cost: one gradient and Hessian-vector product.
    """
    problem = check_problem(loss, params, optimizer, hyper, steps)
    saves = 1 if save_at is None else len(save_at)
    return choose(problem.dynamics(everything=True), memory_budget, saves)


_MARGIN = 0.95  # of the budget is planned for; predictions are within some per cent


def choose(dynamics: Dynamics, memory_budget=None, saves: int = 1) -> Plan:
    """The plan for a run that has been checked and returns parameters at ``saves`` step counts."""
    budget, needs, steps = parse_budget(memory_budget), _Needs(dynamics, saves), dynamics.steps
    usable = _MARGIN * budget

    def checkpointed(snapshots: int) -> Plan:
        products = 6.0 + 2.0 * recomputed(steps, snapshots) / max(steps, 1)
        return Plan(Checkpointed(snapshots), needs.checkpointed(snapshots), products, budget)

    plans = [Plan(Stored(), needs.stored(), 4.0, budget)]
    if isinstance(dynamics, ExactDynamics):
        plans.append(Plan(Reversible(), needs.reversible(), 6.0, budget))
    plans.append(checkpointed(1))
    for affordable in plans:
        if affordable.memory <= usable:
            if affordable == plans[-1]:
                more = int((usable - affordable.memory) // needs.snapshot)
                return checkpointed(min(1 + more, max(steps, 1)))
            return affordable
    least = min(plans, key=lambda candidate: candidate.memory)
    enough = int(least.memory / _MARGIN) + 1
    raise MemoryBudgetError(
        f"no adjoint fits the memory budget of {budget:,} bytes: the least is {enough:,} bytes, with "
        f"{least.adjoint!r}; allow that by train(..., memory_budget={enough}) or {VARIABLE}"
    )


class _Needs:
    """Bytes that each adjoint takes, from the sizes of the arrays and a measured step."""

    def __init__(self, dynamics: Dynamics, saves: int = 1):
        self.dynamics, self.saves = dynamics, saves
        self.params = sum(w.nbytes for w in dynamics.params)
        slots = [array for w in dynamics.params for array in dynamics.optimizer.init(w)]
        self.state = self.params + sum(np.asarray(array).nbytes for array in slots)
        self.fixed = 0
        if isinstance(dynamics, ExactDynamics):  # numbers, and for each slot a word
            self.fixed = self.state + (self.state - self.params)
        self.snapshot = self.state + self.fixed
        self.tape, self.working, referenced = (0, 0, 0) if dynamics.steps == 0 else self._measure()
        self.record = self.state + self.tape  # what is kept of a step that is already differentiated
        if not dynamics.optimizer.keeps_params:
            self.record -= self.params - referenced

    def _measure(self) -> tuple[int, int, int]:
        """Bytes that the intermediates of step 0 hold, and the peak while they are made and used; and how many
        bytes of the parameters the intermediates refer to."""
        oracle, params = self.dynamics.oracle, [w.copy() for w in self.dynamics.params]
        alive = [weakref.ref(w) for w in params]
        already = tracemalloc.is_tracing()
        if not already:
            tracemalloc.start(1)
        try:
            with nothing_kept():
                before = tracemalloc.get_traced_memory()[0]
                tracemalloc.reset_peak()
                gradient, hvp = oracle.gradient_with_hvp(params, 0)
                held = tracemalloc.get_traced_memory()[0] - before
                hvp(gradient)
                peak = tracemalloc.get_traced_memory()[1] - before
                tape = held - sum(g.nbytes for g in gradient)
                del params, gradient
                referenced = sum(ref().nbytes for ref in alive if ref() is not None)
        finally:
            if not already:
                tracemalloc.stop()
        return tape, peak, referenced

    def _around_a_step(self, states: int) -> int:
        """One step backwards: its own work, the states before and after it, their cotangents old and new,
        those of the gradient and the result, and two elementwise temporaries."""
        largest = max(w.nbytes for w in self.dynamics.params)
        saved = 2 * (self.saves - 1) * self.params  # and their cotangents
        return self.working + (states + 2) * self.state + 3 * self.params + 2 * largest + saved

    def stored(self) -> int:
        """Peak bytes of :class:`Stored`."""
        gradient = self.params if self.dynamics.optimizer.keeps_gradient else 0
        return int(self.dynamics.steps * (self.record + gradient) + self._around_a_step(states=1) - self.tape)

    def checkpointed(self, snapshots: int) -> int:
        """Peak bytes of :class:`Checkpointed`."""
        steps, keeps_gradient = self.dynamics.steps, self.dynamics.optimizer.keeps_gradient
        kept = min(snapshots, max(steps - 1, 1)) * self.snapshot
        ahead = self.record if snapshots < steps else 0
        return int(kept + self.fixed + self._around_a_step(states=2 if keeps_gradient else 1) + ahead)

    def reversible(self) -> int:
        """Peak bytes of :class:`Reversible`."""
        bits = 0.0
        for name, schedule in zip(self.dynamics.optimizer.names, self.dynamics.schedules):
            if name in self.dynamics.optimizer.decays:
                lost = [-float(np.log2(leaf).sum()) for leaf in schedule.leaves]
                bits += sum(lost[i] * w.size for i, w in zip(schedule.cover, self.dynamics.params))
        return int(self.fixed + bits / 8 * 33 / 32 + self._around_a_step(states=2))


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
        number, unit = re.fullmatch(r"\s*(.*?)\s*([KMGT]?I?)B?\s*", given.upper()).groups()
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
            free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", file.read())[1])
    except (OSError, TypeError):  # not Linux: half of what there is
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 2**32
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        pass
    return max(free, 0)
