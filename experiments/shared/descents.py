"""What the experiments with meta-descent share: running descents in parallel, and arrays of their histories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import hypergrad as hg
from hypergrad.errors import InUseError, OtherFunctionError, StoreError
from hypergrad.nests import flatten, unflatten
from hypergrad.runs.parallel import workers


def in_parallel(descend: Callable, config, names: tuple[str, ...], jobs: int, cache) -> list[np.ndarray]:
    """The arrays that ``descend(config, name, seed, cache)`` returns, each stacked to (names, seeds, …).

    In worker processes with one BLAS thread each; with one job, in this process.
    """
    from joblib import delayed

    items = [(config, name, seed, cache) for name in names for seed in config.numbered]
    pieces = workers(jobs)(delayed(descend)(*item) for item in items)
    return [np.stack(arrays).reshape(len(names), len(config.numbered), *np.shape(arrays[0])) for arrays in zip(*pieces)]


def history(f: Callable, start, *, cache=None, step_size=1.0, **options) -> list[hg.meta.Evaluation]:
    """The history of a meta-descent, also of one that came to an end because a training diverged."""
    found: list[hg.meta.Evaluation] = []
    try:
        result = hg.meta.minimize(f, start, step_size=step_size, store=cache, history=found, progress=False, **options)
        if result.was_interrupted:
            raise KeyboardInterrupt
    except (StoreError, InUseError, OtherFunctionError):
        raise
    except hg.errors.HypergradError as error:
        if not found:
            raise
        print(f"the descent ended early: {error}", flush=True)
    return found


def columns(rows: list[tuple], length: int) -> list[np.ndarray]:
    """An array (length, …) for each entry of the rows, with NaN for the rows that a descent did not reach."""
    arrays = [np.array(column, dtype=float) for column in zip(*rows)]
    return [np.concatenate([a, np.full((length - len(a), *a.shape[1:]), np.nan)]) for a in arrays]


def or_nan(curve: Callable, length: int) -> Callable:
    """``curve(hypers)`` of an evaluation, which trains with ``on_divergence="nan"``; NaN where it could not begin."""

    def safe(found: hg.meta.Evaluation) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):
                return np.array(curve(found.hypers))
        except (hg.errors.ScheduleError, hg.errors.NestError):
            return np.full(length, np.nan)

    return safe


def clipping(largest: float) -> Callable:
    """A transform of hypergradients: that of the increments of each distribution has at most this norm."""

    def clipped(gradient):
        leaves, structure = flatten(gradient)
        return unflatten(structure, [g * min(1.0, largest / np.linalg.norm(g[1:])) for g in leaves])

    return clipped
