"""Interleaved timing with pinned threads: ratios measured side by side in one run."""

from __future__ import annotations

import gc
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from threadpoolctl import threadpool_limits

# Some machines set these, by which a current OpenBLAS is slowed down; it finds out better by itself.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def apart(module: str, *options: str, threads: int) -> str:
    """What a program prints in a process of its own on so many cores.

    A process of its own, because some libraries set their threads when they are imported.

    Raises:
      SystemExit: it failed.
    """
    pin = None
    if hasattr(os, "sched_setaffinity"):
        pin = partial(os.sched_setaffinity, 0, sorted(os.sched_getaffinity(0))[:threads])
    environment = {name: value for name, value in os.environ.items() if name not in SLOWING}
    environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-m", module, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=pin, env=environment)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def interleaved(
    entries: dict[str, Callable], *, threads: int, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call of each entry; the entries take turns, so that a slow moment hits them all.

    Before each timed call the entry is called untimed, so that what its predecessor did to caches and to the memory of
    the machine (on a virtual one, memory that was given back is slow to get again) is not its own time.

    Args:
      clock: ``time.process_time`` for one thread on a machine that others work on too.
    """
    times: dict[str, list[float]] = {name: [] for name in entries}
    with threadpool_limits(threads):
        for _ in range(repeats):
            for name, entry in entries.items():
                entry()
                gc.collect()  # what an entry leaves behind is not the next one's work
                start = clock()
                entry()
                times[name].append(clock() - start)
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """The median of every entry."""
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
