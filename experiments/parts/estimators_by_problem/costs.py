"""What a call costs: processor time, and memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and the processor time it took, in seconds: other processes hardly change that."""
    began = time.process_time()
    found = call()
    return found, time.process_time() - began


def allocated(call: Callable[[], Any]) -> float:
    """The most that it has allocated at a time, in bytes."""
    tracemalloc.start()
    try:
        call()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
