"""Hyperparameters of an optimizer: a value for every step and every array of the parameters, or for every weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval
from ..errors import NestError, ScheduleError
from ..nests import Structure, check_leaf, leaf_places, leaves_like, prefix_leaves
from ..ranges import Range


class PerWeight:
    """A hyperparameter with a value for every weight, the same at all steps, as in Meta-SGD (Li et al. 2017).

        hg.SGD(lr=hg.PerWeight(rates))

    An array alone is a schedule over the steps; this says that it is not.

    Args:
      values: a nest like the parameters, or like the part of them that it stands for in a prefix, of arrays in their
        very shapes.
    """

    __slots__ = ("values",)

    def __init__(self, values: Any):
        self.values = values

    def __repr__(self):
        return f"PerWeight({self.values!r:.60})"


class Constant:
    """A hyperparameter that is an array, the same for all steps and all arrays: weights of a learned optimizer, say.

        Learned(weights=hg.Constant(matrix))

    It is for optimizers of one's own, whose ``step`` knows what the array is for.

    Args:
      array: a float array of any shape.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any):
        self.array = array

    def __repr__(self):
        return f"Constant({self.array!r:.60})"


@dataclass(frozen=True)
class Schedule:
    """A hyperparameter over the steps of a run.

    Attributes:
      leaves: arrays of shape ``(steps,)``, one for each value or schedule the user gave; or those of a
        :class:`PerWeight` or :class:`Constant`.
      cover: for every array of the parameters, the index of the leaf that holds for it.
      timeless: for each leaf, whether it is no schedule but the value itself, at all steps.
    """

    leaves: list
    cover: list[int]
    timeless: list[bool]

    def at(self, step: int) -> list:
        """The value for every array of the parameters. Python floats, so float32 stays float32."""
        return [self.entry(self.leaves, index, step) for index in range(len(self.cover))]

    def entry(self, arrays: list, index: int, step: int) -> Any:
        """What holds for an array of the parameters at a step, in arrays that go with the leaves."""
        leaf = self.cover[index]
        return arrays[leaf] if self.timeless[leaf] else float(arrays[leaf][step])

    def entries(self, arrays: list, index: int, step: int) -> np.ndarray:
        """The same where arrays are stacked along a first axis: as many values."""
        leaf = self.cover[index]
        return arrays[leaf] if self.timeless[leaf] else arrays[leaf][:, step]

    def add(self, arrays: list, index: int, step: int, value) -> None:
        """Add to that."""
        leaf = self.cover[index]
        arrays[leaf][... if self.timeless[leaf] else step] += value

    def with_leaves(self, leaves: list) -> Schedule:
        """The same cover with other leaves."""
        return Schedule(leaves, self.cover, self.timeless)


def expand(value, structure: Structure, shapes: list, steps: int, *, name: str, allowed: Range) -> Schedule:
    """Spread what the user gave over steps and arrays, differentiably.

    ``value`` is a scalar, an array ``(steps,)``, a :class:`PerWeight`, a :class:`Constant`, or a nest of those that is
    a prefix of the parameters, whose arrays have ``shapes``. ``name`` is how the user wrote it (``SGD.lr``) and begins
    every error.

    Raises:
      NestError: a nest that is no prefix of the parameters, or a leaf of another type.
      ScheduleError: a length other than ``steps``, another shape than the weights', or a value outside ``allowed``.
    """
    leaves: list = []
    cover: list[int] = []
    timeless: list[bool] = []
    for leaf, below, place in prefix_leaves(value, structure, name, "params"):
        if isinstance(leaf, PerWeight):
            found = leaves_like(leaf.values, below)
            if found is None:
                raise NestError(f"{place} is a PerWeight whose values are not a nest like params there")
            for each, at in zip(found, leaf_places(below, f"{place}.values")):
                each = check_leaf(each, at)
                _check_shape(each, shapes[len(cover)], at)
                _check_range(each, at, allowed, over_steps=False)
                cover.append(len(leaves))
                leaves.append(each)
            timeless += [True] * below.size
            continue
        if isinstance(leaf, Constant):
            array = check_leaf(leaf.array, f"{place}.array")
            _check_range(array, f"{place}.array", allowed, over_steps=False)
            cover += [len(leaves)] * below.size
            leaves.append(array)
            timeless.append(True)
            continue
        leaf = check_leaf(leaf, place, allow_int=True)
        _check_length(leaf, steps, place)
        _check_range(leaf, place, allowed, over_steps=True)
        cover += [len(leaves)] * below.size
        leaves.append(leaf * anp.ones(steps))
        timeless.append(False)
    return Schedule(leaves, cover, timeless)


def _check_length(leaf, steps: int, place: str) -> None:
    shape = np.shape(getval(leaf))
    if shape not in ((), (steps,)):
        raise ScheduleError(
            f"{place} has shape {shape}, but the run has {steps} steps: "
            f"give a scalar or an array of shape ({steps},); one value for each layer is a list, [a, b, ...], and one "
            "for each weight is hypergrad.PerWeight(...)"
        )


def _check_shape(leaf, shape: tuple, place: str) -> None:
    if np.shape(getval(leaf)) != shape:
        raise ScheduleError(f"{place} has shape {np.shape(getval(leaf))}, but its weights have {shape}: one value each")


def _check_range(leaf, place: str, allowed: Range, over_steps: bool) -> None:
    values = np.asarray(getval(leaf), dtype=float)
    outside = ~allowed.contains(values)
    if outside.any():
        first = int(np.argmax(outside))
        index = tuple(int(i) for i in np.unravel_index(first, values.shape))
        where = f" at step {first}" if over_steps else f" at index {index}"
        raise ScheduleError(
            f"{place} must lie in {allowed}, got {float(values.flat[first])!r}{where if values.ndim else ''}; "
            "an optimised hyperparameter stays inside when it is written as np.exp(...) or a sigmoid of a free one"
        )
