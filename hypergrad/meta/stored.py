"""The iterations of a meta-descent in a folder: one file each, read only where it holds just what is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..nests import Structure, flatten, leaf_places, unflatten
from ..runs.recheck import chosen, compare, shuffled
from ..runs.store import Unusable, arrays_in, load, store
from .evaluation import Evaluation, evaluation


def file_of(folder: Path, iteration: int) -> Path:
    return folder / f"iteration{iteration}.npz"


def how_many(folder: Path) -> int:
    """How many iterations are stored, from the first, without one missing."""
    return next(i for i in itertools.count() if not file_of(folder, i).exists())


def keep(folder: Path, iteration: int, found: Evaluation) -> None:
    """Store an evaluation.

    Raises:
      StoreError: it could not be written.
    """
    arrays = {f"hypers{i}": w for i, w in enumerate(flatten(found.hypers)[0])}
    arrays |= {f"gradient{i}": g for i, g in enumerate(flatten(found.gradient)[0])}
    arrays |= {"iteration": iteration, "value": found.value, "diverged_at": found.diverged_at}
    store(file_of(folder, iteration), arrays)


def recall(folder: Path, iteration: int, hypers, tolerant: bool) -> Evaluation | None:
    """The evaluation stored, or None if there is none of just these hyperparameters, and finite if not ``tolerant``."""

    def read(stored: dict) -> Evaluation:
        found = _from_arrays(stored, iteration, flatten(hypers)[0], flatten(hypers)[1])
        if not all(np.array_equal(a, b) for a, b in zip(flatten(found.hypers)[0], flatten(hypers)[0])):
            raise Unusable("it is of other hyperparameters")
        if not tolerant and not np.isfinite([found.value, found.gradient_norm]).all():
            raise Unusable("it is not finite, and without take_back that is an error")
        return found._replace(hypers=hypers)

    return load(file_of(folder, iteration), read, "meta-iteration")


def _from_arrays(stored: dict, iteration: int, leaves: list, structure: Structure) -> Evaluation:
    """The evaluation that is stored, with the hyperparameters there.

    Raises:
      Unusable: it is another one, or its hyperparameters have other shapes than these leaves.
    """
    try:
        hypers = [stored[f"hypers{i}"] for i in range(len(leaves))]
        gradient = [stored[f"gradient{i}"] for i in range(len(leaves))]
        if len(stored) != 2 * len(leaves) + 3 or int(stored["iteration"]) != iteration:
            raise Unusable("it holds another one")
        value, diverged_at = stored["value"], int(stored["diverged_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable("it holds no meta-iteration of such hyperparameters") from error
    if any(a.shape != np.shape(w) or a.dtype != float for a, w in zip((*hypers, *gradient), (*leaves, *leaves))):
        raise Unusable("it is of hyperparameters of other shapes")
    return evaluation(unflatten(structure, [w[()] for w in hypers]), value, gradient, diverged_at)


def recheck(folder: Path, evaluate: Callable, hypers) -> None:
    """Compute one of the stored iterations again, by ``evaluate(hypers, iteration)``, and compare.

    Raises:
      OtherFunctionError: it comes out differently.
    """
    leaves, structure = flatten(hypers)

    def readable(iterations: list):
        for iteration in iterations:
            try:
                yield iteration, _from_arrays(arrays_in(file_of(folder, iteration)), iteration, leaves, structure)
            except (Unusable, FileNotFoundError):  # reported when the descent comes to it
                continue

    candidates = readable(shuffled(range(how_many(folder))))
    picked = chosen(candidates, lambda candidate: candidate[1].diverged_at == -1)
    if picked is not None:
        iteration, stored = picked
        now = evaluate(stored.hypers, iteration)
        compare(folder, f"in meta-iteration {iteration}", _named(stored), _named(now))


def _named(found: Evaluation) -> dict[str, np.ndarray]:
    leaves, structure = flatten(found.gradient)
    named = {
        "f": found.value,
        **dict(zip(leaf_places(structure, "gradient"), leaves)),
        "diverged_at": found.diverged_at,
    }
    return {name: np.asarray(array) for name, array in named.items()}
