"""``python -m benchmarks.edge``: how well the edge is found, and single derivatives are judged.

The reference are the dense sweeps of January 14, part 2, of 1,000 values, which are checked in for ten
initialisations. ``found`` is a real run of ``locate_edge`` for the first, and one on the recorded sweep for the others.
For ``shifted`` and for the verdicts of ``trust`` the sweep is played back: 20 searches that begin at 20 different
values, and the report at every fifth value: for the initialisation that its rule was chosen on (seed 0), the one that
it was looked at again with (1), and others. A relu net, where the search fails, has a sweep of ``RELU_VALUES``
values, cached below ``benchmarks/.cache``.

``--write`` puts what is measured into ``docs/edge.json`` and the tables into ``docs/chaos.md``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from benchmarks import report
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import sweeps
from experiments.shared.results import FIGURES, load
from hypergrad.probe.edge import WIDTH, compare, first_failure

CACHE = Path(__file__).parent / ".cache" / "edge"
DOCS = Path(__file__).parent.parent / "docs"
EVERY = 5  # so-manieth value of a dense sweep, at which `trust` is asked
RELU_VALUES = 320  # no more than 0.01 apart, as it takes to place an edge


@dataclass(frozen=True)
class Setting:
    """A loss after training as a function of the log learning rate."""

    low: float
    high: float
    sizes: tuple[int, ...]
    images: int = 500
    batch_size: int = 125
    steps: int = 50
    momentum: float = 0.9
    activation: str = "tanh"
    log_scale: float = -2.0

    def function(self, seed: int = 0):
        """The training loss on all images after training, of the log learning rate."""
        ((X, T),) = hg.data.load_mnist(self.images)
        model = hg.nn.MLP(self.sizes, self.activation)
        batch_loss = hg.nn.MinibatchLoss(model, X, T, self.batch_size)

        def f(log_lr):
            params = hg.init.scaled_normal(model.shapes, np.exp(self.log_scale), seed)
            optimizer = hg.SGD(anp.exp(log_lr), self.momentum)
            return model.loss(hg.train(batch_loss, params, optimizer, steps=self.steps), X, T)

        return f


JAN14 = Setting(0.5, 2.5, (784, 200, 50, 10), 1_000, 250)
RELU = Setting(-0.5, 2.5, (784, 50, 10), activation="relu", log_scale=-3.0)


def dense(seed: int = 0) -> hg.probe.Sweep:
    """The checked-in sweep of January 14, part 2."""
    _, results = load(jan14, FIGURES / "jan14_lr_wiggliness", 2)
    sweep = results.sweeps()[seed]
    return hg.probe.Sweep(sweep.values, sweep.loss[:, 0], sweep.gradient[:, 0], sweep.diverged_at)


def of_relu(jobs: int = 1) -> hg.probe.Sweep:
    """The sweep of the relu net; its points are cached."""
    values = np.linspace(RELU.low, RELU.high, RELU_VALUES)
    return hg.probe.sweep(RELU.function(), values, n_jobs=jobs, cache=CACHE / "relu_0")


def played_back(sweep: hg.probe.Sweep):
    """The function a sweep was made of, at its own values."""
    return sweeps.played_back(sweep.values, sweep.loss, sweep.gradient)


def shifted(sweep: hg.probe.Sweep, searches: int = 20) -> tuple[float, float]:
    """Shares of searches from shifted starts that come within 0.05 of the reference, and whose bracket holds it."""
    near, held = [], []
    for first in range(0, 2 * searches, 2):
        part = hg.probe.Sweep(*(getattr(sweep, name)[first:] for name in ("values", "loss", "gradient", "diverged_at")))
        edge = hg.probe.locate_edge(played_back(sweep), part.values[0], part.values[-1], values=len(part.values))
        near.append(agrees(edge, part))
        held.append(edge.bracket[0] <= part.edge <= edge.bracket[1])
    return float(np.mean(near)), float(np.mean(held))


def agrees(edge: hg.probe.Edge, sweep: hg.probe.Sweep) -> bool:
    """Whether an edge is within 0.05 of that of the dense sweep."""
    return bool(abs(edge.location - sweep.edge) <= 0.05)


def flagged(sweep: hg.probe.Sweep, every: int = EVERY) -> tuple[list, list, list]:
    """Whether ``trust`` flags the derivative: before the window that first fails, in it, and past the edge.

    The edge is the right end of that window, so what makes it fail lies in it.
    """
    spacing, f = sweep.values[1] - sweep.values[0], played_back(sweep)
    before, within, past = [], [], []
    for value in sweep.values[64:-64:every]:  # its largest distance is 64 spacings
        report = hg.chaos.trust(f, float(value), distance=float(spacing))
        place = past if value >= sweep.edge else within if value >= sweep.edge - WIDTH else before
        place.append(report.nearby != "trust")
    return before, within, past


def located(seed: int) -> dict:
    """How a search on a seed of January 14, part 2, ends, and what 20 others on its dense sweep come to."""
    sweep = dense(seed)
    f = JAN14.function() if seed == 0 else played_back(sweep)
    edge = hg.probe.locate_edge(f, JAN14.low, JAN14.high)
    near, held = shifted(sweep)
    return {
        "seed": seed,
        "dense": float(sweep.edge),
        "found": edge.location,
        "bracket": list(edge.bracket),
        "runs": edge.evaluations,
        "near": near,
        "held": held,
    }


def relu_windows(sweep: hg.probe.Sweep) -> dict:
    """Where the rule puts the edge of the relu net with other windows and tolerances, and where the search puts it."""
    found = {}
    for width, tolerance in ((0.1, 0.05), (0.2, 0.05), (0.4, 0.05), (0.2, 0.1)):
        windows = compare(sweep.values, sweep.loss, sweep.gradient, width, tolerance)
        place = np.append(sweep.values[windows.ends], np.nan)[first_failure(windows)]
        found[f"width {width:g}, tolerance {tolerance:g}"] = float(place)
    calm = sweep.values < 0.0
    trapezoids = np.diff(sweep.values) * (sweep.gradient[1:] + sweep.gradient[:-1]) / 2.0
    missed = np.cumsum(trapezoids - np.diff(sweep.loss))[calm[1:]][-1] / np.sum(np.abs(trapezoids[calm[1:]]))
    edge = hg.probe.locate_edge(RELU.function(), RELU.low, RELU.high)
    return {"rule": found, "missed below 0": float(missed), "found": edge.location, "bracket": list(edge.bracket)}


def judged(seed: int) -> dict:
    """How many derivatives of a checked-in sweep ``trust`` flags, and of how many, by where they lie.

    And at which distances from the edge are those that it flags before the window, and those past it that it misses.
    """
    sweep = dense(seed)
    flags, values = flagged(sweep), sweep.values[64:-64:EVERY]
    before, _, past = np.split(values, np.cumsum([len(part) for part in flags])[:-1])
    return {
        "seed": seed,
        "flagged": [sum(part) for part in flags],
        "of": [len(part) for part in flags],
        "flagged before": [float(sweep.edge - x) for x, flag in zip(before, flags[0]) if flag],
        "missed past": [float(x - sweep.edge) for x, flag in zip(past, flags[2]) if not flag],
    }


def located_as_markdown(rows: list[dict]) -> str:
    words = "seed", "dense", "found", "error", "bracket", "runs", "shifted: within 0.05", "bracket holds it"
    lines = [f"| {' | '.join(words)} |", f"|{len(words) * '---|'}"]
    for row in rows:
        low, high = row["bracket"]
        error, near, held = row["found"] - row["dense"], 100 * row["near"], 100 * row["held"]
        lines.append(
            f"| {row['seed']} | {row['dense']:.3f} | {row['found']:.3f} | {error:+.3f} | {low:.2f} … {high:.2f} "
            f"| {row['runs']} | {near:.0f} % | {held:.0f} % |"
        )
    return "\n".join(lines)


def judged_as_markdown(rows: list[dict]) -> str:
    lines = ["| flagged | before its window | in its window | past the edge |", f"|{4 * '---|'}"]
    for row in rows:
        shares = (f"{100 * hits / of:.1f} % of {of}" for hits, of in zip(row["flagged"], row["of"]))
        lines.append(f"| seed {row['seed']} | {' | '.join(shares)} |")
    return "\n".join(lines)


def write(measured: dict) -> None:
    """The file, and both tables of the page."""
    (DOCS / "edge.json").write_text(json.dumps(measured, indent=1) + "\n")
    page = DOCS / "chaos.md"
    report.between(page, "<!-- located -->", "<!-- end of located -->", located_as_markdown(measured["located"]))
    report.between(page, "<!-- judged -->", "<!-- end of judged -->", judged_as_markdown(measured["judged"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1, help="worker processes for the sweep of the relu net")
    parser.add_argument("--write", action="store_true", help="into docs/edge.json and docs/chaos.md")
    args = parser.parse_args()
    seeds = range(load(jan14, FIGURES / "jan14_lr_wiggliness", 2)[0].seeds)
    measured = {
        "located": list(map(located, seeds)),
        "judged": list(map(judged, seeds)),
        "relu": relu_windows(of_relu(args.jobs)),
    }
    print(located_as_markdown(measured["located"]), judged_as_markdown(measured["judged"]), sep="\n\n")
    print(json.dumps(measured["relu"], indent=1))
    if args.write:
        write(measured)


if __name__ == "__main__":
    main()
