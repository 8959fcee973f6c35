"""Probes: how a loss after training, and its derivative, depend on one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import ArgumentError
from ..runs.parallel import compute
from .edge import first_mismatch
from .evaluation import Point, evaluate

_ROWS = 4  # of each end of a sweep that are printed


@dataclass(frozen=True, repr=False)
class Sweep:
    """Losses and their derivatives over a range of values.

    Attributes:
      values: shape (n,), as given.
      loss: f(value), shape (n,), or (n, k) for k losses; NaN for step counts past a divergence.
      gradient: df/dvalue, in the shape of ``loss``; not finite where the tangent overflowed.
      diverged_at: the step at which training diverged, shape (n,), −1 where it did not.
    """

    values: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    diverged_at: np.ndarray

    def __repr__(self):
        """A short table; the arrays are in the attributes."""
        losses = self.loss.reshape(len(self.values), -1)
        slopes = self.gradient.reshape(losses.shape)
        count, columns = losses.shape
        head = f"Sweep of {count} value{'s' if count > 1 else ''}, {columns} loss{'es' if columns > 1 else ''} each"
        of_last = f" (the last of {columns})" if columns > 1 else ""
        rows = [f"{head}\n{'value':>12} {'loss':>12} {'derivative':>12}  diverged at step{of_last}"]
        shown = range(count) if count <= 2 * _ROWS else [*range(_ROWS), None, *range(count - _ROWS, count)]
        for i in shown:
            if i is None:
                rows.append(f"{'…':>12}")
                continue
            step = "" if self.diverged_at[i] < 0 else f"  {self.diverged_at[i]}"
            rows.append(f"{self.values[i]:12.6g} {losses[i, -1]:12.6g} {slopes[i, -1]:12.6g}{step}")
        return "\n".join(rows)

    @property
    def smooth(self) -> np.ndarray:
        """Where the derivative describes the loss, bool in the shape of ``loss``.

        The points before :attr:`edge`, and before the first that is not finite.
        """
        finite = np.logical_and.accumulate(np.isfinite(self.loss) & np.isfinite(self.gradient), axis=0)
        index = np.arange(len(self.values)).reshape(-1, *[1] * (self.loss.ndim - 1))
        return finite & (index < first_mismatch(self.values, self.loss, self.gradient))

    @property
    def edge(self) -> np.ndarray:
        """The value past which the derivative no longer describes the loss, one for each loss; NaN if there is none.

        The right end of the first window of width 0.1 over which the integral of the derivative
        (trapezoids) differs from the difference of the loss by more than 5 % of the integral of its
        magnitude. Where the grid is too coarse for that, with fewer than ten intervals in a window,
        windows are single intervals if those are wider than 0.1, and 10 % are allowed: the trapezoids' own
        error counts too. The values must increase for windows; else they are single intervals.
        """
        index = np.asarray(first_mismatch(self.values, self.loss, self.gradient))
        return np.append(self.values, np.nan)[index]

    def plot(self, *, xlabel: str = "value", ylabel: str = "loss", labels=None):
        """A figure with the loss above and its derivative below; see :func:`hypergrad.probe.figures.plot_sweep`."""
        from .figures import plot_sweep

        return plot_sweep(self, xlabel=xlabel, ylabel=ylabel, labels=labels)


def sweep(f: Callable, values, *, n_jobs: int = 1, cache=None, recheck: bool = True, progress: bool = True) -> Sweep:
    """Run ``f`` and its derivative at every value, in forward mode.

    Args:
      f: takes a number and returns a loss, or an array or list of k losses, one for each step count:
        with ``train(..., save_at=...)`` inside, they all come from one training.
      values: shape (n,), finite.
      n_jobs: number of processes (of joblib's workers; −1 for all cores), with one BLAS thread each. With 1
        the points are computed in this process, with the BLAS threads it has, which may change their last bits.
      cache: folder in which every finished point is stored at once, for this ``f`` alone; a run that was
        killed goes on where it was. A file that is damaged or comes from another folder is reported and its
        point computed again.
      recheck: whether, if some points are stored, one of them is computed again to see that they are of this
        ``f``: one that did not diverge, if there is one.
      progress: show a progress bar, and say how many points were stored.

    Returns:
      A :class:`Sweep`. Where training diverges the step is recorded; the step counts before it and the
      other points are kept.

    Raises:
      ArgumentError: bad ``values``, or an ``f`` that does not depend on its argument.
      OtherFunctionError: the recheck gave other bits than are stored.
      InUseError: another run works in the folder.
      StoreError: a point could not be stored; those before are kept.

    Cost: n runs at 4 matrix products a step and layer, however many losses ``f`` returns; one run more for the recheck.

    >>> result = sweep(lambda x: x**2, [1.0, 2.0, 3.0], progress=False)
    >>> result.gradient.tolist()
    [2.0, 4.0, 6.0]
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ArgumentError(f"values must be a non-empty, finite array of shape (n,), got {values!r}")
    points = compute(partial(_point, f), values, n_jobs=n_jobs, cache=cache, recheck=recheck, progress=progress)
    shapes = {point["loss"].shape for point in points}
    if len(shapes) > 1:
        raise ArgumentError(f"f returned losses of different shapes: {sorted(shapes)} (is the cache of another f?)")
    return Sweep(values, *(np.array([point[name] for point in points]) for name in Point._fields))


def _point(f: Callable, value: float) -> dict:
    return evaluate(f, value)._asdict()
