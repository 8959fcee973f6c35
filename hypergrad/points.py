"""Independent points, each computed once: by worker processes, and kept in a folder when finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .cache import load, store


def compute(f: Callable, values: Sequence[float], *, n_jobs: int = 1, cache=None, progress: bool = True) -> list[dict]:
    """``f(value)`` at every value, in any order, each with one BLAS thread.

    Args:
      f: takes a float and returns a dict of arrays and numbers, none of them called "value" or "folder".
      values: finite numbers.
      n_jobs: number of joblib's workers; −1 for all cores.
      cache: folder in which every point is stored as soon as it is finished, or None. Files that are
        damaged, hold something else or come from another folder are reported and computed again.
      progress: show a progress bar.

    Returns:
      For each value what ``f`` returned, as a dict of arrays.
    """
    import joblib
    from tqdm import tqdm

    folder = None if cache is None else Path(cache).absolute()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    points: list = [_load(folder, value) for value in values]
    missing = [i for i, point in enumerate(points) if point is None]
    tasks = (joblib.delayed(_numbered)(i, f, float(values[i])) for i in missing)
    # One BLAS thread in each worker: two of those beat one worker with two threads, since the passes between the
    # products use one core only, and more threads than cores are slower than any (table f of docs/benchmarks.md).
    # One point at a time, so that what is finished is here, and stored here: workers elsewhere need not see the folder.
    workers = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    with tqdm(total=len(values), initial=len(values) - len(missing), disable=not progress, unit="run") as bar:
        for i, point in workers(tasks):
            if folder is not None:
                _store(folder, values[i], point)
            points[i] = point
            bar.update()
    return points


def _numbered(index: int, f: Callable, value: float) -> tuple[int, dict]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return index, {name: np.asarray(array) for name, array in f(value).items()}


def _file(folder: Path, value: float) -> Path:
    return folder / f"{float(value).hex()}.npz"


def _origin(folder: Path) -> str:
    """What a stored point says of where it belongs; a cache may be moved as a whole."""
    return "/".join(folder.parts[-2:])


def _store(folder: Path, value: float, point: dict) -> None:
    store(_file(folder, value), value=value, folder=_origin(folder), **point)


def _load(folder: Path | None, value: float) -> dict | None:
    """The stored point, or None if there is none that can be trusted."""

    def read(stored):
        point = dict(stored)
        if point.pop("value") != value:
            raise ValueError("it holds another point")
        if point.pop("folder") != _origin(folder):
            raise ValueError("it was made in another folder")
        return point

    return None if folder is None else load(_file(folder, value), read, "point")
