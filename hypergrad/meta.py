"""Meta-descent: gradient descent on hyperparameters, with history, best so far, and resume."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from autograd import value_and_grad

from .bridge import isbox
from .cache import load, store
from .checks import check_integer
from .errors import (
    ArgumentError,
    DivergedError,
    FixedPointOverflowError,
    HypergradError,
    NestError,
    NonFiniteGradientWarning,
    NonFiniteHypergradientError,
    ScheduleError,
)
from .nests import Structure, broadcast_prefix, check_leaf, flatten, leaf_places, unflatten
from .optimizers import SGD, Adam
from .workspace import first_non_finite, norm


@dataclass(frozen=True)
class TakeBack:
    """When :func:`minimize` takes a step back: it jumped, diverged, or its hypergradient is not finite.

    Then it starts again from where the step began, with a smaller step size, which stays.

    Attributes:
      loss: a jump is a rise of the value by more than (loss − 1) · |value before|; inf allows any.
      gradient: a jump is a norm of the hypergradient more than this times the one before; inf allows any.
      shrink: factor of the step size, in (0, 1).
    """

    loss: float = 1.1
    gradient: float = 3.0
    shrink: float = 0.5

    def __post_init__(self):
        for name in ("loss", "gradient"):
            if not getattr(self, name) >= 1.0:
                raise ArgumentError(f"TakeBack.{name} must be ≥ 1, got {getattr(self, name)!r}")
        if not 0.0 < self.shrink < 1.0:
            raise ArgumentError(f"TakeBack.shrink must lie in (0, 1), got {self.shrink!r}")

    def jumped(self, before: Evaluation, after: Evaluation) -> bool:
        """Whether the step between two evaluations is to be taken back."""
        return (
            not np.isfinite(after.value)
            or not np.isfinite(after.gradient_norm)
            or after.value - before.value > (self.loss - 1.0) * abs(before.value)
            or after.gradient_norm > self.gradient * before.gradient_norm
        )


class Evaluation(NamedTuple):
    """One meta-iteration: what was found at these hyperparameters.

    Attributes:
      hypers: the nest.
      value: f(hypers); NaN where training diverged or could not begin.
      gradient: the hypergradient, a nest like ``hypers``; NaN where training diverged.
      gradient_norm: its Euclidean norm over all leaves.
      step_scale: factor by which take-backs had shrunk the step that led here.
      taken_back: whether the step that led here was taken back.
      diverged_at: the training step at which training diverged, −1 where it did not.
    """

    hypers: Any
    value: float
    gradient: Any
    gradient_norm: float
    step_scale: float = 1.0
    taken_back: bool = False
    diverged_at: int = -1


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
    step_size: Any,
    adam: bool = False,
    transform: Callable | None = None,
    take_back: TakeBack | None = None,
    numbered: bool = False,
    cache=None,
    progress: bool = True,
) -> Result:
    """Descend along the hypergradient: h ← h − η ∇f(h).

    Args:
      f: takes the hyperparameters and returns a scalar, differentiable by autograd.
      hypers: where to start; a nest of float arrays and numbers.
      steps: number of steps; ``f`` is evaluated steps + 1 times, at the start and after each.
      step_size: η ≥ 0: a number, an array that fits a leaf, or a nest of those that is a prefix of
        ``hypers``.
      adam: take each step by the rule of :class:`hypergrad.Adam` with η for its learning rate.
      transform: takes the hypergradient and returns what is used in its place, a nest of the same shapes;
        the history keeps the hypergradient itself.
      take_back: rule for steps that jump; if None every step is kept, and divergence raises.
      numbered: call ``f(hypers, iteration)``, iteration from 0, for example for other random draws at each;
        values of different iterations are then compared although their draws differ.
      cache: folder in which every finished iteration is stored at once, for this ``f`` alone. After a kill
        the same call goes on: the path is walked again, and an iteration is read where its file holds
        exactly these hyperparameters. Any other file is reported (:class:`~hypergrad.cache.CacheWarning`)
        and its iteration computed again. The result has the same bits if ``f`` has.
      progress: show a progress bar.

    Returns:
      A :class:`Result`.

    Raises:
      NestError, ArgumentError: bad arguments, before ``f`` is called; an ``f`` that is no scalar or does not
        depend on ``hypers``; a ``transform`` that returns another shape.
      DivergedError, FixedPointOverflowError, ScheduleError, NestError: training diverged, or a step led to a
        schedule outside its range or to parameters that are not finite, without ``take_back`` or at the start.
        Its ``iteration`` says when, its ``history`` what was before.
      NonFiniteHypergradientError: the same for a value or hypergradient that is not finite.

    Cost: steps + 1 hypergradients. Memory: 2 · (steps + 1) nests like ``hypers``.

    >>> result = minimize(lambda h: (h["a"] - 3.0) ** 2, {"a": 0.0}, steps=2, step_size=0.25, progress=False)
    >>> [e.value for e in result.history], float(result.hypers["a"])
    ([9.0, 2.25, 0.5625], 2.25)
    """
    from tqdm import trange

    steps = check_integer(steps, "steps", 0)
    leaves, structure = _check_hypers(hypers)
    rates = _check_step_size(step_size, leaves, structure)
    if take_back is not None and not isinstance(take_back, TakeBack):
        raise ArgumentError(f"take_back must be a hypergrad.meta.TakeBack(...) or None, got {take_back!r}")
    rule = Adam(lr=None) if adam else SGD(lr=None, momentum=0.0)
    folder = None if cache is None else Path(cache)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    history, scale, before = [], 1.0, None
    here = kept = _Position(leaves, [rule.init(w) for w in leaves], 0)
    for iteration in trange(steps + 1, disable=not progress, unit="iteration"):
        tolerant = take_back is not None and before is not None
        path = None if folder is None else folder / f"iteration{iteration}.npz"
        try:
            found = _evaluate(f, unflatten(structure, here.leaves), iteration, numbered, path, tolerant)
        except HypergradError as error:
            error.iteration, error.history = iteration, history
            raise
        jumped = tolerant and take_back.jumped(before, found)
        history.append(found._replace(step_scale=scale, taken_back=jumped))
        if jumped:
            scale *= take_back.shrink
        else:
            before, kept = found, here
        if iteration < steps:
            direction = before.gradient if transform is None else transform(before.gradient)
            here = kept.after(rule, [scale * rate for rate in rates], _check_direction(direction, leaves, structure))
    lowest = best(history)
    return Result(lowest.hypers, lowest.value, history)


def best(history: list[Evaluation]) -> Evaluation:
    """The one with the lowest value of those not taken back."""
    return min((e for e in history if not e.taken_back), key=lambda e: e.value)


class _Position(NamedTuple):
    """Where the descent stands: leaves, the rule's state for each, and the number of steps that led here."""

    leaves: list
    state: list
    count: int

    def after(self, rule, rates: list, direction: list) -> _Position:
        """One step further, by the rule of an optimizer with these learning rates."""
        stepped = [
            rule.step(w, s, g, replace(rule, lr=rate), self.count)
            for w, s, g, rate in zip(self.leaves, self.state, direction, rates)
        ]
        return _Position([_plain(w) for w, _ in stepped], [s for _, s in stepped], self.count + 1)


def _evaluate(f, hypers, iteration: int, numbered: bool, path: Path | None, tolerant: bool) -> Evaluation:
    """The value and hypergradient, from the cache or computed and stored; NaN where divergence is tolerated."""
    leaves, structure = flatten(hypers)

    def evaluation(value, gradient: list, diverged_at: int) -> Evaluation:
        found = Evaluation(
            hypers, float(value), unflatten(structure, gradient), norm(gradient), diverged_at=diverged_at
        )
        if not tolerant:
            _check_finite(found)
        return found

    def read(stored) -> Evaluation:
        gradient = [stored[f"gradient{i}"] for i in range(len(leaves))]
        same = (np.array_equal(stored[f"hypers{i}"], w) for i, w in enumerate(leaves))
        shapes = (g.shape == np.shape(w) and g.dtype == float for w, g in zip(leaves, gradient))
        if stored["iteration"] != iteration or not all(same) or not all(shapes):
            raise ValueError("it holds another one, or one of other hyperparameters")
        return evaluation(stored["value"], gradient, int(stored["diverged_at"]))

    found = None if path is None else load(path, read, "meta-iteration")
    if found is not None:
        return found
    try:
        value, gradient = _value_and_gradient(f, hypers, [iteration] if numbered else [])
        found = evaluation(value, [np.asarray(g, dtype=float) for g in flatten(gradient)[0]], -1)
    except (DivergedError, FixedPointOverflowError, ScheduleError, NestError) as error:
        if not tolerant:
            raise
        # A schedule outside its range or an infinite weight, after a step too far, comes before the training.
        found = evaluation(np.nan, [np.full(np.shape(w), np.nan) for w in leaves], getattr(error, "step", 0))
    if path is not None:
        arrays = {f"hypers{i}": w for i, w in enumerate(leaves)}
        arrays |= {f"gradient{i}": g for i, g in enumerate(flatten(found.gradient)[0])}
        store(path, iteration=iteration, value=found.value, diverged_at=found.diverged_at, **arrays)
    return found


def _value_and_gradient(f, hypers, numbers: list):
    def objective(nest):
        value = f(nest, *numbers)
        if not isbox(value) or np.shape(value) != ():
            raise ArgumentError(
                "f must return a scalar that depends on hypers, written with autograd.numpy, "
                f"got {type(value).__name__} of shape {np.shape(value)}"
            )
        return value

    # What is not finite is reported here, with its meta-iteration; the warnings would say it again.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", NonFiniteGradientWarning)
        return value_and_grad(objective)(hypers)


def _check_finite(found: Evaluation) -> None:
    if not np.isfinite(found.value):
        raise NonFiniteHypergradientError("the value of f")
    leaves, structure = flatten(found.gradient)
    index = first_non_finite(leaves)
    if index is not None:
        raise NonFiniteHypergradientError(leaf_places(structure, "the hypergradient")[index])


def _check_hypers(hypers) -> tuple[list, Structure]:
    leaves, structure = flatten(hypers)
    if not leaves:
        raise NestError("hypers has no leaves: give a number, an array, or a dict, list or tuple of those")
    for leaf, place in zip(leaves, leaf_places(structure, "hypers")):
        check_leaf(leaf, place, allow_int=True)
        if isbox(leaf) or not np.isfinite(leaf).all():
            raise NestError(f"{place} must be finite, and nothing that is being differentiated, got {leaf!r}")
    return [_plain(leaf) for leaf in leaves], structure


def _plain(leaf):
    """A number or an array in float64, so that a resumed descent sees the same types."""
    return np.array(leaf, dtype=float)[()]


def _check_step_size(step_size, leaves: list, structure: Structure) -> list:
    """The step size of each leaf."""
    rates, cover, places = broadcast_prefix(step_size, structure, name="step_size", target="hypers")
    for rate, place in zip(rates, places):
        check_leaf(rate, place, allow_int=True)
        if not (np.isfinite(rate).all() and np.all(np.asarray(rate) >= 0)):
            raise ArgumentError(f"{place} must be finite and ≥ 0, got {rate!r}")
    for leaf, index, below in zip(leaves, cover, leaf_places(structure, "hypers")):
        shape = np.shape(rates[index])
        if shape not in ((), np.shape(leaf)):
            raise ArgumentError(f"{places[index]} has shape {shape}, but {below} has {np.shape(leaf)}: both must agree")
    return [rates[index] for index in cover]


def _check_direction(direction, leaves: list, structure: Structure) -> list:
    """The leaves of what ``transform`` returned."""
    found, built = flatten(direction)
    shapes = [np.shape(g) for g in found]
    if built != structure or shapes != [np.shape(w) for w in leaves] or first_non_finite(found) is not None:
        raise ArgumentError(
            f"transform must return a finite nest of the structure and shapes of the hypergradient, got {direction!r}"
        )
    return found
