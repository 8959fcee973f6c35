"""``python -m benchmarks.tangents``: forward mode in K directions by one run, beside K runs with one, on problem (a).

The learning rate of (a) is made from K shared log rates, each for a part of the steps, and the loss after training is
differentiated in K random directions of those. The derivatives are compared first. Then a run with all directions and
a run with one take turns, in a process on one core; the ratio is that of the first to K times the second, which matrix
products alone let be (2 + 2K) / 4K. Times are those of the processor, since others may work on the machine.
``--write`` puts them into ``docs/tangents.json`` and ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import time

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_jvp

import hypergrad as hg
from benchmarks.problems import Network
from benchmarks.report import DOCS, machine
from benchmarks.timing import apart, interleaved

BEGIN, END = "<!-- tangents -->", "<!-- end of tangents -->"
COUNTS = (5, 20)  # K


def measure(count: int, repeats: int, quick: bool) -> dict:
    """One row: median seconds of a run with one direction and with K; and quartiles of the ratio.

    Raises:
      SystemExit: the derivatives disagree; then nothing is timed.
    """
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
    return {
        "K": count,
        "repeats": repeats,
        **{name: float(np.median(seconds)) for name, seconds in times.items()},
        "ratio": middle,
        "low": low,
        "high": high,
        "products": (2 + 2 * count) / (4 * count),
        "difference": difference,
    }


def as_markdown(rows: list[dict]) -> str:
    """The table."""
    head = ["K", "a run with one", "a run with K", "time over that of K runs with one (quartiles)", "products alone"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        cells = [str(row["K"]), *(f"{row[name] * 1e3:,.0f} ms" for name in ("one", "all")), ratio]
        lines.append("| " + " | ".join([*cells, f"{row['products']:.3f}"]) + " |")
    return "\n".join(lines)


def write(rows: list[dict]) -> None:
    """``docs/tangents.json``, and the table between its marks in ``docs/benchmarks.md``."""
    described = machine()
    (DOCS / "tangents.json").write_text(json.dumps({"machine": described, "rows": rows}, indent=1) + "\n")
    page = DOCS / "benchmarks.md"
    before, rest = page.read_text().split(BEGIN)
    on = f"Processor time on 1 core of an {described['processor']}, in float64; {described['blas']}."
    page.write_text(f"{before}{BEGIN}\n\n{on}\n\n{as_markdown(rows)}\n\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tangents", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="put results and table into docs/")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write and args.quick:
        parser.error("--write is for full sizes")
    if args.here:
        print(json.dumps(measure(args.here, args.repeats, args.quick)))
        return
    options = ["--repeats", str(args.repeats), *["--quick"] * args.quick]
    rows = [json.loads(apart("benchmarks.tangents", "--here", str(k), *options, threads=1)) for k in COUNTS]
    print(as_markdown(rows))
    if args.write:
        write(rows)


if __name__ == "__main__":
    main()
