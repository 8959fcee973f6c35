"""Probes: how a loss after training, and its derivative, depend on one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import ArgumentError
from ..runs.parallel import compute
from .edge import DENSE, WIDTH, compare, first_failure
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
        edge = np.ravel(self.edge)[-1]
        if self.note or np.isfinite(edge):
            rows.append(self.note or f"edge at {edge:.6g}{of_last}")
        return "\n".join(rows)

    @property
    def smooth(self) -> np.ndarray:
        """The points up to which the derivative describes the loss, bool in the shape of ``loss``.

        Those before the right end of the first window over which it does not, and before the first that is not
        finite. On a coarse grid that is where its values stop being close enough, which may be long before the edge.
        """
        finite = np.logical_and.accumulate(np.isfinite(self.loss) & np.isfinite(self.gradient), axis=0)
        index = np.arange(len(self.values)).reshape(-1, *[1] * (self.loss.ndim - 1))
        windows = self._windows
        return finite & (index < np.append(windows.ends, len(self.values))[first_failure(windows)])

    @property
    def matched(self) -> np.ndarray:
        """Whether the derivative describes the loss, for each interval between neighbouring values.

        Shape (n − 1,) or (n − 1, k). True before the first window that does not match, and within any later one
        that matches in its single intervals too, so also on a smooth stretch past the edge.
        """
        windows = self._windows
        before = np.arange(len(windows.starts)).reshape(-1, *[1] * (self.loss.ndim - 1)) < first_failure(windows)
        counted = (windows.matches & before | windows.follows).astype(int)
        covered = np.zeros((len(self.values), *self.loss.shape[1:]), int)
        np.add.at(covered, windows.starts, counted)
        np.subtract.at(covered, windows.ends, counted)
        return np.cumsum(covered, axis=0)[:-1] > 0

    @property
    def edge(self) -> np.ndarray:
        """The value past which the derivative no longer describes the loss, one for each loss; NaN if none is marked.

        The right end of the first window of width 0.1 over which the integral of the derivative
        (trapezoids) differs from the difference of the loss by more than 5 % of the integral of its
        magnitude. A window needs ten intervals: where the first that does not match has fewer, what it misses may
        be the trapezoids' own error, and no edge is marked; :attr:`note` then says how close values must be.
        """
        windows = self._windows
        first = first_failure(windows)
        places = np.append(self.values[windows.ends], np.nan)
        return np.where(np.append(windows.resolved, False)[first], places[first], np.nan)

    @property
    def note(self) -> str:
        """Why no edge is marked although the derivative does not match the loss, and what would show it; or empty."""
        windows, n = self._windows, len(self.values)
        first = first_failure(windows)
        unresolved = (first < len(windows.starts)) & ~np.append(windows.resolved, True)[first]
        if n > 1 and not len(windows.starts):
            return (
                f"no edge can be seen: all values lie within one window of width {WIDTH:g}; sweep a logarithm, or more"
            )
        if not unresolved.any():
            return ""
        low, high, steps = self.values.min(), self.values.max(), np.diff(self.values)
        if (steps <= 0.0).any():
            return "no edge is marked: the values do not increase"
        needed = WIDTH / DENSE
        count = int(np.ceil((high - low) / needed * (1.0 - 1e-9))) + 1
        return (
            f"no edge is marked: values {steps.max():.2g} apart are too few to place one, it takes {needed:g} or less "
            f"({count:,} values from {low:g} to {high:g}), or hypergrad.probe.locate_edge"
        )

    @property
    def _windows(self):
        return compare(self.values, self.loss, self.gradient)

    def plot(self, *, xlabel: str = "value", ylabel: str = "loss", labels=None):
        """A figure with the loss above and its derivative below, against the values."""
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
