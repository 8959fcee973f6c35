"""A function of an experiment in a process of its own, so that its time and its memory are its own too."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.results import ROOT, CommandError

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}


def apart(experiment: str, function: str, config, *arguments) -> dict[str, np.ndarray]:
    """What ``function(config, *arguments)`` of an experiment returns, from a fresh process with one thread for BLAS.

    Args:
      experiment: the module's name, whose ``Config`` that of ``config`` is.
      function: the function's name; it returns a dict of arrays and numbers.
      config, arguments: numbers, texts and tuples of those.

    Raises:
      CommandError: it failed; the process has said why.
    """
    call = json.dumps([experiment, function, dataclasses.asdict(config), arguments])
    command = [sys.executable, "-m", "experiments.shared.apart"]
    environment = os.environ | ONE_THREAD
    done = subprocess.run(command, input=call, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        raise CommandError(f"{function} of {experiment} failed in a process of its own (status {done.returncode})")
    return {name: np.asarray(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def peak_of(f: Callable) -> tuple[Any, int]:
    """What ``f()`` returns, and by how many bytes its peak lies above what the process held before.

    Resident memory. Where the system cannot start its peak anew (other than on Linux), that is the growth of the
    highest peak so far.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # in glibc: memory that earlier calls gave back is not at hand for this one
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
        before = _held("VmRSS")
    except OSError:
        before = _held("VmHWM")
    value = f()
    return value, _held("VmHWM") - before


def seconds_of(f: Callable) -> tuple[Any, float]:
    """What ``f()`` returns, and the processor time it took: that of this process alone, however busy the machine is."""
    gc.collect()
    start = time.process_time()
    value = f()
    return value, time.process_time() - start


def _held(what: str) -> int:
    """A line of /proc/self/status in bytes; where there is none, the highest peak of this process so far."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(lines[what].split()[0])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def main() -> None:
    """The process: the call comes in, and the result goes out, as JSON; floats keep all their bits."""
    experiment, function, config, arguments = json.loads(sys.stdin.read())
    module = importlib.import_module(experiment)
    config = module.Config(**{name: tuple(v) if isinstance(v, list) else v for name, v in config.items()})
    found = getattr(module, function)(config, *arguments)
    print(json.dumps({name: np.asarray(value).tolist() for name, value in found.items()}))


if __name__ == "__main__":
    main()
