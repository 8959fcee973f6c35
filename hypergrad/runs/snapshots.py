"""Where the trainings of a longer piece of work leave snapshots, so that a killed one goes on within a training."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

EVERY = 30.0  # seconds between two snapshots of a training; half of a minute, since a step has to end first
LEAST = 1.0  # seconds that a training must have taken for its end to be kept within a piece of work


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """A context, of this thread, in which trainings without derivatives leave snapshots in a folder, and go on from
    those that are there; the folder is removed when all went well."""
    token = _current.set(Path(folder))
    try:
        yield
    finally:
        _current.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


def folder_of_this_piece() -> Path | None:
    """The folder of the innermost context, or None outside any."""
    return _current.get()


_current: ContextVar[Path | None] = ContextVar("snapshots", default=None)
