"""What decides the path of a descent, kept beside its iterations, so that another descent is refused by name.

Functions cannot be compared: of them it is kept whether they were given. That they are the same is seen from what
they do, when an iteration is computed again and where the next one lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OtherFunctionError
from ..nests import leaf_places
from ..runs.store import load, store
from . import stored

OWN_STEPS = "steps of our own"
_WORKERS = "n_jobs"  # of an estimator; changes no bits


def check(folder: Path, setting: Any, method: str) -> None:
    """Whether what is stored in a folder is of such a descent; if nothing is, what decides this one is kept there.

    Args:
      setting: a :class:`hypergrad.meta.descent.Setting`, which imports this module.

    Raises:
      OtherFunctionError: it is of another one; says what was different. Nothing is written.
      StoreError: it could not be written.
    """
    path, now = folder / "descent.npz", _named(setting, method)
    before = load(path, dict, "description of a descent") if any(folder.glob("iteration*.npz")) else None
    differing = (
        [] if before is None else [name for name in now if name in before and not _same(before[name], now[name])]
    )
    if "maps" not in differing:  # with others, other free variables are the same start
        stored.check_start(folder, setting.start, setting.objective.structure)
    if before is not None and differing:
        raise OtherFunctionError(
            f"the results in {folder} are of another descent: "
            + ", ".join(_difference(name, before[name], now[name]) for name in differing)
            + "; give another folder, delete this one, or give what was given then"
        )
    if before is None:
        store(path, now)


def _named(setting: Any, method: str) -> dict[str, np.ndarray]:
    """All that decides the path but f and the start, by the names that a user gives it; texts and numbers."""
    objective, rule = setting.objective, setting.rule
    mapping, seeds = objective.mapping, objective.seeds
    maps = [] if mapping is None else [f"{p}: {mapping.map_of(i)!r}" for i, p in enumerate(mapping.places)]
    flags = {field.name: getattr(rule.optimizer, field.name) for field in fields(rule.optimizer)}  # type: ignore[arg-type]
    texts = {
        "method": method,
        "maps": ", ".join(maps) or "none",
        "optimizer": _call(
            rule.optimizer, {name: flag for name, flag in flags.items() if name not in rule.optimizer.names}
        ),
        "step_size": "that of a line search" if setting.searched else "given",
        "seeds": f"{seeds} new ones at each iteration" if isinstance(seeds, int) else _words(seeds),
        "take_back": _words(setting.take_back),
        "on_chaos": _words(setting.on_chaos),
        "transform": _words(setting.transform),
        "validate": _words(objective.validate),
        "estimator": _words(objective.estimator),
    }
    numbers: dict[str, Any] = {}
    for i, place in enumerate(leaf_places(objective.structure, "hypers")):
        for name, value in zip(rule.optimizer.names, rule.settings[i]):
            numbers[f"the step size of {place}" if name == "lr" else f"{name} of {place}"] = np.asarray(value, float)
        for name, end in zip(("lower", "upper"), setting.bounds):
            numbers[f"the {name} bound of {place}"] = np.asarray("none") if end is None else np.asarray(end[i], float)
    return {name: np.asarray(value) for name, value in (texts | numbers).items()}


def _words(value: Any) -> str:
    """A value without what differs from process to process."""
    if value is None or isinstance(value, str | bool | int | float):
        return "none" if value is None else str(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_words, value))}]"
    if is_dataclass(value):
        return _call(value, {field.name: getattr(value, field.name) for field in fields(value)})
    return "a function" if type(value).__module__ == "builtins" else type(value).__name__


def _call(value: Any, arguments: dict) -> str:
    listed = ", ".join(f"{name}={_words(a)}" for name, a in arguments.items() if name != _WORKERS)
    return f"{type(value).__name__}({listed})"


def _same(before: np.ndarray, now: np.ndarray) -> bool:
    return before.dtype.kind == now.dtype.kind and np.array_equal(before, now)


def _difference(name: str, before: np.ndarray, now: np.ndarray) -> str:
    if before.shape == now.shape != ():
        index = tuple(np.argwhere(before != now)[0])
        return f"{name} was {before[index].item()!r} at {list(map(int, index))} and is {now[index].item()!r} now"
    words = [a.item() if a.shape == () else f"of shape {a.shape}" for a in (before, now)]
    return f"{name} was {words[0]!s:.200} and is {words[1]!s:.200} now"
