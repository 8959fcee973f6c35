"""Intervals that numbers must lie in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Range:
    """The interval a hyperparameter must lie in, open at its high end.

    Attributes:
      low, high: the ends, in the units of the hyperparameter.
      low_included: whether ``low`` itself is allowed.

    >>> str(Range(0.0, 1.0)), Range(0.0, 1.0).contains(np.array([0.0, 1.0])).tolist()
    ('[0, 1)', [True, False])
    """

    low: float = -np.inf
    high: float = np.inf
    low_included: bool = True

    def __str__(self):
        left = "[" if self.low_included and self.low > -np.inf else "("
        return f"{left}{self.low:g}, {self.high:g})"

    def contains(self, values: np.ndarray) -> np.ndarray:
        """Which values lie inside; NaN and infinities never do."""
        above = values >= self.low if self.low_included else values > self.low
        return np.isfinite(values) & above & (values < self.high)
