"""One run at a time in a folder: a file that says who works there."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import InUseError
from .owner import Owner, run_of_this_process, this_process
from .store import make_folder, named

LOCK = ".lock"
_held: dict[Path, list] = {}  # folder: [owner, thread, how many claims]
_registry = threading.Lock()


@contextlib.contextmanager
def claimed(folder: Path, what: str):
    """A context within which no other run works in a folder, which is made if it is not there.

    A file in it names the process. That of a process of this host that is dead, be it by kill -9, or that was
    a worker of a run that is dead, is taken over. A thread may claim its own folder again, and folders within.

    Args:
      folder: which.
      what: of the run, for those who come too late: "a sweep".

    Raises:
      InUseError: another run works there, on this host or elsewhere; says which, and the way out.
      StoreError: the folder cannot be made or written.
    """
    folder = Path(os.path.abspath(folder))
    _take(folder, what)
    try:
        yield folder
    finally:
        _give_back(folder)


def holder(folder: Path) -> str:
    """Who works in a folder, in words: "is in use: …"; "" if nobody does, or one who is dead."""
    found = _read(Path(os.path.abspath(folder)) / LOCK)
    owners = _owners(found)
    if not owners or any(owner.is_dead() for owner in owners):
        return ""
    return f"is in use: {found.get('what')} runs there, process {found['pid']} on {found['host']}"


def _take(folder: Path, what: str) -> None:
    me, thread = this_process(), threading.get_ident()
    with _registry:
        held = _held.get(folder)
        if held is not None and held[0] == me:
            if held[1] != thread:
                raise InUseError(f"{folder} is in use: another thread of this process runs there; {_way_out(folder)}")
            held[2] += 1
            return
        make_folder(folder)
        with _guarded(folder), named(folder / LOCK):
            _create(folder / LOCK, _described(me, what))
        _held[folder] = [me, thread, 1]


def _give_back(folder: Path) -> None:
    with _registry:
        held = _held[folder]
        held[2] -= 1
        if held[2] == 0:
            del _held[folder]
            lock = folder / LOCK
            mine = held[0] == this_process()  # and not of the process that this one was forked from
            if mine and _owners(_read(lock))[:1] == [held[0]]:  # nor of one that came when the folder was deleted
                with contextlib.suppress(OSError):
                    lock.unlink()


def _described(me: Owner, what: str) -> dict:
    run = run_of_this_process()
    return {**me._asdict(), "what": what, "since": time.strftime("%Y-%m-%d %H:%M:%S"), "run": run and run._asdict()}


def _create(lock: Path, description: dict) -> None:
    """Create the lock file, which only one can, and take away one that is of no worth any more."""
    while True:
        try:
            with lock.open("x") as file:
                try:
                    json.dump(description, file)
                    file.flush()
                except BaseException:
                    lock.unlink(missing_ok=True)
                    raise
            return
        except FileExistsError:
            found = _read(lock) or _read_again(lock)
            owners = _owners(found)
            # One by this process that it does not hold was left by a dead one that had its number.
            if owners and not any(owner.is_dead() for owner in owners) and owners[0] != this_process():
                raise InUseError(_who(lock.parent, found)) from None
            lock.unlink(missing_ok=True)


def _read(lock: Path) -> Any:
    try:
        return json.loads(lock.read_text())
    except (OSError, ValueError):
        return None


def _read_again(lock: Path) -> Any:
    """After a moment: where folders cannot be guarded, the lock may be one that is just being written."""
    time.sleep(0.2)
    return _read(lock)


def _owners(description) -> list[Owner]:
    """The process that made a lock, and the run it is a worker of; none if the lock says nothing of use."""
    try:
        processes = [description, description["run"]]
        return [Owner(int(p["pid"]), str(p["host"]), str(p["born"])) for p in processes if p is not None]
    except (TypeError, KeyError, ValueError):
        return []


def _who(folder: Path, found: dict) -> str:
    return (
        f"{folder} is in use: {found.get('what')} runs there, process {found['pid']} on {found['host']}, since "
        f"{found.get('since')}; {_way_out(folder)}"
    )


def _way_out(folder: Path) -> str:
    return f"wait for it or stop it, or give another folder (if it is no more, delete {folder / LOCK})"


@contextlib.contextmanager
def _guarded(folder: Path):
    """A context that only one process of this host is in at a time, for two that find the lock of a dead one.

    The system ends it with the process. Where it has no such thing, the context does nothing.
    """
    descriptor = None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
