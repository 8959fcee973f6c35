"""``python -m benchmarks.memory``: peak memory of one hypergradient against the number of steps, by adjoint.

Every point is the peak resident memory of a process of its own, less what it held when data and
parameters were loaded. Writes ``docs/memory.json`` and ``docs/memory.png``; takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from autograd import grad, make_jvp

import hypergrad as hg
from benchmarks.problems import Network
from benchmarks.timing import peak_memory
from hypergrad.compiled import plain_numpy

DOCS = Path(__file__).parent.parent / "docs"
ADJOINTS = {
    "Stored()": (hg.Stored(), False, (10, 30, 100, 300, 1_000)),
    "Checkpointed(20)": (hg.Checkpointed(20), False, (10, 30, 100, 300, 1_000, 3_000)),
    "Reversible()": (hg.Reversible(), True, (10, 30, 100, 300, 1_000, 3_000, 10_000)),
    "forward mode": (None, False, (10, 100, 1_000)),
}


@plain_numpy()  # the memory of a compiler is not that of the derivative
def measure(name: str, steps: int) -> dict:
    """Peak bytes of one derivative in this process, beyond what it holds before."""
    problem = Network((784, 200, 50, 10), steps, 250, log_lr=-1.0)
    adjoint, exact, _ = ADJOINTS[name]
    problem.model.loss(problem.params, problem.X, problem.T)
    objective = problem.final_loss(adjoint, exact=exact)

    before, start = peak_memory(), time.perf_counter()
    if adjoint is None:
        value = make_jvp(objective)(problem.hypers)((1.0,))[1]
    else:
        (value,) = grad(objective)(problem.hypers)
    return {
        "adjoint": name,
        "steps": steps,
        "bytes": peak_memory() - before,
        "seconds": round(time.perf_counter() - start, 2),
        "derivative": float(value),
    }


def measure_apart(name: str, steps: int) -> dict:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", name, str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def plot(rows: list[dict]):
    """Peak memory against steps for every adjoint."""
    import matplotlib.pyplot as plt

    from hypergrad.style import STYLE

    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
        for (name, marker), colour in zip(
            (("Stored()", "o"), ("Checkpointed(20)", "s"), ("Reversible()", "^"), ("forward mode", "x")),
            ("#d95f02", "#7570b3", "#1b9e77", "#444444"),
        ):
            points = [(row["steps"], row["bytes"] / 1e6) for row in rows if row["adjoint"] == name]
            steps, megabytes = zip(*points)
            axis.loglog(steps, megabytes, marker=marker, color=colour, label=name)
            if name == "Stored()":
                rate = megabytes[-1] / steps[-1]
                axis.loglog([steps[-1], 10_000], [megabytes[-1], rate * 10_000], "--", color=colour)
                axis.annotate("extrapolated", (2_300, rate * 3_600), color=colour, ha="right", fontsize="small")
        axis.set_xlabel("training steps")
        axis.set_ylabel("peak memory of one hypergradient (MB)")
        axis.set_title("784-200-50-10 on MNIST, 167,760 parameters, float64", fontsize="medium")
        axis.legend(frameon=False)
    return figure


def measure_all(quick: bool = False) -> list[dict]:
    """Every point, printed as it comes; ``quick`` is for tests."""
    rows = []
    for name, (_, _, counts) in ADJOINTS.items():
        for steps in (2,) if quick else counts:
            rows.append(measure_apart(name, steps))
            print(
                f"{name:<18} {steps:>6} steps {rows[-1]['bytes'] / 1e6:9.1f} MB {rows[-1]['seconds']:8.1f} s",
                flush=True,
            )
    return rows


def write(rows: list[dict]) -> None:
    """Results and figure into ``docs/``."""
    (DOCS / "memory.json").write_text(json.dumps(rows, indent=1) + "\n")
    plot(rows).savefig(DOCS / "memory.png", metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("ADJOINT", "STEPS"), help="measure one point in this process")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]))))
    else:
        write(measure_all())


if __name__ == "__main__":
    main()
