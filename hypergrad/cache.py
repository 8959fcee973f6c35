"""Finished pieces of a long computation, kept in files so that a killed one goes on where it was."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class CacheWarning(UserWarning):
    """A cached result could not be used and is computed again."""


def store(path: Path, **arrays) -> None:
    """Write arrays under another name and rename the file, so that no half-written one is ever read."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez(file, **arrays)
    os.replace(file.name, path)


def load(path: Path, read: Callable[[Any], Any], what: str) -> Any:
    """What ``read`` makes of the stored arrays, or None if there are none that can be trusted.

    ``read`` raises if they are not those wanted; ``what`` names them in the :class:`CacheWarning`.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return read(stored)
    except Exception as error:  # a damaged archive can raise nearly anything
        warnings.warn(f"cached {what} {path} is not usable ({error}); computing it again", CacheWarning, stacklevel=3)
        return None
