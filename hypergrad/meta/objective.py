"""What is minimized: a function of hyperparameters, or its mean over random draws, seen from free variables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad, value_and_grad

from ..bridge import Probe, isbox, probed
from ..checks import check_integer
from ..errors import (
    ArgumentError,
    DifferentiationError,
    DivergedError,
    FixedPointOverflowError,
    NestError,
    NonFiniteHypergradientError,
    ScheduleError,
)
from ..nests import Structure, broadcast_prefix, flatten, leaf_places, unflatten
from ..runs.journal import Journal
from ..runs.parallel import workers
from ..workspace import first_non_finite, norm
from .evaluation import Evaluation, check_finite, evaluation
from .maps import Map

REPEATABLE = 1e-6  # relative: libraries round a value alone and one with its derivative differently, in float32 too
UNTRAINABLE = (DivergedError, FixedPointOverflowError, ScheduleError, NestError)


class Mapping(NamedTuple):
    """The maps of all leaves.

    Attributes:
      structure: of the hyperparameters, and of their free variables.
      maps: a map for each group of leaves.
      groups: the indices of the leaves of each.
      places: of all leaves, as a user writes them.
    """

    structure: Structure
    maps: list[Map]
    groups: list[list[int]]
    places: list[str]

    @classmethod
    def of(cls, maps: Any, structure: Structure) -> Mapping | None:
        """From a prefix of the hyperparameters with a map at each leaf; None for None.

        Raises:
          NestError, ArgumentError: it is no such prefix, or has something else at a leaf.
        """
        if maps is None:
            return None
        try:
            found, cover, at = broadcast_prefix(maps, structure, name="maps", target="hypers")
        except NestError as error:
            raise NestError(f"{error}; maps.plain() is the map of a leaf that stays as it is") from None
        for one, place in zip(found, at):
            if not isinstance(one, Map):
                raise ArgumentError(f"{place} must be one of hypergrad.meta.maps, such as maps.log(), got {one!r}")
        groups: list[list[int]] = [[] for _ in found]
        for index, group in enumerate(cover):
            groups[group].append(index)
        return cls(structure, found, groups, leaf_places(structure, "hypers"))

    def hypers(self, free: list) -> list:
        """The hyperparameters of these free variables."""
        values = list(free)
        for one, group in zip(self.maps, self.groups):
            for index, value in zip(group, one.value([free[i] for i in group])):
                values[index] = value
        return values

    def free(self, values: list) -> list:
        """The free variables of these hyperparameters.

        Raises:
          ArgumentError: there are none.
        """
        free = list(values)
        for one, group in zip(self.maps, self.groups):
            found = one.free([values[i] for i in group], [self.places[i] for i in group])
            for index, value in zip(group, found):
                free[index] = value
        return free

    def map_of(self, index: int) -> Map:
        """The map that a leaf belongs to."""
        return next(one for one, group in zip(self.maps, self.groups) if index in group)


class Objective(NamedTuple):
    """f, its maps, its random draws and its validation.

    Attributes:
      f: ``f(hypers)``, or ``f(hypers, seed)`` with seeds.
      structure: of the hyperparameters.
      mapping: None if the hyperparameters are themselves free.
      seeds: None; how many fresh ones at each iteration; or a list of those that are always the same.
      validate: None, or a function of the hyperparameters.
      n_jobs: how many workers share the seeds.
      watches_growth: whether the growth of tangents is looked at.
      estimator: None, or what gives value and gradient in the place of f and autograd.
    """

    f: Callable
    structure: Structure
    mapping: Mapping | None = None
    seeds: int | tuple[int, ...] | None = None
    validate: Callable | None = None
    n_jobs: int = 1
    watches_growth: bool = False
    estimator: Callable | None = None

    def hypers(self, free: list) -> Any:
        """The nest of hyperparameters that these free variables lead to."""
        with np.errstate(all="ignore"):  # a step too far may leave the range of floats
            return unflatten(self.structure, [np.array(w, dtype=float)[()] for w in self._mapped(free)])

    def seeds_of(self, iteration: int) -> list[int | None]:
        """The seeds of an iteration; without seeds its number for an estimator, and [None] for f, which takes none."""
        if self.seeds is None:
            return [None if self.estimator is None else iteration]
        if isinstance(self.seeds, tuple):
            return list(self.seeds)
        return [self.seeds * iteration + k for k in range(self.seeds)]

    def is_deterministic(self) -> bool:
        """Whether every iteration has the same random draws."""
        return not isinstance(self.seeds, int) and self.estimator is None

    def value_and_gradient(self, free: list, seed: int | None) -> tuple[float, list]:
        """Of one draw, by the free variables."""
        if self.estimator is not None:
            value, gradient, *_ = self.estimator(self.hypers(free), seed)
            leaves = checked_gradient(gradient, free, self.structure, "the estimator")
            return float(value), self.pulled_back(free, leaves)

        def objective(leaves):
            value = self._at(leaves, seed)
            if not isbox(value) or np.shape(value) != ():
                raise ArgumentError(
                    "f must return a scalar that depends on hypers, written with autograd.numpy, "
                    f"got {type(value).__name__} of shape {np.shape(value)}"
                )
            return value

        # What is not finite is reported here, with its meta-iteration; NumPy's warnings would say it again.
        with np.errstate(all="ignore"):
            value, gradient = value_and_grad(objective)(free)
        return float(value), [np.asarray(g, dtype=float) for g in gradient]

    def value(self, free: list, iteration: int = 0) -> float:
        """The mean over the seeds of an iteration, without a derivative; inf where it cannot be trained."""
        try:
            with np.errstate(all="ignore"):
                return float(np.mean([float(self._at(free, seed)) for seed in self.seeds_of(iteration)]))
        except UNTRAINABLE:
            return np.inf

    def check_repeatable(self, found: Evaluation) -> None:
        """Whether f, without a derivative, gives the value that was found.

        Raises:
          ArgumentError: it gives another one.
        """
        if self.estimator is not None:
            return
        again = self.value(flatten(found.free)[0], found.iteration)
        if not abs(again - found.value) <= REPEATABLE * abs(found.value):
            takes = "f(hypers)" if self.seeds is None else "f(hypers, seed)"
            raise ArgumentError(
                f"{takes} must give the same value for the same arguments, but gave {found.value!r} and then "
                f"{again!r}: take random draws from a seed, that of f(hypers, seed) with seeds=…; recheck=False goes "
                "on without looking"
            )

    def growth(self, free: list, gradient: list, seed: int | None) -> float:
        """Growth of the tangent of the first training's parameters over its second half, in nats.

        Along the hypergradient, by one run in forward mode. NaN without a training, where it has no tangent, and where
        f has no derivative in forward mode.
        """
        probe, length = Probe(), norm(gradient)
        if not length > 0.0:
            return np.nan
        with np.errstate(all="ignore"), contextlib.suppress(DifferentiationError):
            probed(lambda leaves: self._at(leaves, seed), free, [g / length for g in gradient], probe)
        norms = probe.tangent_norms[0] if probe.tangent_norms else []
        half = len(norms) // 2
        if len(norms) < 2 or not norms[half - 1] > 0.0:
            return np.nan
        return float(np.log(norms[-1]) - np.log(norms[half - 1]))

    def pulled_back(self, free: list, gradient: list) -> list:
        """A gradient by the hyperparameters as one by the free variables."""
        if self.mapping is None:
            return gradient
        along = lambda leaves: sum(anp.sum(h * g) for h, g in zip(self._mapped(leaves), gradient))
        return [np.asarray(g, dtype=float) for g in grad(along)(free)]

    def evaluate(self, free: list, iteration: int, tolerant: bool) -> tuple[Evaluation, dict[str, list]]:
        """The evaluation, and the telemetry of its trainings; where that is tolerated, NaN for what cannot be trained.

        Raises:
          DivergedError, FixedPointOverflowError, ScheduleError, NestError: it cannot, and that is not tolerated.
          NonFiniteHypergradientError: the value or hypergradient is not finite, likewise; or what ``validate`` returns.
          ArgumentError: f returns no scalar that depends on the hyperparameters.
        """
        hypers, nest = self.hypers(free), unflatten(self.structure, free)
        try:
            draws, rows = self._draws(free, iteration)
        except UNTRAINABLE as error:
            if not tolerant:
                raise
            # A schedule outside its range or an infinite weight, after a step too far, comes before the training.
            unknown = [np.full(np.shape(w), np.nan) for w in free]
            step = getattr(error, "step", 0)
            return evaluation(hypers, nest, np.nan, unknown, diverged_at=step, iteration=iteration), {}
        values = np.array([value for value, _ in draws])
        gradients = list(zip(*(gradient for _, gradient in draws)))
        found = evaluation(
            hypers,
            nest,
            values.mean(),
            [np.mean(leaf, axis=0) for leaf in gradients],
            iteration=iteration,
            error=_standard_error(values),
            gradient_error=float(np.sqrt(sum(np.sum(np.square(_standard_error(leaf))) for leaf in gradients))),
        )
        if not tolerant:
            check_finite(found)
        if not np.isfinite([found.value, found.gradient_norm]).all():
            return found, rows
        if self.watches_growth:
            leaves = [np.asarray(g) for g in flatten(found.gradient)[0]]
            found = found._replace(growth=self.growth(free, leaves, self.seeds_of(iteration)[0]))
        validation = np.nan if self.validate is None else check_number(self.validate(hypers), "validate")
        return found._replace(validation=validation), rows

    def _at(self, leaves, seed: int | None) -> Any:
        hypers = unflatten(self.structure, self._mapped(leaves))
        return self.f(hypers) if seed is None else self.f(hypers, seed)

    def _mapped(self, leaves) -> list:
        free = [leaves[i] for i in range(self.structure.size)]  # a box of a list may be given
        return free if self.mapping is None else self.mapping.hypers(free)

    def _draws(self, free: list, iteration: int) -> tuple[list, dict[str, list]]:
        seeds = self.seeds_of(iteration)
        if len(seeds) == 1 or self.n_jobs == 1:
            found = [_draw(self, free, seed) for seed in seeds]
        else:
            import joblib

            found = workers(self.n_jobs)(joblib.delayed(_draw)(self, free, seed) for seed in seeds)
        rows = {"" if seed is None else f"-seed{seed}": rows for seed, (_, rows) in zip(seeds, found) if rows}
        return [draw for draw, _ in found], rows


def _draw(objective: Objective, free: list, seed: int | None) -> tuple[tuple[float, list], list]:
    """Value and gradient of one draw, in any process, and what its trainings told the journal."""
    with Journal.opened() as journal:
        return objective.value_and_gradient(free, seed), journal.rows


def _standard_error(draws) -> Any:
    """Over the first axis; NaN for one value."""
    values = np.asarray(draws)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)[()]
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def checked_gradient(gradient, leaves: list, structure: Structure, what: str) -> list:
    """The leaves of a gradient that the user's own function returned.

    Raises:
      ArgumentError: it is no finite nest of the structure and shapes of these leaves.
    """
    found, built = flatten(gradient)
    shapes = [np.shape(g) for g in found]
    if built != structure or shapes != [np.shape(w) for w in leaves] or first_non_finite(found) is not None:
        raise ArgumentError(
            f"{what} must return a finite nest of the structure and shapes of the hypergradient, got {gradient!r:.200}"
        )
    return found


def check_number(value, name: str) -> float:
    """What a function that is not differentiated returned, if it is a finite number.

    Raises:
      NonFiniteHypergradientError: it is not finite.
      ArgumentError: it is no number.
    """
    if isbox(value) or np.shape(value) != () or np.asarray(value).dtype.kind not in "fiu":
        raise ArgumentError(f"{name} must return a number, got {value!r:.200}")
    if not np.isfinite(value):
        raise NonFiniteHypergradientError(f"the value of {name}")
    return float(value)


def check_seeds(seeds) -> int | tuple[int, ...] | None:
    """Seeds as they were given, if they can be.

    Raises:
      ArgumentError: none of them, or what is no integer.
    """
    if seeds is None:
        return None
    if hasattr(seeds, "__index__") and not isinstance(seeds, bool):
        return check_integer(seeds, "seeds", 1)
    if not isinstance(seeds, list | tuple | range | np.ndarray) or not len(seeds):
        raise ArgumentError(
            f"seeds must be how many to draw at each iteration, at least 1, or a list of those for all, got {seeds!r}"
        )
    return tuple(check_integer(seed, f"seeds[{i}]", 0) for i, seed in enumerate(seeds))
