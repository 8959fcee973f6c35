"""``python -m benchmarks.edge``: how well the edge is found, and single derivatives are judged.

The reference is a dense sweep of every setting, 1,000 values, cached below ``benchmarks/.cache``;
that of January 14, part 2, is checked in. ``found`` is a
real run of ``locate_edge``. For ``shifted`` and for the verdicts of ``trust`` the dense sweep is played
back: 20 searches that begin at 20 different values, and the report at every fifth value, for the
initialisation that its rule was chosen on (seed 0) and for another.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import sweeps
from experiments.shared.results import FIGURES, load
from hypergrad.probe.edge import WIDTH

CACHE = Path(__file__).parent / ".cache" / "edge"


@dataclass(frozen=True)
class Setting:
    """A loss after training as a function of one number, ``varied``: "lr" or "scale", in logarithms."""

    low: float
    high: float
    sizes: tuple[int, ...]
    images: int = 500
    batch_size: int = 125
    steps: int = 50
    momentum: float = 0.9
    activation: str = "tanh"
    log_lr: float = 0.0
    log_scale: float = -2.0
    varied: str = "lr"

    def function(self, seed: int = 0):
        """The training loss on all images after training, of one number."""
        ((X, T),) = hg.data.load_mnist(self.images)
        model = hg.nn.MLP(self.sizes, self.activation)
        batch_loss = hg.nn.MinibatchLoss(model, X, T, self.batch_size)

        def f(x):
            log_lr, log_scale = (x, self.log_scale) if self.varied == "lr" else (self.log_lr, x)
            params = hg.init.scaled_normal(model.shapes, anp.exp(log_scale), seed)
            optimizer = hg.SGD(anp.exp(log_lr), self.momentum)
            return model.loss(hg.train(batch_loss, params, optimizer, steps=self.steps), X, T)

        return f


SETTINGS = {
    "jan14 part 2": Setting(0.5, 2.5, (784, 200, 50, 10), 1_000, 250),
    "one hidden layer": Setting(0.5, 3.0, (784, 50, 10)),
    "momentum 0.5": Setting(-0.5, 1.5, (784, 50, 50, 10), momentum=0.5),
    "200 images": Setting(0.5, 3.0, (784, 100, 50, 10), 200, 50),
    "parameter scale": Setting(-2.5, 0.5, (784, 50, 50, 10), varied="scale"),
    "relu": Setting(-0.5, 2.5, (784, 50, 10), activation="relu", log_scale=-3.0),
    "no edge": Setting(-3.0, 0.0, (784, 50, 10)),
    "chaotic throughout": Setting(2.8, 4.0, (784, 50, 10)),
}
WITH_CLEAR_EDGE = set(SETTINGS) - {"relu", "no edge", "chaotic throughout"}


def dense(name: str, jobs: int = 1, seed: int = 0) -> hg.probe.Sweep:
    """The dense sweep of a setting, 1,000 values; its points are cached."""
    if name == "jan14 part 2" and seed == 0:
        _, results = load(jan14, FIGURES / "jan14_lr_wiggliness", 2)
        sweep = results.sweeps()[0]
        return hg.probe.Sweep(sweep.values, sweep.loss[:, 0], sweep.gradient[:, 0], sweep.diverged_at)
    setting = SETTINGS[name]
    values = np.linspace(setting.low, setting.high, 1_000)
    folder = CACHE / f"{name.replace(' ', '_')}_{seed}"
    return hg.probe.sweep(setting.function(seed), values, n_jobs=jobs, cache=folder)


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
        held.append(near[-1] if np.isnan(part.edge) else edge.bracket[0] <= part.edge <= edge.bracket[1])
    return float(np.mean(near)), float(np.mean(held))


def agrees(edge: hg.probe.Edge, sweep: hg.probe.Sweep) -> bool:
    """Whether an edge is within 0.05 of that of the dense sweep, or says as it does that there is none."""
    if np.isnan(sweep.edge):
        return edge.status == "no edge"
    if edge.status == "chaotic throughout":
        return bool(sweep.edge <= sweep.values[0] + 0.15)
    return bool(abs(edge.location - sweep.edge) <= 0.05)


def flagged(sweep: hg.probe.Sweep, every: int = 5) -> tuple[list, list, list]:
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


def share(flags: list) -> str:
    return f"{100 * np.mean(flags):.1f} % of {len(flags)}" if flags else "–"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes for the dense sweeps")
    args = parser.parse_args()
    print("| setting | range | dense | found | error | bracket | runs | shifted: within 0.05 | bracket holds it |")
    print("|---|---|---|---|---|---|---|---|---|")
    sweeps = {name: dense(name, args.jobs) for name in args.settings}
    for name, sweep in sweeps.items():
        setting = SETTINGS[name]
        edge = hg.probe.locate_edge(setting.function(), setting.low, setting.high)
        near, held = shifted(sweep)
        found = f"{edge.location:.3f}" if edge.status == "edge" else edge.status
        error = f"{edge.location - sweep.edge:+.3f}" if edge.status == "edge" else "–"
        reference = "none" if np.isnan(sweep.edge) else f"{sweep.edge:.3f}"
        bracket = f"{edge.bracket[0]:.2f} … {edge.bracket[1]:.2f}"
        print(
            f"| {name} | {setting.low:g} … {setting.high:g} | {reference} | {found} | {error} | {bracket} "
            f"| {edge.evaluations} | {100 * near:.0f} % | {100 * held:.0f} % |",
            flush=True,
        )
    columns = ["before its window", "in its window", "past the edge"]
    print(f"\n| flagged | {' | '.join(columns)} | other seed: {' | '.join(columns)} |")
    print(f"|{7 * '---|'}")
    totals: list[list] = [[] for _ in 2 * columns]
    for name, sweep in sweeps.items():
        flags = [*flagged(sweep), *flagged(dense(name, args.jobs, seed=1))]
        if name in WITH_CLEAR_EDGE:
            for total, part in zip(totals, flags):
                total += part
        print(f"| {name} | {' | '.join(map(share, flags))} |", flush=True)
    print(f"| those with a clear edge | {' | '.join(map(share, totals))} |")


if __name__ == "__main__":
    main()
