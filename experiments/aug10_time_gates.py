"""10 August 2015: what do gates on time add to a linear recurrence, and levels on top of each other?

A diagonal linear recurrence, h_k = z ⊙ h_{k−1} + W_d x_k with z = size · e^{iθ}, whose time runs as the input says:
t = σ(b + W_t x), z = size^t · e^{iθt}, input t ⊙ W_d x. At t = 1 it is the one without gates. MNIST digits of 14 × 14
pixels are read row by row; memory and weights are learned by Adam, in float32.

Part 1: predict each pixel from those before it, without gates, with them, with gates without bias; with 1, 2 and 3
    levels, with and without a skip path past each level; and with one level of three times the units.
Part 2: read the upper half of a digit, and draw the lower half. What lies between two digits: the mean of the inputs,
    or of the states? And what is drawn for a digit that was left out in training?

Scaled down to a few minutes a part; ``--full`` has whole images, more units, images and steps.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.aug10_time_gates import digit_completion, gate_plots
from experiments.shared import descents, pixel_memory, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at 3 levels with and without the skip path, and at one level of three times the units."


class Way(NamedTuple):
    """A model.

    Attributes:
      levels: recurrences on top of each other.
      gate: as in :func:`pixel_memory.read`.
      skip: a level adds to what it reads, instead of replacing it.
      wider: times as many units.
    """

    levels: int = 1
    gate: str = "input"
    skip: bool = False
    wider: int = 1


WAYS = {
    "no gates": Way(gate="one"),
    "gates without bias": Way(gate="no bias"),
    "gates": Way(),
    "2 levels": Way(2),
    "2 levels, skip": Way(2, skip=True),
    "3 levels": Way(3),
    "3 levels, skip": Way(3, skip=True),
    "3 times the units": Way(wider=3),
}


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run trains ``every`` times shorter. All models have the same learning rate of Adam."""

    units: int = 16
    steps: int = 160
    lr: float = 0.03
    side: int = 14
    images: int = 200
    unseen: int = 200
    input_scale: float = 0.1


PARTS = {1: Config(seeds=10, quick_every=80), 2: digit_completion.Config(seeds=10, quick_every=100)}
FULL = {
    1: Config(seeds=10, units=100, steps=10_000, side=28, images=5_000, lr=0.01, unseen=2_000),
    2: digit_completion.Config(seeds=10, units=500, steps=10_000, side=28, images=4_000),
}


class Results(NamedTuple):
    """Arrays of w ways, s seeds; errors are mean squares of grey values in [0, 1]."""

    value: np.ndarray  # (w, s), on unseen images
    train: np.ndarray  # (w, s), on the images trained on
    time: np.ndarray  # (w, s, 3), quartiles of t of the lowest level on unseen images; 1 without gates


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def compare(config: Config, name: str, seed: int, cache) -> tuple:
    """One model, trained: a piece of each array of the results."""
    way = WAYS[name]
    pieces = pixel_memory.pieces(seed, config.side, config.images, config.unseen)
    (X, T), unseen = map(pixel_memory.to_predict, pieces)
    gated, units = way.gate != "one", config.units * way.wider
    model = hg.nn.DiagonalRecurrence(1, units, 1, gated=gated, levels=way.levels, targets="reals")
    params = model.init(seed, {"input": config.input_scale}, np.float32)

    def loss(params, X, T):
        return anp.mean((pixel_memory.read(params, X, skip=way.skip, gate=way.gate)[0] - T) ** 2)

    def batch_loss(params, hyper, step):
        first = step * pixel_memory.BATCH % len(X)
        rows = slice(first, first + pixel_memory.BATCH)
        return loss(params, X[rows], T[rows])

    steps = max(2, config.steps // config.every)
    found = hg.train(batch_loss, params, hg.Adam(config.lr), steps=steps)
    time = pixel_memory.times(found, unseen[0], way.gate) if gated else np.ones(1)
    return loss(found, *unseen), loss(found, X, T), np.quantile(time, (0.25, 0.5, 0.75))


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(compare, config, tuple(WAYS), jobs, cache))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes, means and 95 % t intervals over the seeds."""
    by_name = dict(zip(WAYS, results.value))
    found = {name: t_interval(values) for name, values in by_name.items()}
    found |= {f"train, {name}": t_interval(values) for name, values in zip(WAYS, results.train)}
    for one, other in PAIRS:
        found[f"{one} less {other}"] = t_interval(by_name[one] - by_name[other])
    found |= {f"time, {name}": row.mean(axis=0) for name, row in zip(WAYS, results.time)}
    return found


PAIRS = (  # compared in the log, seed by seed
    ("gates", "no gates"),
    ("gates without bias", "gates"),
    ("2 levels", "gates"),
    ("3 levels", "gates"),
    ("2 levels, skip", "2 levels"),
    ("3 levels, skip", "3 levels"),
    ("3 levels", "2 levels"),
    ("3 levels, skip", "2 levels, skip"),
    ("3 times the units", "gates"),
    ("3 levels, skip", "gates"),
    ("3 levels, skip", "3 times the units"),
    ("2 levels, skip", "3 times the units"),
)


def plot(results, config):
    """Errors of all models, and how fast their time runs."""
    return gate_plots.plot_gates(results, config, tuple(WAYS))


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
