"""Running means of learning curves."""

from __future__ import annotations

import numpy as np

from ..checks import check_integer


def running_mean(values, window: int, axis: int = -1) -> np.ndarray:
    """The mean over the last ``window`` values along an axis, over fewer at its beginning.

    NaNs are left out; where a value is NaN itself, so is the mean.

    >>> running_mean([1.0, 3.0, 5.0, float("nan"), 7.0], 2).tolist()
    [1.0, 2.0, 4.0, nan, 7.0]
    """
    values = np.moveaxis(np.asarray(values, dtype=float), axis, -1)
    padded = np.concatenate([np.full((*values.shape[:-1], check_integer(window, "window", 1) - 1), np.nan), values], -1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)
    there = np.isfinite(windows)
    sums = np.sum(windows, axis=-1, where=there)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(np.isfinite(values), sums / there.sum(axis=-1), np.nan)
    return np.moveaxis(means, -1, axis)
