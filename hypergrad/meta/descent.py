"""Descent on hyperparameters, one evaluation after another."""

from __future__ import annotations

import contextlib
import itertools
from collections import namedtuple
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..bridge import isbox
from ..errors import ArgumentError, HypergradError, NestError
from ..nests import Structure, broadcast_prefix, check_leaves, flatten, leaf_places, unflatten
from ..optimizers import SGD, Optimizer, WholeNest
from ..optimizers.wrappers import Wrapper
from ..ranges import Range
from ..runs.lock import claimed
from ..workspace import first_non_finite
from . import stored
from .evaluation import Evaluation, TakeBack, evaluate


def descend(
    f: Callable,
    hypers: Any,
    *,
    step_size: Any = 1.0,
    optimizer: Optimizer | None = None,
    transform: Callable | None = None,
    take_back: TakeBack | None = None,
    numbered: bool = False,
    cache=None,
    recheck: bool = True,
) -> Generator[Evaluation, None, None]:
    """Descend along the hypergradient without end: yields every evaluation, the start first.

    Args:
      f: takes the hyperparameters and returns a scalar, differentiable by autograd.
      hypers: where to start; a nest of float arrays and numbers.
      step_size: η ≥ 0: a number, an array that fits a leaf, or a nest of those that is a prefix of
        ``hypers``. It multiplies the learning rate of ``optimizer``.
      optimizer: whose update is a step, such as ``hypergrad.Adam(0.1)``; if None h ← h − η ∇f(h). Each of its
        hyperparameters is given in the forms of ``step_size``; an array is no schedule here.
      transform: takes the hypergradient and returns what is used in its place, a nest of the same shapes;
        the evaluation keeps the hypergradient itself.
      take_back: rule for steps that jump; if None every step is kept, and divergence raises.
      numbered: call ``f(hypers, iteration)``, iteration from 0, for example for other random draws at each;
        values of different iterations are then compared although their draws differ.
      cache: folder in which every finished iteration is stored at once, for this ``f`` alone. After a kill
        the same call goes on: the path is walked again, and an iteration is read where its file holds
        exactly these hyperparameters. Any other file is reported (:class:`~hypergrad.probe.CacheWarning`)
        and its iteration computed again. The path has the same bits if ``f`` has. The folder is in use until
        the descent is closed, or thrown away.
      recheck: whether, if iterations are stored, one of them is computed again to see that they are of this
        ``f``.

    Yields:
      Each :class:`Evaluation`, once it is computed and stored. Those taken back too.

    Raises:
      NestError, ArgumentError: bad arguments, at once; an ``f`` that is no scalar or does not depend on
        ``hypers``; a ``transform`` that returns another shape.
      DivergedError, FixedPointOverflowError, ScheduleError, NestError: training diverged, or a step led to a
        schedule outside its range or to parameters that are not finite, without ``take_back`` or at the start.
        The message, and the attribute ``iteration``, say when.
      NonFiniteHypergradientError: the same for a value or hypergradient that is not finite.
      OtherFunctionError, InUseError, StoreError: the cache is of another ``f``, another run works there, or it
        cannot be written.

    >>> descent = descend(lambda h: h**2, 1.0, step_size=0.25)
    >>> [next(descent).value for _ in range(3)]
    [1.0, 0.25, 0.0625]
    """
    leaves, structure = _check_hypers(hypers)
    rates = _spread(step_size, leaves, structure, "step_size", Range(0.0))
    if take_back is not None and not isinstance(take_back, TakeBack):
        raise ArgumentError(f"take_back must be a hypergrad.meta.TakeBack(...) or None, got {take_back!r}")
    rule = _Rule.of(SGD(1.0, momentum=0.0) if optimizer is None else optimizer, rates, leaves, structure)
    evaluated = partial(_evaluated, f, numbered)
    return _walk(evaluated, leaves, structure, rule, transform, take_back, cache, recheck)


def _walk(
    evaluated, leaves, structure, rule, transform, take_back, cache, recheck: bool
) -> Generator[Evaluation, None, None]:
    with contextlib.ExitStack() as stack:
        folder = None if cache is None else stack.enter_context(claimed(Path(cache), "a meta-descent"))
        if folder is not None and recheck:
            stored.recheck(folder, partial(evaluated, tolerant=True), unflatten(structure, leaves))
        scale, before = 1.0, None  # type: float, Any
        here = good = rule.start(leaves)
        for iteration in itertools.count():
            tolerant = take_back is not None and before is not None
            found = evaluated(unflatten(structure, here.leaves), iteration, tolerant, folder)
            jumped = tolerant and take_back.jumped(before, found)
            yield found._replace(step_scale=scale, taken_back=jumped)
            if jumped:
                scale *= take_back.shrink
            else:
                before, good = found, here
            direction = before.gradient if transform is None else transform(before.gradient)
            here = rule.after(good, _check_direction(direction, leaves, structure), scale)


def _evaluated(f, numbered: bool, hypers, iteration: int, tolerant: bool, folder: Path | None = None) -> Evaluation:
    """The evaluation, from the folder or computed and stored there; errors say in which meta-iteration."""
    try:
        found = None if folder is None else stored.recall(folder, iteration, hypers, tolerant)
        if found is None:
            found = evaluate(f, hypers, iteration, numbered, tolerant)
            if folder is not None:
                stored.keep(folder, iteration, found)
        return found
    except HypergradError as error:
        error.context = (f"in meta-iteration {iteration}", *error.context)
        error.iteration = iteration  # type: ignore[attr-defined]
        raise


class _Position(NamedTuple):
    """Where the descent stands: leaves, the optimizer's state for each, and the number of steps that led here."""

    leaves: list
    state: list
    steps: int


class _Rule(NamedTuple):
    """An optimizer, and its hyperparameters for each leaf, the step sizes in the learning rates."""

    optimizer: Optimizer
    settings: list

    @classmethod
    def of(cls, optimizer, rates: list, leaves: list, structure: Structure) -> _Rule:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(f"optimizer must be one such as hypergrad.Adam(0.1), got {optimizer!r}")
        name = type(optimizer).__name__
        if isinstance(optimizer, Wrapper | WholeNest):
            raise ArgumentError(
                f"a meta-descent steps leaf by leaf, and {name} needs all gradients at once; to clip the "
                "hypergradient, or to combine its leaves, give transform="
            )
        if "lr" not in optimizer.names:
            raise ArgumentError(f"{name} has no hyperparameter lr, which step_size multiplies: give it one")
        if getattr(optimizer, "exact", False):
            raise ArgumentError(f"a meta-descent is not computed in exact arithmetic: leave out {name}(exact=True)")
        columns = []
        for each, (value, place, allowed) in zip(optimizer.names, optimizer.settings):
            values = _spread(value, leaves, structure, place, allowed)
            columns.append([value * rate for value, rate in zip(values, rates)] if each == "lr" else values)
        kind = namedtuple("Hyperparameters", optimizer.names)  # type: ignore[misc]
        return cls(optimizer, [kind(*row) for row in zip(*columns)])

    def start(self, leaves: list) -> _Position:
        return _Position(leaves, [self.optimizer.init(w) for w in leaves], 0)

    def after(self, position: _Position, direction: list, scale: float) -> _Position:
        """One step further, with the learning rates times ``scale``."""
        stepped = [
            self.optimizer.step(w, s, g, h._replace(lr=scale * h.lr), position.steps)
            for w, s, g, h in zip(position.leaves, position.state, direction, self.settings)
        ]
        return _Position([_plain(w) for w, _ in stepped], [s for _, s in stepped], position.steps + 1)


def _check_hypers(hypers) -> tuple[list, Structure]:
    leaves, structure = flatten(hypers)
    if not leaves:
        raise NestError("hypers has no leaves: give a number, an array, or a dict, list or tuple of those")
    places = leaf_places(structure, "hypers")
    leaves = check_leaves(leaves, places, allow_int=True)
    for leaf, place in zip(leaves, places):
        if isbox(leaf) or not np.isfinite(leaf).all():
            raise NestError(f"{place} must be finite, and nothing that is being differentiated, got {leaf!r}")
    return [_plain(leaf) for leaf in leaves], structure


def _plain(leaf):
    """A number or an array in float64, so that a resumed descent sees the same types."""
    return np.array(leaf, dtype=float)[()]


def _spread(value, leaves: list, structure: Structure, name: str, allowed: Range) -> list:
    """What was given as a number, an array that fits a leaf, or a prefix with those, for each leaf.

    Raises:
      NestError, ArgumentError: it has another structure or shape, or lies outside its range.
    """
    given, cover, places = broadcast_prefix(value, structure, name=name, target="hypers")
    given = check_leaves(given, places, allow_int=True)
    for leaf, place in zip(given, places):
        if isbox(leaf) or not allowed.contains(np.asarray(leaf, dtype=float)).all():
            raise ArgumentError(f"{place} must lie in {allowed}, got {leaf!r}")
    for leaf, index, below in zip(leaves, cover, leaf_places(structure, "hypers")):
        shape = np.shape(given[index])
        if shape not in ((), np.shape(leaf)):
            raise ArgumentError(f"{places[index]} has shape {shape}, but {below} has {np.shape(leaf)}: both must agree")
    return [given[index] for index in cover]


def _check_direction(direction, leaves: list, structure: Structure) -> list:
    """The leaves of what ``transform`` returned."""
    found, built = flatten(direction)
    shapes = [np.shape(g) for g in found]
    if built != structure or shapes != [np.shape(w) for w in leaves] or first_non_finite(found) is not None:
        raise ArgumentError(
            f"transform must return a finite nest of the structure and shapes of the hypergradient, got {direction!r}"
        )
    return found
