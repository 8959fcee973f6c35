"""Probes: how a loss after training, and its derivative, depend on one number."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from autograd import make_jvp
from autograd.tracer import getval, isbox

from .cache import CacheWarning as CacheWarning
from .cache import load, store
from .errors import ArgumentError, NonFiniteGradientWarning
from .tangents import divergence_tolerated


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

        The points before the first interval over which the integral of the derivative (trapezoids)
        misses the difference of the loss by more than a tenth of the integral of its magnitude. On
        a coarse grid the trapezoids' own error can count too.
        """
        width = onp.diff(self.values).reshape(-1, *[1] * (self.loss.ndim - 1))
        with onp.errstate(over="ignore", invalid="ignore"):
            integral = width * (self.gradient[1:] + self.gradient[:-1]) / 2
            magnitude = onp.abs(width) * (onp.abs(self.gradient[1:]) + onp.abs(self.gradient[:-1])) / 2
            matches = onp.abs(integral - onp.diff(self.loss, axis=0)) <= 0.1 * magnitude
        first = onp.isfinite(self.loss[:1]) & onp.isfinite(self.gradient[:1])
        return onp.logical_and.accumulate(onp.concatenate([first, matches]), axis=0)

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
    return Sweep(values, *(onp.array([getattr(point, name) for point in points]) for name in _Point._fields))


class _Point(NamedTuple):
    """One finished value; loss and gradient are NaN from where training diverged."""

    loss: onp.ndarray
    gradient: onp.ndarray
    diverged_at: int


def _numbered(index: int, f: Callable, value: float, folder: Path | None) -> tuple[int, _Point]:
    point = _evaluate(f, value)
    if folder is not None:
        _store(folder, value, point)
    return index, point


def _evaluate(f: Callable, value: float) -> _Point:
    from threadpoolctl import threadpool_limits

    def losses(x):
        result = f(x)
        result = np.array(result) if isinstance(result, list | tuple) else result
        if not isbox(result):
            raise ArgumentError(f"f({value!r}) does not depend on its argument, or returned it outside an array")
        if not isinstance(getval(result), float | onp.floating | onp.ndarray) or onp.ndim(getval(result)) > 1:
            raise ArgumentError(f"f({value!r}) must return a loss or a list of losses, not {type(getval(result))}")
        return result

    # What is not finite shows in the loss and the gradient recorded; NumPy's warnings would say it again.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings(), onp.errstate(all="ignore"):
        warnings.simplefilter("ignore", NonFiniteGradientWarning)
        with divergence_tolerated() as diverged:
            loss, gradient = make_jvp(losses)(value)(1.0)
    return _Point(onp.asarray(loss), onp.asarray(gradient), diverged[0].step if diverged else -1)


def _file(folder: Path, value: float) -> Path:
    return folder / f"{float(value).hex()}.npz"


def _store(folder: Path, value: float, point: _Point) -> None:
    store(_file(folder, value), value=value, **point._asdict())


def _load(folder: Path | None, value: float) -> _Point | None:
    """The stored point, or None if there is none that can be trusted."""

    def read(stored):
        if stored["value"] != value or stored["loss"].shape != stored["gradient"].shape:
            raise ValueError("it holds another point")
        return _Point(stored["loss"], stored["gradient"], int(stored["diverged_at"]))

    return None if folder is None else load(_file(folder, value), read, "point")
