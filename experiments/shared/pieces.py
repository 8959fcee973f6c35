"""Pieces of a run, computed in parallel: each is kept once it is finished, its trainings at least every minute."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hypergrad.runs.parallel import workers
from hypergrad.runs.snapshots import kept_in
from hypergrad.runs.store import load, store


def each(f: Callable, items: Iterable[tuple], jobs: int, cache: Path | None) -> list:
    """``f(*item)`` for every item, as an array or a tuple of arrays; in worker processes with one BLAS thread each.

    With one job, in this process. What is kept in ``cache`` is not computed again; with None nothing is kept.
    """
    from joblib import delayed

    return workers(jobs)(delayed(kept)(f, item, cache) for item in items)


def kept(f: Callable, item: tuple, cache: Path | None) -> Any:
    """``f(*item)``, from its file or computed and stored there."""
    name = "" if cache is None else _name(f, item)
    if cache is None or not name:
        return _as_arrays(f(*item))
    place = Path(cache) / "pieces" / name
    file = place.with_name(f"{place.name}.npz")
    found = load(file, _from_stored, "piece")
    if found is None:
        with kept_in(place):  # left with what is in it when a run is killed, removed once the piece is stored
            found = _as_arrays(f(*item))
            parts = found if isinstance(found, tuple) else (found,)
            store(file, {"is tuple": isinstance(found, tuple)} | {str(i): part for i, part in enumerate(parts)})
    return found


class Losses:
    """A callback of a training that notes the loss of every step; a snapshot keeps what it has noted."""

    def __init__(self):
        self.losses: list[float] = []

    def __call__(self, step, params, state, gradient, value) -> None:
        self.losses.append(float(value))

    def state(self) -> dict[str, np.ndarray]:
        return {"losses": np.array(self.losses)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.losses = arrays["losses"].tolist()


def _as_arrays(found: Any) -> Any:
    return tuple(map(np.asarray, found)) if isinstance(found, tuple) else np.asarray(found)


def _from_stored(stored: dict) -> Any:
    parts = tuple(stored[str(i)] for i in range(len(stored) - 1))
    return parts if stored["is tuple"] else parts[0]


def _name(f: Callable, item: tuple) -> str:
    """Of the function and what it is told: short words, and a digest of everything but folders; "" if it has none."""
    try:
        told = [_told(part) for part in (f, *item) if not isinstance(part, Path)]
    except _Nameless:
        return ""
    short = [word for word in (re.sub(r"[^\w.-]+", " ", word).strip() for word in told) if len(word) <= 40]
    return " ".join([*short, hashlib.sha256(repr(told).encode()).hexdigest()[:8]])


def _told(part: Any) -> str:
    if isinstance(part, partial):
        return repr([_told(inside) for inside in (part.func, *part.args, *part.keywords.items())])
    if isinstance(part, np.ndarray):
        return hashlib.sha256(repr((part.dtype.str, part.shape)).encode() + part.tobytes()).hexdigest()
    if isinstance(part, list | tuple):
        return repr([_told(inside) for inside in part])
    told = getattr(part, "__qualname__", None) or repr(part)
    if any(word in told for word in ("<locals>", "<lambda>", " at 0x")):
        raise _Nameless
    return told


class _Nameless(Exception):
    """Something whose words are not its own: a function made by another, or an object without a description."""
