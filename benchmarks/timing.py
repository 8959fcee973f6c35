"""Interleaved timing with pinned threads: ratios measured side by side in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from threadpoolctl import threadpool_limits


def interleaved(entries: dict[str, Callable], *, threads: int, repeats: int) -> dict[str, float]:
    """Median seconds of each entry; the entries take turns, so that a slow moment hits them all.

    Each entry is called once before, to fill caches.
    """
    times: dict[str, list[float]] = {name: [] for name in entries}
    with threadpool_limits(threads):
        for entry in entries.values():
            entry()
        for _ in range(repeats):
            for name, entry in entries.items():
                start = time.perf_counter()
                entry()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
