"""Snapshots of a training without derivatives: its state in a file now and then, from which it goes on bit for bit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OtherFunctionError, StoreError
from ..nests import leaf_places
from ..runs import snapshots
from ..runs.store import Unusable, arrays_in, store
from ..workspace import Vector
from .dynamics import Dynamics, State
from .own_updates import OwnState

_NOTED = "callback: "


class Snapshots:
    """Those of one training, each in the place of the one before.

    Args:
      dynamics, counts: of the training.
      file: where they lie; or None, then in ``folder`` under a name from what the training starts from.
      folder: of a piece of work that makes many trainings, among them short ones, of which nothing is kept.
      callback: what sees the steps; what it has noted is kept too if it has ``state()``, a dict of arrays by name, and
        ``restore(arrays)``.
    """

    def __init__(self, dynamics: Dynamics, counts: list[int], file: Path | None, folder: Path | None, callback: Any):
        self.dynamics, self.counts, self.callback = dynamics, counts, callback
        self.given, self.folder = file, folder
        self.begun = self.written = time.monotonic()

    @property
    def file(self) -> Path:
        """Where they lie."""
        return Path(self.folder or ".") / f"training-{self._inputs[:16]}.npz" if self.given is None else self.given

    def go_on(self, state: State, saved) -> tuple[State, int]:
        """The state that is kept, written over that before step 0, and its step count; what was saved before it too.

        Raises:
          OtherFunctionError: it is of another training.
          StoreError: it is damaged, or no snapshot.
        """
        if self.given is None and not (self.folder is not None and any(self.folder.glob("*.npz"))):
            return state, 0  # nothing to look for, so no name is needed
        try:
            arrays = arrays_in(self.file)
        except FileNotFoundError:
            return state, 0
        except Unusable as error:
            raise StoreError(
                f"the snapshot {self.file} cannot be used ({error}); delete it to train from the beginning, or give "
                "another file"
            ) from error
        if not self._is_ours(arrays):
            return state, 0
        step, like = int(arrays["step"]), dict(enumerate(_arrays_of(_parts(state))))
        state.params.write([arrays[place] for place in self._places()])
        slots, fixed = _restored(_parts(state), iter([arrays[f"state{i}"] for i in like]))
        for count in (count for count in self.counts if count < step):
            saved.at[count] = [arrays[f"saved{count}.{i}"] for i in range(len(self.dynamics.params))]
        if keeps_notes(self.callback):
            noted = {name[len(_NOTED) :]: a for name, a in arrays.items() if name.startswith(_NOTED)}
            self.callback.restore(noted)
        return State(state.params, slots, float(arrays["norm"]), fixed), step

    def look(self, state: State, step: int, saved) -> None:
        """Write the state before this step, if the last time is long enough ago."""
        if time.monotonic() - self.written >= snapshots.EVERY:
            self.write(state, step, saved)

    def finish(self, state: State, saved) -> None:
        """Write the state at the end; within a piece of work only if the training took its time."""
        if self.given is not None or time.monotonic() - self.begun >= snapshots.LEAST:
            self.write(state, self.dynamics.steps, saved)

    def write(self, state: State, step: int, saved) -> None:
        """Write the state before this step, and what was saved before it."""
        arrays: dict[str, Any] = {"step": step, "steps": self.dynamics.steps, "norm": state.norm}
        arrays |= {"inputs": self._inputs, "first gradient": self._first_gradient}
        arrays |= dict(zip(self._places(), state.params.arrays))
        arrays |= {f"state{i}": a for i, a in enumerate(_arrays_of(_parts(state)))}
        reached = {count: params for count, params in saved.at.items() if count < step}
        arrays |= {f"saved{count}.{i}": w for count, params in reached.items() for i, w in enumerate(params)}
        if keeps_notes(self.callback):
            arrays |= {f"{_NOTED}{name}": a for name, a in self.callback.state().items()}
        store(self.file, arrays)
        self.written = time.monotonic()

    def _is_ours(self, arrays: dict) -> bool:
        """Whether it is of this training; of a piece of work, whose trainings may differ in their losses alone, False.

        Raises:
          OtherFunctionError: it is not, and its place was given.
        """
        if str(arrays.get("inputs")) != self._inputs:
            words = "it starts from other parameters, or has other hyperparameters, steps or counts to save at"
        elif str(arrays.get("first gradient")) == self._first_gradient:
            return True
        elif self.given is None:
            return False
        else:
            words = "the first gradient is another one (of other data; or another machine, or number of BLAS threads)"
        raise OtherFunctionError(
            f"the snapshot {self.file} is of another training: {words}; delete it to train from the beginning, or "
            "give another file"
        )

    def _places(self) -> list[str]:
        """Names of the arrays of the parameters."""
        return leaf_places(self.dynamics.structure, "params")

    @cached_property
    def _inputs(self) -> str:
        """A digest of all that the training starts from but the loss."""
        dynamics, digest = self.dynamics, hashlib.sha256()
        leaves = [leaf for schedule in dynamics.updates.schedules for leaf in schedule.leaves]
        for array in map(np.asarray, (*dynamics.params, *dynamics.loss.inputs.hyper_leaves, *leaves)):
            digest.update(repr((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
        told = [*self._places(), *_options(dynamics.updates.optimizer), dynamics.steps, *self.counts]
        digest.update(repr(told).encode())
        return digest.hexdigest()

    @cached_property
    def _first_gradient(self) -> str:
        """A digest of the gradient at step 0, by which the loss is known again: that is one step more."""
        gradient = self.dynamics.layout.vector()
        self.dynamics.gradient(self.dynamics.start(), 0, gradient)
        return hashlib.sha256(b"".join(buffer.tobytes() for buffer in gradient.buffers)).hexdigest()


def keeps_notes(callback: Any) -> bool:
    """Whether what a callback has noted can be kept in a snapshot."""
    return hasattr(callback, "state") and hasattr(callback, "restore")


def _options(optimizer) -> Iterator[str]:
    """The kind of an optimizer, and what it is told besides hyperparameters."""
    yield type(optimizer).__name__
    for field in fields(optimizer):
        value = getattr(optimizer, field.name)
        if isinstance(value, bool | int | str):
            yield f"{field.name}={value}"
        elif is_dataclass(value):
            yield from _options(value)


def _parts(state: State) -> tuple:
    """What a state has besides the parameters."""
    return state.slots, state.fixed


def _arrays_of(part: Any) -> Iterator[np.ndarray]:
    """All arrays of a part of a state, in order."""
    if isinstance(part, np.ndarray):
        yield part
    elif isinstance(part, Vector):
        yield from part.buffers
    elif isinstance(part, OwnState):
        yield from part.leaves
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _arrays_of(each)
    elif part is not None:  # the digits that decays lost: what spilled over is not needed on the way forwards
        yield part.words


def _restored(part: Any, arrays: Iterator[np.ndarray]) -> Any:
    """A part of a state with these numbers, in its own memory unless such states are never changed."""
    if isinstance(part, OwnState):
        return OwnState([next(arrays) for _ in part.leaves], part.structure)
    if isinstance(part, Vector):
        for buffer in part.buffers:
            buffer[...] = next(arrays)
    elif isinstance(part, np.ndarray):
        part[...] = next(arrays)
    elif isinstance(part, list | tuple):
        made = [_restored(each, arrays) for each in part]
        return type(part)._make(made) if hasattr(part, "_make") else type(part)(made)
    elif part is not None:
        part.words[...] = next(arrays)
    return part
