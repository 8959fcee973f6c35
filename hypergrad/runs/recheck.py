"""Whether stored results are those of the function at hand: one is computed again, and its bits compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import OtherFunctionError

_CHOICE = 17  # the purpose of these random numbers


def shuffled(candidates: Sequence) -> list:
    """The candidates in a random order that is always the same."""
    return [candidates[i] for i in np.random.default_rng((_CHOICE, len(candidates))).permutation(len(candidates))]


def chosen(candidates: Iterable, is_calm: Callable):
    """The first that is calm (where training diverged, other functions diverge as well), else the first, else None."""
    first = None
    for candidate in candidates:
        if is_calm(candidate):
            return candidate
        first = candidate if first is None else first
    return first


def is_finite(arrays: Iterable) -> bool:
    """Whether no number among them is NaN or infinite."""
    return all(np.isfinite(a).all() for a in map(np.asarray, arrays) if a.dtype.kind in "fc")


def compare(folder: Path, where: str, stored: dict, found: dict) -> None:
    """Compare the arrays stored in a folder with those found now, by name.

    Raises:
      OtherFunctionError: not all their bits are the same; NaNs are equal.
    """
    if stored.keys() != found.keys():
        raise _error(folder, where, f"{sorted(stored)} are stored, but f returned {sorted(found)} now")
    for name, old in stored.items():
        new = np.asarray(found[name])
        if old.shape != new.shape or old.dtype != new.dtype:
            kinds = [f"of {a.dtype} and shape {a.shape}" for a in (old, new)]
            raise _error(folder, where, f"{name!r} is {kinds[0]} as stored, and {kinds[1]} now")
        differs = (old != new) & ~((old != old) & (new != new))
        if differs.any():
            index = tuple(np.argwhere(differs)[0])
            raise _error(folder, where, f"{name!r} is {old[index].item()!r} as stored, and {new[index].item()!r} now")


def _error(folder: Path, where: str, how: str) -> OtherFunctionError:
    return OtherFunctionError(
        f"the results in {folder} are of another function: {where}, {how}; give another folder, or delete this one "
        "(a function with random numbers of its own differs too, and in its last bits one on another machine, or with "
        "another number of BLAS threads, as n_jobs=1 may have; recheck=False goes on without looking)"
    )
