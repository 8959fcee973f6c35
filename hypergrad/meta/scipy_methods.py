"""The gradient methods of scipy.optimize.minimize."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import ArgumentError
from ..nests import flatten
from . import doubts
from .descent import Setting, evaluated
from .evaluation import Evaluation

METHODS = ("CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr")
BOUNDED = ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")
_WORSE = 10.0  # times the largest difference seen


def check(method: str, setting: Setting, own: dict) -> None:
    """Whether a method can take this problem; ``own`` are the arguments that are about our own steps.

    Raises:
      ArgumentError: says why not.
    """
    if method not in METHODS:
        raise ArgumentError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not setting.objective.is_deterministic():
        raise ArgumentError(
            f"{method} compares values of different points, which fresh seeds make values of different functions: give "
            "a list of seeds, the same at each iteration, or leave out method="
        )
    given = [name for name, value in own.items() if value is not None]
    if given:
        raise ArgumentError(f"{' and '.join(given)}: only for our own steps, and {method} chooses its steps itself")
    if setting.bounds.low is not None and method not in BOUNDED:
        raise ArgumentError(f"{method} takes no bounds; {', '.join(BOUNDED)} do")


def run(method: str, setting: Setting, store, recheck: bool, record: Callable[[Evaluation], None]) -> str:
    """Minimize; ``record`` is given each evaluation. Returns why the method ended, a sentence.

    What cannot be trained, after the start, counts as a value larger than any before, and without a slope: line
    searches then come back, and the evaluation is marked as taken back.
    """
    from scipy.optimize import Bounds, minimize

    shapes, seen = [np.shape(w) for w in setting.start], []  # type: list, list[Evaluation]
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

    def leaves_of(x) -> list:
        return [np.array(x[a:b]).reshape(shape)[()] for a, b, shape in zip(ends, ends[1:], shapes)]

    def flat(leaves) -> np.ndarray:
        return np.concatenate([np.ravel(w) for w in leaves])

    with setting.opened(store, recheck, method) as (folder, is_new):

        def value_and_gradient(x):
            found = evaluated(setting.objective, leaves_of(x), len(seen), bool(seen), folder, recheck)
            if is_new and not seen:
                setting.objective.check_repeatable(found)
            if seen:
                found = found._replace(mismatch=doubts.mismatch(seen[-1], found))
            is_finite = bool(np.isfinite([found.value, found.gradient_norm]).all())
            seen.append(found._replace(doubt=doubts.doubt(found), taken_back=not is_finite))
            record(seen[-1])
            if is_finite:
                return found.value, flat(flatten(found.gradient)[0])
            values = [e.value for e in seen if np.isfinite(e.value)]
            return max(values) + _WORSE * (max(values) - min(values) + abs(values[0])), np.zeros(len(x))

        low, high = setting.bounds
        bounds = None if low is None or high is None else Bounds(flat(low), flat(high))
        done = minimize(value_and_gradient, flat(setting.start), jac=True, method=method, bounds=bounds)
    return f"{method} ended: {done.message}"
