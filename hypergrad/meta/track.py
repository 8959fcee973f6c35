"""Where the evaluations of a meta-descent, trials and the steps of trainings are written down for others to read.

A tracker is a callback: ``minimize(f, hypers, callback=track.jsonl("runs/first.jsonl"), …)``, and likewise for
:func:`hypergrad.runs.trials`.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_integer, import_extra
from ..nests import flatten, leaf_places
from ..runs.grid import Trial
from ..runs.journal import Journal
from ..runs.store import written
from ..workspace import inner
from .evaluation import Evaluation
from .watch import Watched, watch

__all__ = ["Telemetry", "Watched", "jsonl", "scalars", "tensorboard", "watch"]


def __dir__():
    return __all__


def scalars(evaluation: Evaluation | Trial) -> dict[str, float]:
    """The numbers of an evaluation or a trial by name, for a tracker of one's own; what is unknown is left out.

    >>> import hypergrad as hg
    >>> scalars(next(hg.meta.descend(lambda h: h**2, 1.0, step_size=0.25)))
    {'value': 1.0, 'gradient_norm': 2.0, 'step_scale': 1.0, 'taken_back': 0.0}
    """
    if isinstance(evaluation, Trial):
        known = {name: number for name, number in evaluation.metrics.items() if not math.isnan(number)}
        return known | {"diverged_at": float(evaluation.diverged_at)}
    names = ("value", "error", "validation", "gradient_norm", "gradient_error", "mismatch", "growth", "step_scale")
    numbers = {name: float(getattr(evaluation, name)) for name in names}
    known = {name: number for name, number in numbers.items() if not math.isnan(number)}
    return known | {"taken_back": float(evaluation.taken_back)}


def jsonl(path, *, hypers: bool = True) -> Callable[[Evaluation | Trial], None]:
    """A callback that keeps a file of JSON lines, one for each evaluation or trial.

    The file is begun anew with iteration 0. A descent that goes on after a kill walks its path again, and trials that
    go on come again, so that in the end it holds each once.

    Args:
      path: of the file, which is replaced as a whole at each evaluation.
      hypers: whether the hyperparameters are in it too, by their places; or the settings of the trial.

    Returns:
      The callback. A number that is not finite is written as null.

    Raises:
      StoreError: when it is called and cannot write.
    """
    lines: dict[int, str] = {}

    def track(evaluation: Evaluation | Trial) -> None:
        number = evaluation.number if isinstance(evaluation, Trial) else evaluation.iteration
        if number == 0 and isinstance(evaluation, Evaluation):
            lines.clear()
        lines[number] = json.dumps(_without_nan(_row(evaluation, hypers)))
        with written(Path(path)) as file:
            file.write("".join(f"{line}\n" for line in lines.values()).encode())

    return track


def _row(evaluation: Evaluation | Trial, hypers: bool) -> dict[str, Any]:
    row: dict[str, Any]
    if isinstance(evaluation, Trial):
        row = {"trial": evaluation.number, "seed": evaluation.seed, **scalars(evaluation)}
        return row | {"point": evaluation.point} if hypers else row
    row = {"iteration": evaluation.iteration, **scalars(evaluation), "doubt": evaluation.doubt}
    if hypers:
        leaves, structure = flatten(evaluation.hypers)
        row["hypers"] = {p: np.asarray(w).tolist() for p, w in zip(leaf_places(structure, "hypers"), leaves)}
    return row


def tensorboard(folder) -> Callable[[Evaluation | Trial], None]:
    """A callback that writes the numbers of each evaluation or trial for TensorBoard.

    Those of a trial stand at its number; its curves of one number a step by step, below the trial's name.

    Args:
      folder: of the event files, the log directory that TensorBoard is given.

    Raises:
      MissingExtraError: ``tensorboard`` is not installed.
    """
    import_extra("tensorboard", "hg.track.tensorboard")
    writer = importlib.import_module("tensorboard.summary").Writer(str(folder))

    def track(evaluation: Evaluation | Trial) -> None:
        if isinstance(evaluation, Trial):
            at, curves, place = evaluation.number, evaluation.curves, evaluation.name()
        else:
            at, curves, place = evaluation.iteration, {}, ""
        for name, number in scalars(evaluation).items():
            if math.isfinite(number):
                writer.add_scalar(name, number, at)
        for name, curve in curves.items():
            for step in np.flatnonzero(np.isfinite(curve)) if curve.ndim == 1 else ():
                writer.add_scalar(f"{place}/{name}", float(curve[step]), int(step))
        writer.flush()

    return track


class Telemetry:
    """A callback for :func:`hypergrad.train` that notes, every few steps, the loss and the norm of each array.

        hg.train(loss, params, optimizer, steps=100, callback=hg.track.Telemetry(every=10))

    In a function that :func:`hypergrad.meta.minimize` minimizes with a ``store``, the rows of each evaluation lie
    there, in ``telemetry{iteration}.json`` (``…-seed{seed}.json`` with seeds).

    Args:
      every: note steps 0, every, 2 · every, ….

    Attributes:
      rows: a dict for each step noted: ``step``, ``loss``, and for ``params``, ``gradient`` and each part of the
        optimizer's state a dict with the Euclidean norm of each array by its place.
    """

    def __init__(self, every: int = 1):
        self.every = check_integer(every, "every", 1)
        self.rows: list[dict] = []

    def __call__(self, step: int, params, state, gradient, value) -> None:
        if step % self.every:
            return
        names: Sequence[str] = getattr(state, "_fields", [f"state{i}" for i in range(len(state))])
        parts = {"params": params, "gradient": gradient, **dict(zip(names, state))}
        row = {"step": step, "loss": float(value), **{name: _norms(nest) for name, nest in parts.items()}}
        self.rows.append(row)
        journal = Journal.current()
        if journal is not None:
            journal.write(row)


def _norms(nest) -> dict[str, float]:
    leaves, structure = flatten(nest)
    return {
        place or "all": math.sqrt(inner(w, w)) for place, w in zip(leaf_places(structure, ""), map(np.asarray, leaves))
    }


def _without_nan(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
