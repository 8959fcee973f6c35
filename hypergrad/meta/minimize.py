"""A meta-descent of some steps, with its history and the best it found."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import check_integer
from ..errors import ArgumentError, HypergradError
from ..optimizers import Optimizer
from .descent import descend
from .evaluation import Evaluation, TakeBack
from .stored import how_many


@dataclass(frozen=True)
class Result:
    """What :func:`minimize` found.

    Attributes:
      hypers: those with the lowest value.
      value: that value.
      history: every :class:`Evaluation`, in order, the start first; those taken back too.
    """

    hypers: Any
    value: float
    history: list[Evaluation]


def minimize(
    f: Callable,
    hypers: Any,
    *,
    steps: int,
    step_size: Any = 1.0,
    optimizer: Optimizer | None = None,
    transform: Callable | None = None,
    take_back: TakeBack | None = None,
    numbered: bool = False,
    cache=None,
    recheck: bool = True,
    history: list | None = None,
    progress: bool = True,
) -> Result:
    """Some steps of :func:`descend`, and the best of them.

    Args:
      f, hypers, step_size, optimizer, transform, take_back, numbered, cache, recheck: as in :func:`descend`.
      steps: number of steps; ``f`` is evaluated steps + 1 times, at the start and after each.
      history: an empty list of your own, to which each evaluation is added as soon as it is there: so it holds
        what was reached however the descent ends, by Ctrl-C or an error of ``f`` too.
      progress: show a progress bar, and say from which iteration a stored descent goes on.

    Returns:
      A :class:`Result`.

    Raises:
      HypergradError: what :func:`descend` raises. Its attribute ``history`` holds what was before.

    Cost: steps + 1 hypergradients, and one more for the recheck. Memory: 2 · (steps + 1) nests like ``hypers``.

    >>> result = minimize(lambda h: (h["a"] - 3.0) ** 2, {"a": 0.0}, steps=2, step_size=0.25, progress=False)
    >>> [e.value for e in result.history], float(result.hypers["a"])
    ([9.0, 2.25, 0.5625], 2.25)
    """
    from tqdm import tqdm, trange

    steps = check_integer(steps, "steps", 0)
    history = [] if history is None else history
    if not isinstance(history, list) or history:
        raise ArgumentError(f"history must be an empty list, to be filled, got {history!r}")
    descent = descend(
        f,
        hypers,
        step_size=step_size,
        optimizer=optimizer,
        transform=transform,
        take_back=take_back,
        numbered=numbered,
        cache=cache,
        recheck=recheck,
    )
    if progress and cache is not None and (stored := how_many(Path(cache))):
        last = f"of {steps}" if stored <= steps else f"of {steps}, which is stored too"
        tqdm.write(f"going on from iteration {min(stored, steps)} {last}, with {cache}", file=sys.stderr)
    try:
        with contextlib.closing(descent):
            for _, found in zip(trange(steps + 1, disable=not progress, unit="iteration"), descent):
                history.append(found)
    except HypergradError as error:
        error.history = history  # type: ignore[attr-defined]
        raise
    lowest = best(history)
    return Result(lowest.hypers, lowest.value, history)


def best(history: list[Evaluation]) -> Evaluation:
    """The one with the lowest value of those not taken back."""
    return min((e for e in history if not e.taken_back), key=lambda e: e.value)
