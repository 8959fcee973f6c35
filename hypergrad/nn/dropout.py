"""Dropout as a function of a seed and the step."""

from __future__ import annotations

import numpy as np

from ..bridge import getval, isbox
from ..checks import check_integer
from ..errors import ArgumentError

_DROPOUT = 2  # the purpose of these random numbers, in seeds (seed, purpose, step); those of init are 0 and 1


def dropout(x, rate: float, seed: int | tuple, step: int):
    """Entries of x set to 0 with probability ``rate``, the others divided by 1 − rate.

    Which ones follows from ``seed``, ``step`` and the shape of x alone, so that a step that is computed again sees
    the same; a mask from a generator with a state would be another one there. Linear in x.

    Args:
      x: an array of any shape.
      rate: a number in [0, 1), not to be differentiated.
      seed: an integer ≥ 0, or a tuple of them, such as (seed, layer). Each dropout of a network needs one of its own,
        or its mask is that of another; write all of them with the same length.
      step: the step of training, an integer ≥ 0.

    Raises:
      ArgumentError: a rate, seed or step that is none.

    Source: Srivastava et al. (2014), with the scaling moved from testing to training.

    >>> dropout(np.ones(8), 0.5, seed=0, step=3)
    array([2., 0., 0., 0., 0., 0., 2., 0.])
    """
    if isbox(rate) or not isinstance(rate, int | float | np.number) or not 0 <= rate < 1:
        raise ArgumentError(f"rate of dropout must be a number in [0, 1) and cannot be differentiated, got {rate!r}")
    words = [check_integer(word, "seed", 0) for word in (seed if isinstance(seed, tuple) else (seed,))]
    step = check_integer(step, "step", 0)
    if rate == 0:
        return x
    value = np.asarray(getval(x))
    kept = np.random.default_rng([*words, _DROPOUT, step]).random(value.shape) >= rate
    return x * (kept / (1.0 - rate)).astype(value.dtype if value.dtype.kind == "f" else float)
