"""Independent points, each computed once: by worker processes, and kept in a folder when finished."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from . import recheck as rechecking
from .lock import claimed
from .snapshots import kept_in
from .store import Unusable, load, store

_VALUE, _FOLDER = ".value", ".folder"  # beside the point's own arrays


def workers(n_jobs: int, **options):
    """A ``joblib.Parallel`` whose processes on this machine have one BLAS thread each.

    Two of those beat one worker with two threads, since the passes between the products use one core only,
    and more threads than cores are slower than any (table f of docs/benchmarks.md). A backend other than joblib's
    own processes, or one for which the number of threads was chosen, is left as it is; so is this process, which
    computes alone if ``n_jobs`` is 1.
    """
    import joblib
    from joblib.parallel import BACKENDS, get_active_backend

    backend, _ = get_active_backend()
    ours = isinstance(backend, BACKENDS.get("loky", ())) and backend.inner_max_num_threads is None
    given = getattr(backend, "backend_kwargs", {})
    single = joblib.parallel_config("loky", inner_max_num_threads=1, **given) if ours else contextlib.nullcontext()
    with single:
        return joblib.Parallel(n_jobs=n_jobs, **options)


def compute(
    f: Callable,
    values: Sequence[float] | Sequence[str],
    *,
    n_jobs: int = 1,
    cache=None,
    recheck: bool = True,
    progress: bool = True,
    what: str = "a sweep",
    arrived: Callable[[int, dict], None] | None = None,
) -> list[dict]:
    """``f(value)`` at every value, in any order.

    Args:
      f: takes a float, or a text, and returns a dict of arrays and numbers.
      values: finite numbers, or texts that name the points.
      n_jobs: number of joblib's workers, with one BLAS thread each; −1 for all cores. With 1, the points are
        computed in this process, with the BLAS threads it has, which may change their last bits.
      cache: folder in which every point is stored as soon as it is finished, or None. Files that are
        damaged, hold something else or come from another folder are reported and computed again.
      recheck: whether, if some points are stored, one of them is computed again to see that ``f`` is the
        function they are of.
      progress: show a progress bar, and say how many points were stored.
      what: of the run, for those who come to the folder while it goes on, and before the progress bar.
      arrived: called in this process with the index of each point and the point, those stored first, the others as
        they are finished and stored.

    Returns:
      For each value what ``f`` returned, as a dict of arrays.

    Raises:
      OtherFunctionError: the recheck gave other bits than are stored.
      InUseError: another run works in the folder.
      StoreError: a point could not be stored; those before are kept.
    """
    if cache is None:
        return _compute(f, values, n_jobs, None, False, progress, what, arrived)
    with claimed(Path(cache), what) as folder:
        return _compute(f, values, n_jobs, folder, recheck, progress, what, arrived)


def _compute(
    f, values, n_jobs: int, folder: Path | None, recheck: bool, progress: bool, what: str, arrived
) -> list[dict]:
    import joblib
    from joblib.parallel import BACKENDS, get_active_backend
    from tqdm import tqdm

    # Only what computes on this machine sees the folder.
    here = tuple(BACKENDS[name] for name in ("loky", "multiprocessing", "threading", "sequential") if name in BACKENDS)
    within = folder if isinstance(get_active_backend()[0], here) else None
    values = [value if isinstance(value, str) else float(value) for value in values]
    points: list = [_load(folder, value) for value in values]
    missing = [i for i, point in enumerate(points) if point is None]
    stored = [i for i, point in enumerate(points) if point is not None]

    def computed(indices: list[int]):
        # One point at a time, so that what is finished is here, and stored here: workers elsewhere need not see the
        # folder.
        parallel = workers(n_jobs, return_as="generator_unordered", batch_size=1)
        return parallel(joblib.delayed(_numbered)(i, f, values[i], within) for i in indices)

    if stored and progress:
        tqdm.write(f"going on from {len(stored)} of {len(values)} points, kept in {folder}", file=sys.stderr)
    if folder is not None and stored and recheck:
        # Before any other, which would be stored among those of another function.
        i = rechecking.chosen(rechecking.shuffled(stored), lambda i: rechecking.is_finite(points[i].values()))
        ((_, found),) = computed([i])
        rechecking.compare(folder, f"at {values[i]!r}", points[i], found)
    for i in stored if arrived is not None else ():
        arrived(i, points[i])
    name = what.removeprefix("a ")
    with tqdm(desc=name, total=len(values), initial=len(stored), disable=not progress, unit="run") as bar:
        for i, point in computed(missing):
            if folder is not None:
                store(_file(folder, values[i]), {**point, _VALUE: values[i], _FOLDER: _origin(folder)})
            points[i] = point
            if arrived is not None:
                arrived(i, point)
            bar.update()
    return points


def _numbered(index: int, f: Callable, value: float | str, folder: Path | None) -> tuple[int, dict]:
    """A point and its number; on the way its trainings leave snapshots in a folder below the one given."""
    within = contextlib.nullcontext() if folder is None else kept_in(_file(folder, value).with_suffix(""))
    with within:
        return index, {name: np.asarray(array) for name, array in f(value).items()}


def _file(folder: Path, value: float | str) -> Path:
    name = hashlib.sha256(value.encode()).hexdigest()[:16] if isinstance(value, str) else float(value).hex()
    return folder / f"{name}.npz"


def _origin(folder: Path) -> str:
    """What a stored point says of where it belongs; a cache may be moved as a whole."""
    return "/".join(folder.parts[-2:])


def _load(folder: Path | None, value: float | str) -> dict | None:
    """The stored point, or None if there is none that can be trusted."""
    if folder is None:
        return None

    def read(stored: dict) -> dict:
        if stored.pop(_VALUE, None) != value:
            raise Unusable("it holds another point")
        if stored.pop(_FOLDER, None) != _origin(folder):
            raise Unusable("it was made in another folder")
        return stored

    return None if folder is None else load(_file(folder, value), read, "point")
