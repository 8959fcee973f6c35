"""The iterations of a meta-descent in a folder: one file each, read only where it holds just what is asked for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OtherFunctionError
from ..nests import Structure, flatten, leaf_places, unflatten
from ..runs.recheck import chosen, compare, shuffled
from ..runs.store import Unusable, arrays_in, load, store, written
from .evaluation import Evaluation, evaluation

_NUMBERS = ("value", "diverged_at", "error", "gradient_error", "validation", "growth")


def file_of(folder: Path, iteration: int) -> Path:
    return folder / f"iteration{iteration}.npz"


def how_many(folder: Path) -> int:
    """How many iterations are stored, from the first, without one missing."""
    return next(i for i in itertools.count() if not file_of(folder, i).exists())


def keep(folder: Path, found: Evaluation, telemetry: dict[str, list], estimator: Any = None) -> None:
    """Store an evaluation, and before it what its trainings told of themselves and the state that an estimator has now.

    Raises:
      StoreError: it could not be written.
    """
    for suffix, rows in telemetry.items():
        with written(folder / f"telemetry{found.iteration}{suffix}.json") as file:
            file.write((json.dumps(rows) + "\n").encode())
    if hasattr(estimator, "state"):
        store(folder / f"estimator{found.iteration}.npz", estimator.state())
    arrays = {f"free{i}": w for i, w in enumerate(flatten(found.free)[0])}
    arrays |= {f"gradient{i}": g for i, g in enumerate(flatten(found.gradient)[0])}
    arrays |= {name: getattr(found, name) for name in (*_NUMBERS, "iteration")}
    store(file_of(folder, found.iteration), arrays)


def recall(
    folder: Path, iteration: int, free: list, structure: Structure, tolerant: bool, same_path: bool
) -> Evaluation | None:
    """The evaluation stored, or None if there is none of just these free variables, and finite if not ``tolerant``.

    Its ``hypers`` are left out.

    Raises:
      OtherFunctionError: it is of other free variables, and it must be of the ``same_path``.
    """

    def read(stored: dict) -> Evaluation:
        found = _from_arrays(stored, iteration, free, structure)
        if not all(np.array_equal(a, b) for a, b in zip(flatten(found.free)[0], free)):
            if same_path:
                raise OtherFunctionError(
                    f"the results in {folder} are of another descent: this one comes to other hyperparameters; a "
                    "transform, an estimator or an optimizer of your own is another one, or hypergrad is; give another "
                    "folder, or delete this one (recheck=False computes from there on anew, in the place of what is "
                    "stored)"
                )
            raise Unusable("it is of other hyperparameters")
        if not tolerant and not np.isfinite([found.value, found.gradient_norm]).all():
            raise Unusable("it is not finite, and without take_back that is an error")
        return found

    return load(file_of(folder, iteration), read, "meta-iteration")


def restore(estimator: Any, folder: Path, iteration: int) -> bool:
    """Let an estimator stand where it stood after an iteration; whether that is known. One without a state always
    does."""
    if not hasattr(estimator, "restore"):
        return True
    arrays = load(folder / f"estimator{iteration}.npz", dict, "state of an estimator")
    if arrays is not None:
        estimator.restore(arrays)
    return arrays is not None


def once(path: Path | None, free: list, compute: Callable[[], list]) -> list:
    """Some arrays that belong to these free variables: those stored there, or computed now and stored."""
    keys = {f"free{i}": np.asarray(w) for i, w in enumerate(free)}

    def read(stored: dict) -> list:
        if any(not np.array_equal(stored.pop(name, np.nan), w) for name, w in keys.items()):
            raise Unusable("it is of other hyperparameters")
        return [stored[f"found{i}"] for i in range(len(stored))]

    found = None if path is None else load(path, read, "result")
    if found is None:
        found = compute()
        if path is not None:
            store(path, keys | {f"found{i}": a for i, a in enumerate(found)})
    return found


def _from_arrays(stored: dict, iteration: int, free: list, structure: Structure) -> Evaluation:
    """The evaluation that is stored, with the free variables there.

    Raises:
      Unusable: it is another one, or its free variables have other shapes than these.
    """
    try:
        leaves = [stored[f"free{i}"] for i in range(len(free))]
        gradient = [stored[f"gradient{i}"] for i in range(len(free))]
        numbers: dict[str, Any] = {name: float(stored[name]) for name in _NUMBERS}
        if len(stored) != 2 * len(free) + len(_NUMBERS) + 1 or int(stored["iteration"]) != iteration:
            raise Unusable("it holds another one")
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable("it holds no meta-iteration of such hyperparameters") from error
    if any(a.shape != np.shape(w) or a.dtype != float for a, w in zip((*leaves, *gradient), (*free, *free))):
        raise Unusable("it is of hyperparameters of other shapes")
    nest = unflatten(structure, [w[()] for w in leaves])
    numbers["diverged_at"] = int(numbers["diverged_at"])
    return evaluation(nest, nest, numbers.pop("value"), gradient, iteration=iteration, **numbers)


def check_start(folder: Path, free: list, structure: Structure) -> None:
    """Whether what is stored starts where this descent does, if anything that can be read is stored.

    Raises:
      OtherFunctionError: it starts elsewhere, or with hyperparameters of other shapes; nothing is written over it.
    """
    try:
        arrays = arrays_in(file_of(folder, 0))
    except (Unusable, FileNotFoundError):  # reported when the descent comes to it
        return
    try:
        found = flatten(_from_arrays(arrays, 0, free, structure).free)[0]
        is_same = all(np.array_equal(a, b) for a, b in zip(found, free))
    except Unusable:
        is_same = False
    if not is_same:
        raise OtherFunctionError(
            f"the results in {folder} are of a descent that starts elsewhere: give another folder, or delete this one"
        )


def recheck(folder: Path, evaluate: Callable, free: list, structure: Structure) -> None:
    """Compute one of the stored iterations again, by ``evaluate(free, iteration)``, and compare.

    Raises:
      OtherFunctionError: it comes out differently.
    """

    def readable(iterations: list):
        for iteration in iterations:
            try:
                yield iteration, _from_arrays(arrays_in(file_of(folder, iteration)), iteration, free, structure)
            except (Unusable, FileNotFoundError):  # reported when the descent comes to it
                continue

    candidates = readable(shuffled(range(how_many(folder))))
    picked = chosen(candidates, lambda candidate: candidate[1].diverged_at == -1)
    if picked is not None:
        iteration, stored = picked
        now = evaluate(flatten(stored.free)[0], iteration)
        compare(folder, f"in meta-iteration {iteration}", _named(stored), _named(now))


def _named(found: Evaluation) -> dict[str, np.ndarray]:
    leaves, structure = flatten(found.gradient)
    named = {
        "f": found.value,
        **dict(zip(leaf_places(structure, "gradient"), leaves)),
        "diverged_at": found.diverged_at,
        "validation": found.validation,
    }
    return {name: np.asarray(array) for name, array in named.items()}
