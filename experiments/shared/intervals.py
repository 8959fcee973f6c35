"""Means over seeds, with intervals."""

from __future__ import annotations

import numpy as np


def t_interval(values, axis: int = -1, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The mean along an axis, and half the width of Student's t interval around it; infinite for a single value."""
    from scipy.stats import t

    values = np.asarray(values)
    n = values.shape[axis]
    if n == 1:
        return values.mean(axis=axis), np.full(values.mean(axis=axis).shape, np.inf)
    error = values.std(axis=axis, ddof=1) / np.sqrt(n)
    return values.mean(axis=axis), t.ppf(0.5 + confidence / 2.0, n - 1) * error
