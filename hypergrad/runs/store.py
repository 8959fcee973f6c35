"""Finished pieces of a long computation, kept in files so that a killed one goes on where it was.

A file is written under another name and renamed, so that no half-written one is ever read, and holds a
checksum of all that is in it. What a killed process left half-written is removed by the next one that writes
into the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, CacheWarning, StoreError
from .owner import Owner, this_process

_CHECKSUM = ".sha256"
_PARTIAL = re.compile(r"\.(?P<pid>[0-9]+)-(?P<born>[0-9]*)-(?P<token>[0-9a-f]+)-[0-9]+@(?P<host>.+)\.part")
_TOKEN, _numbers = secrets.token_hex(4), itertools.count()
KEPT = "what was finished before is kept"


class Unusable(Exception):
    """What a file holds is not what is wanted; says why."""


@contextlib.contextmanager
def written(path: Path):
    """A binary file to write to, which replaces the one at ``path`` at once when all went well.

    Its folder is made if it is not there.

    Raises:
      StoreError: it could not be written. Nothing is left of it, and the file that was there before stays.
    """
    with named(path):
        partial, file = _opened(path)
        try:
            with file:
                yield file
            _moved(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: Path):
    """Makes errors of the system, which name a place at best, into a :class:`StoreError` that names the way out."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; make room or make the folder writable and run it again, "
            f"or give another folder; {KEPT}"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and remove from it what killed processes left half-written.

    Raises:
      StoreError: it cannot be made.
    """
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.part"):
        if _is_left_over(path.name):
            with contextlib.suppress(OSError):  # it is in nobody's way
                path.unlink(missing_ok=True)


def _opened(path: Path) -> tuple[Path, Any]:
    """A new file beside ``path``, its name saying whose it is. With the permissions that any new file gets."""
    pid, host, born = this_process()
    partial = path.with_name(f"{path.name}.{pid}-{born}-{_TOKEN}-{next(_numbers)}@{host}.part")
    try:
        return partial, partial.open("xb")
    except FileNotFoundError:  # the folder was deleted under the run
        make_folder(path.parent)
        return partial, partial.open("xb")


def _moved(partial: Path, path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"cannot write {path}: a folder lies in its place; remove it; {KEPT}")
    os.replace(partial, path)


def _is_left_over(name: str) -> bool:
    found = _PARTIAL.search(name)
    if found is None:
        return False
    owner = Owner(int(found["pid"]), found["host"], found["born"])
    if owner.is_this_process():
        return found["token"] != _TOKEN
    return owner.is_dead()


def store(path: Path, arrays: dict) -> None:
    """Write arrays, by their names, to be read by :func:`load`.

    Raises:
      ArgumentError: an array of Python objects, which could only be pickled.
      StoreError: the file could not be written.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ArgumentError(f"{name!r} has dtype {array.dtype}, which is not stored; give numbers or text")
    with written(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in (*arrays.items(), (_CHECKSUM, np.asarray(checksum(arrays)))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:  # as numpy.savez writes them
                np.lib.format.write_array(member, array, allow_pickle=False)


def load(path: Path, read: Callable[[dict], Any], what: str) -> Any:
    """What ``read`` makes of the stored arrays, or None if there are none that can be trusted.

    ``read`` raises :class:`Unusable` if they are not those wanted; ``what`` names them in the
    :class:`CacheWarning`.

    Raises:
      StoreError: a folder lies where the file would be.
    """
    if path.is_dir():
        raise StoreError(f"cannot keep a {what} in {path}: a folder lies there; remove it, or give another cache")
    try:
        return read(arrays_in(path))
    except FileNotFoundError:
        return None
    except Unusable as reason:
        warnings.warn(f"cached {what} {path} is not usable ({reason}); computing it again", CacheWarning, stacklevel=3)
        return None


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file, if they are what was stored.

    Raises:
      Unusable: they are not.
      FileNotFoundError: there is none.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
        expected, found = arrays.pop(_CHECKSUM, None), checksum(arrays)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything, and its words would not help
        raise Unusable(f"it is damaged, or nothing that was stored here: {type(error).__name__}") from error
    if expected is None:
        raise Unusable("it has no checksum: it is of another version, or nothing that was stored here")
    if expected.shape != () or str(expected) != found:
        raise Unusable("it is damaged: its checksum is not that of what it holds")
    return arrays


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, np.lib.format.dtype_to_descr(array.dtype), array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
