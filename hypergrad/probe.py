"""Probes: how a loss after training, and its derivative, depend on one number."""

from __future__ import annotations

import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as onp

from .edge import Edge, first_mismatch, locate_edge
from .errors import ArgumentError
from .points import Point, evaluate

__all__ = ["CacheWarning", "Edge", "Sweep", "locate_edge", "sweep"]


class CacheWarning(UserWarning):
    """A cached point could not be used and is computed again."""


@dataclass(frozen=True)
class Sweep:
    """Losses and their derivatives over a range of values.

    Attributes:
      values: shape (n,), as given.
      loss: f(value), shape (n,), or (n, k) for k losses; NaN for step counts past a divergence.
      gradient: df/dvalue, in the shape of ``loss``; not finite where the tangent overflowed.
      diverged_at: the step at which training diverged, shape (n,), −1 where it did not.
    """

    values: onp.ndarray
    loss: onp.ndarray
    gradient: onp.ndarray
    diverged_at: onp.ndarray

    @property
    def smooth(self) -> onp.ndarray:
        """Where the derivative describes the loss, bool in the shape of ``loss``.

        The points before :attr:`edge`, and before the first that is not finite.
        """
        finite = onp.logical_and.accumulate(onp.isfinite(self.loss) & onp.isfinite(self.gradient), axis=0)
        index = onp.arange(len(self.values)).reshape(-1, *[1] * (self.loss.ndim - 1))
        return finite & (index < first_mismatch(self.values, self.loss, self.gradient))

    @property
    def edge(self) -> onp.ndarray:
        """The value past which the derivative no longer describes the loss, one for each loss; NaN if there is none.

        The right end of the first window of width 0.1 over which the integral of the derivative
        (trapezoids) differs from the difference of the loss by more than 5 % of the integral of its
        magnitude. Where the grid is too coarse for that, with fewer than ten intervals in a window,
        windows are single intervals if those are wider than 0.1, and 10 % are allowed: the trapezoids' own
        error counts too. The values must increase for windows; else they are single intervals.
        """
        index = onp.asarray(first_mismatch(self.values, self.loss, self.gradient))
        return onp.append(self.values, onp.nan)[index]

    def plot(self, *, xlabel: str = "value", ylabel: str = "loss", labels=None):
        """A figure with the loss above and its derivative below; see :func:`hypergrad.plotting.plot_sweep`."""
        from .plotting import plot_sweep

        return plot_sweep(self, xlabel=xlabel, ylabel=ylabel, labels=labels)


def sweep(f: Callable, values, *, n_jobs: int = 1, cache=None, progress: bool = True) -> Sweep:
    """Run ``f`` and its derivative at every value, in forward mode.

    Args:
      f: takes a number and returns a loss, or an array or list of k losses, one for each step count:
        with ``train(..., save_at=...)`` inside, they all come from one training.
      values: shape (n,), finite.
      n_jobs: number of processes (of joblib's workers; −1 for all cores). Every point is computed with
        one BLAS thread, so the results do not depend on it.
      cache: folder in which every finished point is stored at once, for this ``f`` alone; a run that was
        killed goes on where it was. A damaged file is reported and its point computed again.
      progress: show a progress bar.

    Returns:
      A :class:`Sweep`. Where training diverges the step is recorded; the step counts before it and the
      other points are kept.

    Raises:
      ArgumentError: bad ``values``, or an ``f`` that does not depend on its argument.

    Cost: n runs at 4 matrix products a step and layer, however many losses ``f`` returns.

    >>> result = sweep(lambda x: x**2, [1.0, 2.0, 3.0], progress=False)
    >>> result.gradient.tolist()
    [2.0, 4.0, 6.0]
    """
    values = onp.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0 or not onp.isfinite(values).all():
        raise ArgumentError(f"values must be a non-empty, finite array of shape (n,), got {values!r}")
    import joblib
    from tqdm import tqdm

    folder = None if cache is None else Path(cache)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    points: list = [_load(folder, value) for value in values]
    missing = [i for i, point in enumerate(points) if point is None]
    tasks = (joblib.delayed(_numbered)(i, f, float(values[i]), folder) for i in missing)
    workers = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    with tqdm(total=len(values), initial=len(values) - len(missing), disable=not progress, unit="run") as bar:
        for i, point in workers(tasks):
            points[i] = point
            bar.update()
    shapes = {point.loss.shape for point in points}
    if len(shapes) > 1:
        raise ArgumentError(f"f returned losses of different shapes: {sorted(shapes)} (is the cache of another f?)")
    return Sweep(values, *(onp.array([getattr(point, name) for point in points]) for name in Point._fields))


def _numbered(index: int, f: Callable, value: float, folder: Path | None) -> tuple[int, Point]:
    point = evaluate(f, value)
    if folder is not None:
        _store(folder, value, point)
    return index, point


def _file(folder: Path, value: float) -> Path:
    return folder / f"{float(value).hex()}.npz"


def _store(folder: Path, value: float, point: Point) -> None:
    """Write a point under another name and rename it, so that no half-written file is ever read."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        onp.savez(file, value=value, **point._asdict())
    os.replace(file.name, _file(folder, value))


def _load(folder: Path | None, value: float) -> Point | None:
    """The stored point, or None if there is none that can be trusted."""
    if folder is None or not _file(folder, value).exists():
        return None
    path = _file(folder, value)
    try:
        with path.open("rb") as file, onp.load(file, allow_pickle=False) as stored:
            if stored["value"] != value or stored["loss"].shape != stored["gradient"].shape:
                raise ValueError("it holds another point")
            return Point(stored["loss"], stored["gradient"], int(stored["diverged_at"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"cached point {path} is not usable ({error}); computing it again", CacheWarning, stacklevel=3)
        return None
