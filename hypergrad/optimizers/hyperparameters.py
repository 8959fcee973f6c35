"""Hyperparameters of an optimizer: one value for every step and every array of the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np

from ..bridge import getval
from ..errors import ScheduleError
from ..nests import Structure, broadcast_prefix, check_leaves
from ..ranges import Range


@dataclass(frozen=True)
class Schedule:
    """A hyperparameter over the steps of a run.

    Attributes:
      leaves: arrays of shape ``(steps,)``, one for each value or schedule the user gave.
      cover: for every array of the parameters, the index of the leaf that holds for it.
    """

    leaves: list
    cover: list[int]

    def at(self, step: int) -> list[float]:
        """The value for every array of the parameters. Python floats, so float32 stays float32."""
        values = [float(leaf[step]) for leaf in self.leaves]
        return [values[index] for index in self.cover]

    def with_leaves(self, leaves: list) -> Schedule:
        """The same cover with other leaves."""
        return Schedule(leaves, self.cover)


def expand(value, structure: Structure, steps: int, *, name: str, allowed: Range) -> Schedule:
    """Spread what the user gave over steps and arrays, differentiably.

    ``value`` is a scalar, an array ``(steps,)``, or a nest of those that is a prefix of the
    parameters. ``name`` is how the user wrote it (``SGD.lr``) and begins every error.

    Raises:
      NestError: a nest that is no prefix of the parameters, or a leaf of another type.
      ScheduleError: a length other than ``steps``, or a value outside ``allowed``.
    """
    leaves, cover, places = broadcast_prefix(value, structure, name=name, target="params")
    leaves = check_leaves(leaves, places, allow_int=True)
    for leaf, place in zip(leaves, places):
        _check_values(np.asarray(getval(leaf), dtype=float), steps, place, allowed)
    return Schedule([leaf * anp.ones(steps) for leaf in leaves], cover)


def _check_values(values: np.ndarray, steps: int, place: str, allowed: Range) -> None:
    if values.shape not in ((), (steps,)):
        raise ScheduleError(
            f"{place} has shape {values.shape}, but the run has {steps} steps: "
            f"give a scalar or an array of shape ({steps},); one value for each layer is a list, [a, b, ...]"
        )
    outside = ~allowed.contains(values)
    if outside.any():
        step = int(np.argmax(outside))
        where = f" at step {step}" if values.ndim else ""
        raise ScheduleError(
            f"{place} must lie in {allowed}, got {float(values.flat[step])!r}{where}; "
            "an optimised hyperparameter stays inside when it is written as np.exp(...) or a sigmoid of a free one"
        )
