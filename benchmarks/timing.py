"""Interleaved timing with pinned threads: ratios measured side by side in one run."""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def interleaved(entries: dict[str, Callable], *, threads: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of every call of each entry; the entries take turns, so that a slow moment hits them all.

    Each entry is called once before, to fill caches.
    """
    times: dict[str, list[float]] = {name: [] for name in entries}
    with threadpool_limits(threads):
        for entry in entries.values():
            entry()
        for _ in range(repeats):
            for name, entry in entries.items():
                gc.collect()  # what an entry leaves behind is not the next one's work
                start = time.perf_counter()
                entry()
                times[name].append(time.perf_counter() - start)
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """The median of every entry."""
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
