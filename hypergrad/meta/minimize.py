"""A meta-descent of some steps, with its history, the best it found and why it ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import ArgumentError, CallbackError, HypergradError
from ..optimizers import Optimizer
from . import scipy_methods
from .descent import Setting, checked
from .evaluation import Evaluation, TakeBack
from .objective import Objective, check_number
from .stored import how_many

ALL_STEPS, INTERRUPTED = "all steps were made", "interrupted"


class Losses(NamedTuple):
    """What some hyperparameters reach.

    Attributes:
      optimized: the value that the hypergradient sees.
      validated: what ``validate`` says; NaN without it.
      untouched: what ``test`` says, which nothing was chosen by; NaN without it.
    """

    optimized: float
    validated: float
    untouched: float


@dataclass(frozen=True)
class Result:
    """What :func:`minimize` found.

    Attributes:
      hypers: the best: those with the lowest validation, or without ``validate`` with the lowest value, of those that
        were not taken back.
      value: the value there.
      history: every :class:`Evaluation`, in order, the start first; those taken back too.
      reason: why it ended, a sentence.
      start, best: the losses at the start and at the best.
    """

    hypers: Any
    value: float
    history: list[Evaluation]
    reason: str = ALL_STEPS
    start: Losses | None = None
    best: Losses | None = None

    @property
    def was_interrupted(self) -> bool:
        """Whether it ended by Ctrl-C."""
        return self.reason.startswith(INTERRUPTED)

    def __str__(self) -> str:
        return self.report()

    def report(self) -> str:
        """The losses at the start and at the best, side by side, and why it ended."""
        names = [name for name in Losses._fields if not np.isnan(getattr(self.best, name))]
        lines = ["".join(f"{word:>12}" for word in ("", *names))]
        for row, losses in (("start", self.start), ("best", self.best)):
            lines.append(f"{row:>12}" + "".join(f"{getattr(losses, name):12.4g}" for name in names))
        doubted = sum(bool(e.doubt) for e in self.history)
        lines.append(f"{len(self.history)} evaluations; {self.reason}")
        if doubted:
            lines.append(f"the hypergradient was in doubt at {doubted} of them (Evaluation.doubt says why)")
        return "\n".join(lines)


def minimize(
    f: Callable,
    hypers: Any,
    *,
    steps: int,
    step_size: Any = None,
    optimizer: Optimizer | None = None,
    method: str | None = None,
    maps: Any = None,
    bounds: tuple | None = None,
    seeds: Any = None,
    n_jobs: int = 1,
    validate: Callable | None = None,
    estimator: Callable | None = None,
    test: Callable | None = None,
    transform: Callable | None = None,
    take_back: TakeBack | None = None,
    on_chaos: Any = None,
    tolerance: float = 0.0,
    patience: int | None = None,
    callback: Callable | None = None,
    store=None,
    recheck: bool = True,
    history: list | None = None,
    progress: bool = True,
) -> Result:
    """Minimize a function by its hypergradient: steps of :func:`descend`, or a method of SciPy, and the best found.

        hg.meta.minimize(validation_loss, {"lr": 0.1}, steps=20, maps={"lr": hg.meta.maps.log()}, test=test_loss)

    Args:
      f, hypers, step_size, optimizer, maps, bounds, seeds, n_jobs: as in :func:`descend`.
      validate, estimator, transform, take_back, store, recheck: likewise.
      on_chaos: likewise; "stop" ends where the hypergradient is in doubt.
      steps: number of steps; ``f`` is evaluated at most steps + 1 times, at the start and after each.
      method: one of SciPy's gradient methods in place of our own steps, such as "L-BFGS-B", for an f without fresh
        seeds; then ``step_size``, ``optimizer``, ``transform``, ``take_back`` and ``on_chaos`` stay None. Each
        evaluation, of its line searches too, is a step.
      test: takes the hyperparameters and returns a number, on data that neither ``f`` nor ``validate`` sees. It is
        called twice, for the start and for the best, and chooses nothing.
      tolerance: end where the norm of the hypergradient is at most this times the one at the start.
      patience: end after so many evaluations without a new best.
      callback: called with each :class:`Evaluation`, for example one of :mod:`hypergrad.meta.track`; True ends the
        descent.
      history: an empty list of your own, to which each evaluation is added as soon as it is there: so it holds
        what was reached however the descent ends, by an error of ``f`` too.
      progress: show a progress bar, and say from which iteration a stored descent goes on.

    Returns:
      A :class:`Result`. After Ctrl-C too, if the start is evaluated: its ``reason`` begins with "interrupted".
      A second Ctrl-C, while ``test`` is called, raises.

    Raises:
      HypergradError: what :func:`descend` raises. Its attribute ``history`` holds what was before.
      ArgumentError: for arguments that exclude each other.

    Cost: steps + 1 hypergradients of each seed, a line search (at most 13 trainings) without a step size, and one
    hypergradient for the recheck. Memory: 2 · (steps + 1) nests like ``hypers``, twice that with maps.

    >>> result = minimize(lambda h: (h["a"] - 3.0) ** 2, {"a": 0.0}, steps=2, step_size=0.25, progress=False)
    >>> [e.value for e in result.history], float(result.hypers["a"])
    ([9.0, 2.25, 0.5625], 2.25)
    """
    steps = check_integer(steps, "steps", 0)
    patience = None if patience is None else check_integer(patience, "patience", 1)
    history = [] if history is None else history
    if not isinstance(history, list) or history:
        raise ArgumentError(f"history must be an empty list, to be filled, got {history!r}")
    if not (isinstance(tolerance, int | float) and 0.0 <= tolerance < 1.0):
        raise ArgumentError(f"tolerance must lie in [0, 1), got {tolerance!r}")
    for name, given in (("validate", validate), ("test", test), ("callback", callback)):
        if given is not None and not callable(given):
            raise ArgumentError(f"{name} must be a function, got {given!r}")
    setting = checked(
        f,
        hypers,
        step_size,
        optimizer,
        maps,
        bounds,
        seeds,
        n_jobs,
        validate,
        estimator,
        transform,
        take_back,
        on_chaos,
    )
    if method is not None:
        own = {
            "estimator": estimator,
            "step_size": step_size,
            "optimizer": optimizer,
            "transform": transform,
            "take_back": take_back,
        }
        scipy_methods.check(method, setting, own | {"on_chaos": None if on_chaos == "stop" else on_chaos})
    if progress and store is not None and (stored := how_many(Path(store))):
        _say_where_from(stored, steps, store)
    stops = _Stops(steps, tolerance, patience, callback, on_chaos == "stop")
    try:
        reason = _run(setting, method, store, recheck, history, stops, progress)
        return _result(history, reason, test)
    except HypergradError as error:
        error.history = history  # type: ignore[attr-defined]
        raise


def _run(setting: Setting, method, store, recheck: bool, history: list, stops: _Stops, progress: bool) -> str:
    """Fill the history; returns why it ended."""
    with _Bar(stops.steps, setting.objective, progress) as bar:

        def record(found: Evaluation) -> None:
            history.append(found)
            bar.show(history)
            reason = stops.reason(history)
            if reason:
                raise _Ended(reason)

        try:
            if method is not None:
                return scipy_methods.run(method, setting, store, recheck, record)
            with contextlib.closing(setting.walk(store, recheck)) as evaluations:
                for found in evaluations:
                    record(found)
            raise AssertionError("a descent has no end")
        except _Ended as ended:
            return str(ended)
        except KeyboardInterrupt:
            if not history:
                raise
            return f"{INTERRUPTED} after {len(history)} of {stops.steps + 1} evaluations"


class _Ended(Exception):
    """It is time to end; says why."""


def best(history: list[Evaluation]) -> Evaluation:
    """The evaluation with the lowest validation, or value where there is none, of those not taken back.

    Args:
      history: evaluations in any order, one at least that was not taken back.
    """
    return min((e for e in history if not e.taken_back), key=lambda e: e.loss)


def _result(history: list[Evaluation], reason: str, test: Callable | None) -> Result:
    lowest = best(history)
    start, found = (
        Losses(e.value, e.validation, np.nan if test is None else check_number(test(e.hypers), "test"))
        for e in (history[0], lowest)
    )
    return Result(lowest.hypers, lowest.value, history, reason, start, found)


def _say_where_from(stored: int, steps: int, store) -> None:
    from tqdm import tqdm

    last = f"of {steps}" if stored <= steps else f"of {steps}, which is stored too"
    tqdm.write(f"going on from iteration {min(stored, steps)} {last}, with {store}", file=sys.stderr)


class _Stops(NamedTuple):
    """When to end before the last step."""

    steps: int
    tolerance: float
    patience: int | None
    callback: Callable | None
    at_doubt: bool

    def reason(self, history: list[Evaluation]) -> str:
        """Why to end now, a sentence; empty if there is no reason."""
        found = history[-1]
        if self._callback_ends(found):
            return "the callback returned True"
        if self.at_doubt and found.doubt:
            return f"the hypergradient is in doubt: {found.doubt}"
        if not found.taken_back and found.gradient_norm <= self.tolerance * history[0].gradient_norm:
            return f"the norm of the hypergradient is down to {found.gradient_norm:.3g}"
        if self.patience is not None:
            since = found.iteration - best(history).iteration
            if since >= self.patience:
                return f"no new best in {since} evaluations"
        return ALL_STEPS if len(history) > self.steps else ""

    def _callback_ends(self, found: Evaluation) -> bool:
        """Raises CallbackError: the callback raised something."""
        try:
            return self.callback is not None and self.callback(found) is True
        except HypergradError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the callback raised {type(error).__name__} at meta-iteration {found.iteration}: {error}; what was "
                "evaluated is in the history of this error, and in store= if that was given"
            ) from error


class _Bar:
    """A progress bar with the value, the best, the norm of the hypergradient and the trainings done."""

    def __init__(self, steps: int, objective: Objective, progress: bool):
        from tqdm import tqdm

        self.bar = tqdm(desc="meta-descent", total=steps + 1, disable=not progress, unit="iteration")
        self.objective, self.trainings = objective, 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def show(self, history: list[Evaluation]) -> None:
        found, lowest = history[-1], best(history)
        self.trainings += len(self.objective.seeds_of(found.iteration))
        self.bar.set_postfix_str(
            f"value {found.value:.4g}, best {lowest.loss:.4g}, norm {found.gradient_norm:.3g}, "
            f"{self.trainings} trainings",
            refresh=False,
        )
        self.bar.update()
