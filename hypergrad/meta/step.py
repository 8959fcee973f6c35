"""A step of a descent: the optimizer's update of each leaf, and the bounds that it ends at."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

import numpy as np

from ..bridge import isbox
from ..errors import ArgumentError, NestError
from ..nests import Structure, broadcast_prefix, check_leaves, flatten, leaf_places
from ..optimizers import Optimizer, WholeNest
from ..optimizers.wrappers import Wrapper
from ..ranges import Range
from .objective import Mapping


class Position(NamedTuple):
    """Where the descent stands: free variables, the optimizer's state for each, and the number of steps to here."""

    free: list
    state: list
    steps: int


class Rule(NamedTuple):
    """An optimizer, and its hyperparameters for each leaf, the step sizes in the learning rates."""

    optimizer: Optimizer
    settings: list

    @classmethod
    def of(cls, optimizer, rates: list, leaves: list, structure: Structure) -> Rule:
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
            values = spread(value, leaves, structure, place, allowed)
            columns.append([value * rate for value, rate in zip(values, rates)] if each == "lr" else values)
        kind = namedtuple("Hyperparameters", optimizer.names)  # type: ignore[misc]
        return cls(optimizer, [kind(*row) for row in zip(*columns)])

    def start(self, leaves: list) -> Position:
        return Position(leaves, [self.optimizer.init(w) for w in leaves], 0)

    def after(self, position: Position, direction: list, scale: float, bounds: Bounds) -> Position:
        """One step further, with the learning rates times ``scale``, and not over the bounds."""
        stepped = [
            self.optimizer.step(w, s, g, h._replace(lr=scale * h.lr), position.steps)
            for w, s, g, h in zip(position.free, position.state, direction, self.settings)
        ]
        free = bounds.inside([plain(w) for w, _ in stepped])
        return Position(free, [s for _, s in stepped], position.steps + 1)


class Bounds(NamedTuple):
    """Bounds on the free variables, arrays of their shapes; None without any."""

    low: list | None = None
    high: list | None = None

    @classmethod
    def of(cls, bounds, leaves: list, structure: Structure, mapping: Mapping | None) -> Bounds:
        """From those of the hyperparameters.

        Raises:
          NestError, ArgumentError: they are no pair of prefixes, or exclude the start, or belong to a map that has
            none.
        """
        if bounds is None:
            return cls()
        if not isinstance(bounds, tuple) or len(bounds) != 2:
            raise ArgumentError(
                f"bounds must be a pair (low, high), each for all leaves or a nest, got {bounds!r:.200}"
            )
        ends = [_end(end, leaves, structure, f"bounds[{i}]") for i, end in enumerate(bounds)]
        for low, high, leaf, place in zip(*ends, leaves, leaf_places(structure, "hypers")):
            if not np.all((low <= leaf) & (leaf <= high)):
                raise ArgumentError(
                    f"{place} starts outside its bounds: it is {leaf!r:.100}, and must lie between {low!r:.100} and "
                    f"{high!r:.100}"
                )
        if mapping is None:
            return cls(*ends)
        for index, place in enumerate(leaf_places(structure, "hypers")):
            one = mapping.map_of(index)
            bounded = any(np.isfinite(end[index]).any() for end in ends)
            if bounded and not one.takes_bounds:
                raise ArgumentError(f"{place} is mapped by {one!r}, which mixes its entries: it takes no bounds")
            for end in ends:
                end[index] = np.asarray(one.bound(end[index])) if one.takes_bounds else end[index]
        return cls(*ends)

    def inside(self, free: list) -> list:
        """The free variables, those outside moved to their bound."""
        if self.low is None or self.high is None:
            return free
        return [np.clip(w, low, high)[()] for w, low, high in zip(free, self.low, self.high)]


def _end(end, leaves: list, structure: Structure, name: str) -> list:
    """One end of the bounds for each leaf, in its shape."""
    given, cover, places = broadcast_prefix(end, structure, name=name, target="hypers")
    for value, place in zip(given, places):
        if isbox(value) or np.asarray(value).dtype.kind not in "fiu" or np.isnan(np.asarray(value, float)).any():
            raise ArgumentError(
                f"{place} must be a number or an array, inf where there is no bound, got {value!r:.200}"
            )
    _check_shapes([np.shape(value) for value in given], cover, places, leaves, structure)
    return [np.broadcast_to(np.asarray(given[i], float), np.shape(w)) for i, w in zip(cover, leaves)]


def check_hypers(hypers) -> tuple[list, Structure]:
    leaves, structure = flatten(hypers)
    if not leaves:
        raise NestError("hypers has no leaves: give a number, an array, or a dict, list or tuple of those")
    places = leaf_places(structure, "hypers")
    leaves = check_leaves(leaves, places, allow_int=True)
    for leaf, place in zip(leaves, places):
        if isbox(leaf) or not np.isfinite(leaf).all():
            raise NestError(f"{place} must be finite, and nothing that is being differentiated, got {leaf!r}")
    return [plain(leaf) for leaf in leaves], structure


def plain(leaf):
    """A number or an array in float64, so that a resumed descent sees the same types."""
    return np.array(leaf, dtype=float)[()]


def spread(value, leaves: list, structure: Structure, name: str, allowed: Range) -> list:
    """What was given as a number, an array that fits a leaf, or a prefix with those, for each leaf.

    Raises:
      NestError, ArgumentError: it has another structure or shape, or lies outside its range.
    """
    given, cover, places = broadcast_prefix(value, structure, name=name, target="hypers")
    given = check_leaves(given, places, allow_int=True)
    for leaf, place in zip(given, places):
        if isbox(leaf) or not allowed.contains(np.asarray(leaf, dtype=float)).all():
            raise ArgumentError(f"{place} must lie in {allowed}, got {leaf!r}")
    _check_shapes([np.shape(leaf) for leaf in given], cover, places, leaves, structure)
    return [given[index] for index in cover]


def _check_shapes(shapes: list, cover: list[int], places: list[str], leaves: list, structure: Structure) -> None:
    for leaf, index, below in zip(leaves, cover, leaf_places(structure, "hypers")):
        if shapes[index] not in ((), np.shape(leaf)):
            raise ArgumentError(
                f"{places[index]} has shape {shapes[index]}, but {below} has {np.shape(leaf)}: both must agree"
            )
