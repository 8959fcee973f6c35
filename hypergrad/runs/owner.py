"""Which process something on disk belongs to, and whether that process still lives."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """A process.

    Attributes:
      pid, host: its number, and the host on which it has it.
      born: when it started, in a unit of the host's own, so that another one of the same number is told apart;
        "" where that is not known.
    """

    pid: int
    host: str
    born: str = ""

    def is_this_process(self) -> bool:
        return self == this_process()

    def is_dead(self) -> bool:
        """Whether it is a process of this host that is no more; False where that cannot be known."""
        if self.host != this_process().host or self.is_this_process():
            return False
        return not _exists(self.pid) or (self.born != "" and self.born != _born(self.pid))


def this_process() -> Owner:
    return Owner(os.getpid(), socket.gethostname(), _born(os.getpid()))


def run_of_this_process() -> Owner | None:
    """The process that started this one as a worker, or None if this one is none.

    What a worker holds is of no worth once its run is dead, though the worker may go on for a while.
    """
    parent = multiprocessing.parent_process()
    return None if parent is None or parent.pid is None else Owner(parent.pid, socket.gethostname(), _born(parent.pid))


def _exists(pid: int) -> bool:
    if os.name != "posix":  # there, signal 0 would not be a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _born(pid: int) -> str:
    """When a process started, from Linux's /proc; "" where there is none, "dead" for one that was not waited for."""
    try:
        # The name of the program is in parentheses, and may hold any others.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "dead" if state in "ZX" else fields[18]
