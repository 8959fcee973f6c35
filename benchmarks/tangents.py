"""``python -m benchmarks.tangents``: forward mode in K directions by one run, beside K runs with one, on problem (a).

The learning rate of (a) is made from K shared log rates, each for a part of the steps, and the loss after training is
differentiated in K random directions of those. The derivatives are compared first. Then a run with all directions and
a run with one take turns, in a process on one core; the ratio is that of the first to K times the second, which matrix
products alone let be (2 + 2K) / 4K. Times are those of the processor, since others may work on the machine.
``--write`` puts them into ``docs/tangents.json`` and ``docs/benchmarks.md``.
"""

from __future__ import annotations

import time

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_jvp

import hypergrad as hg
from benchmarks import one_table
from benchmarks.problems import Network
from benchmarks.timing import interleaved

COUNTS = (5, 20)  # K


def measure(part: str, quick: bool, repeats: int) -> list[dict]:
    """One row: median seconds of a run with one direction and with K; and quartiles of the ratio.

    Raises:
      SystemExit: the derivatives disagree; then nothing is timed.
    """
    count = int(part)
    problem = Network((784, 20, 10), 20, 50) if quick else Network((784, 200, 50, 10), 50, 250)

    def f(log_lrs):
        lr = anp.exp(hg.schedules.binned(log_lrs, problem.steps))
        trained = hg.train(problem.loss, problem.params, hg.SGD(lr, 0.9), steps=problem.steps, adjoint=hg.Stored())
        return problem.value(trained)

    log_lrs, directions = np.zeros(count), np.random.default_rng(0).standard_normal((count, count))
    found = hg.forward_tangents(f, log_lrs, directions).derivatives
    difference = np.linalg.norm(found - directions @ grad(f)(log_lrs)) / np.linalg.norm(found)
    if not difference < 1e-9:
        raise SystemExit(f"forward mode in {count} directions differs from reverse mode by {difference:.1e}: not timed")
    runs = {
        "one": lambda: make_jvp(f)(log_lrs)(directions[0]),
        "all": lambda: hg.forward_tangents(f, log_lrs, directions),
    }
    times = interleaved(runs, threads=1, repeats=repeats, clock=time.process_time)
    ratios = [whole / (count * one) for whole, one in zip(times["all"], times["one"])]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    row = {
        "K": count,
        "repeats": repeats,
        **{name: float(np.median(seconds)) for name, seconds in times.items()},
        "ratio": middle,
        "low": low,
        "high": high,
        "products": (2 + 2 * count) / (4 * count),
        "difference": difference,
    }
    return [row]


def as_markdown(rows: list[dict]) -> str:
    """The table."""
    head = ["K", "a run with one", "a run with K", "time over that of K runs with one (quartiles)", "products alone"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        cells = [str(row["K"]), *(f"{row[name] * 1e3:,.0f} ms" for name in ("one", "all")), ratio]
        lines.append("| " + " | ".join([*cells, f"{row['products']:.3f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    one_table.main(
        "tangents",
        __doc__,
        measure,
        as_markdown,
        repeats=7,
        parts=[str(count) for count in COUNTS],
        introduction="Processor time on 1 core of an {processor}, in float64; {blas}.",
    )
