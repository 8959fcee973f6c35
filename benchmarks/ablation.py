"""``python -m benchmarks.ablation``: what each mechanism of the workspace buys, on (a), (b) and a deep narrow network.

Each is switched off in turn, in this process, and timed in pairs with everything on. Prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from functools import partial
from unittest import mock

import numpy as np

import hypergrad as hg
from benchmarks.entries import reverse, training
from benchmarks.problems import Network
from benchmarks.timing import interleaved
from hypergrad import workspace
from hypergrad.engine import purity, updates
from hypergrad.engine.vector_updates import VectorUpdates

PROBLEMS = {
    "a": lambda: Network((784, 200, 50, 10), 50, 250),
    "b": lambda: Network((784, 50, 50, 50, 10), 100, 200, scheduled=True),
    "deep": lambda: Network((784, *[30] * 12, 10), 100, 50),  # many small arrays with one rate
}


class Unreserved(workspace.Arena):
    """An arena whose every array has memory of its own."""

    def empty(self, shape, dtype=np.float64):
        array = np.empty(shape, dtype)
        self.given += array.nbytes
        return array


def one_by_one(self):
    """Each array apart, although its neighbours have the same hyperparameters."""
    runs = []
    for index, (number, place) in enumerate(self.layout.places):
        size = place.stop - place.start
        runs.append(updates.Run(index, partial(updates._part, number, place), [(index, size)], workspace.pieces(size)))
    return runs


MECHANISMS = {
    "everything on": contextlib.nullcontext,
    "updates of neighbouring arrays in one pass": lambda: mock.patch.object(VectorUpdates, "_joined", one_by_one),
    "updates in pieces that fit the cache": lambda: mock.patch.object(workspace, "PIECE", 2**40),
    "what is kept, and scratch, from large blocks": lambda: mock.patch.object(
        workspace.Arena, "empty", Unreserved.empty
    ),
    "one step computed again, to see that the loss is pure": lambda: mock.patch.object(
        purity.Replay, "is_due", lambda *_: False
    ),
}


def measure(table: str, threads: int, repeats: int) -> None:
    """One table: times without each mechanism over those with all."""
    problem = PROBLEMS[table]()
    runs = {"training": training(problem).run, "Stored()": reverse(problem, hg.Stored()).run}
    runs["Checkpointed(20)"] = reverse(problem, hg.Checkpointed(20)).run

    def without(mechanism: str, run):
        def switched():
            with MECHANISMS[mechanism]():
                return run()

        return switched

    for name, run in runs.items():
        times = interleaved({m: without(m, run) for m in MECHANISMS}, threads=threads, repeats=repeats)
        whole = times.pop("everything on")
        for mechanism, seconds in times.items():
            ratios = [one / other for one, other in zip(seconds, whole)]
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            print(
                f"| ({table}), {threads} | {name} | {mechanism} | {middle:.3f} ({low:.3f} to {high:.3f}) |", flush=True
            )
        print(f"  {name}: {1e3 * statistics.median(whole):.0f} ms", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--table", choices=PROBLEMS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.table:
        measure(args.table, args.threads, args.repeats)
        return
    print("| problem, threads | what is timed | without | time over that with everything on (quartiles) |")
    print("|---|---|---|---|")
    for threads in (1, 2):
        for table in PROBLEMS:
            command = [sys.executable, "-m", "benchmarks.ablation", "--table", table, "--threads", str(threads)]
            environment = os.environ | {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
            subprocess.run([*command, "--repeats", str(args.repeats)], check=True, env=environment)


if __name__ == "__main__":
    main()
