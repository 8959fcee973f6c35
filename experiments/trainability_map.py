"""22 November 2026: how jagged is the boundary between hyperparameters that train and those that do not?

Setting: 65,536 networks a map, 16-16-1 without biases, on 32 random points, 200 steps of gradient
descent, as Sohl-Dickstein (2024, The boundary of neural network trainability is fractal,
arXiv:2402.06184). Each map is followed by three zooms, eightfold each, into the window that holds most of
the boundary, as far as it is not decided by rounding. Above: converged or diverged, and after about how many
steps. Below: the growth rate λ of a tangent. Right: the box-counting dimension of each map's boundary.

Parts 1 to 6, learning rates of both layers: tanh, relu, identity, each full batch and minibatches of 8.
Part 7: one learning rate against the scale of the initial weights, tanh, full batch.
Part 8: part 1 without zooms at 512 × 512.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.parts.trainability_map import tiny_nets
from experiments.parts.trainability_map.box_counting import boundary
from experiments.parts.trainability_map.trainability_figure import dimensions, plot
from experiments.shared import runner
from hypergrad.runs.parallel import compute

__all__ = ["LOOK_AT", "PARTS", "Results", "numbers", "plot", "run"]
LOOK_AT = "Look whether the zooms of the boundary get simpler: a smooth curve would be a straight line in the second."
BLOCK, ZOOM = 256, 8  # runs trained at once, and the factor between a map and the next


@dataclass(frozen=True, kw_only=True)
class Config(runner.PartConfig):
    activation: str = "tanh"
    batch_size: int = 32
    by_scale: bool = False  # whether the second hyperparameter is the scale of the initial weights
    low: tuple[float, float] = (0.0, -2.0)  # natural logs of the two hyperparameters
    high: tuple[float, float] = (8.0, 6.0)
    resolution: int = 256
    zooms: int = 3
    steps: int = 200
    data: int = 32
    units: int = 16
    dtype: str = "float32"  # in the deepest zoom its rounding is like a shift by 1 % of a cell
    seeds: int = 1
    quick_every: int = 8


LEARNING_RATES = [Config(activation=name, batch_size=size) for name in ("tanh", "relu", "identity") for size in (32, 8)]
PARTS = {
    **dict(enumerate(LEARNING_RATES, 1)),
    7: Config(by_scale=True, low=(-2.0, -3.0), high=(8.0, 3.0), dtype="float64"),
    8: Config(resolution=512, zooms=0, quick_every=16),
}


class Results(NamedTuple):
    """For s seeds and z maps of n × n runs; rows follow the second hyperparameter."""

    frames: np.ndarray  # (s, z, 2, 2), the range of both hyperparameters, natural logs
    measure: np.ndarray  # (s, z, n, n), int8, tiny_nets.convergence in units of the number of steps, see packed
    growth: np.ndarray  # (s, z, n, n), int8, λ per step, see packed


def packed(values, unit: float) -> np.ndarray:
    """±127 √(|value| / unit) as int8; larger values are cut off."""
    return np.rint(127 * np.sign(values) * np.sqrt(np.minimum(np.abs(values) / unit, 1.0))).astype(np.int8)


def hyperparameters(config: Config, frame) -> np.ndarray:
    """(2, n²): natural logs of both at the centres of the cells of a map."""
    centres = (np.arange(config.resolution) + 0.5)[:: config.every] / config.resolution
    return np.reshape(np.meshgrid(*(low + (high - low) * centres for low, high in frame)), (2, -1))


def block(config: Config, seed: int, frame, number: float) -> dict:
    """So many runs of a map."""
    first, second = hyperparameters(config, frame)[:, int(number) * BLOCK :][:, :BLOCK]
    X, y, W0, W1, *tangent = tiny_nets.draw(seed, config.data, config.units, config.units, np.dtype(config.dtype))
    scale = np.exp(second if config.by_scale else 0.0 * second).astype(config.dtype)
    lrs = np.exp([first, first if config.by_scale else second])
    params = [w[..., None] * scale for w in (W0, W1)]
    runs = tiny_nets.train(config.activation, X, y, params, tangent, lrs, config.steps, config.batch_size)
    measure = packed(tiny_nets.convergence(runs.loss), config.steps)
    return {"measure": measure, "growth": packed(runs.growth, 1.0)}


def zoomed(config: Config, frame, measure, growth) -> np.ndarray:
    """The window of 1/ZOOM the side that holds most of the boundary between diverged and calm converged runs.

    Less its other converged runs: those whose tangent grew as much as it takes to make a rounding error
    as large as the parameters. What they do is decided by rounding, and any zoom into them shows noise.
    """
    n, side = len(measure), len(measure) // ZOOM
    noisy = (measure < 0) & (growth > packed(-np.log(np.finfo(config.dtype).eps) / config.steps, 1.0))
    weight = (boundary(measure > 0) & ~boundary(noisy)).astype(int) - noisy
    sums = np.pad(weight.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    held = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(np.argmax(held), held.shape)
    return np.array([low + (high - low) * np.array([i, i + side]) / n for (low, high), i in zip(frame, (column, row))])


def run(config: Config, jobs: int, cache) -> Results:
    n = -(-config.resolution // config.every)
    numbers = range(-(-(n * n) // BLOCK))
    seeds = []
    for seed in range(config.seeds):
        frame = np.array([config.low, config.high]).T
        maps = []
        for level in range(config.zooms + 1):
            folder = cache / f"seed{seed}-zoom{level}"
            blocks = compute(partial(block, config, seed, frame), numbers, n_jobs=jobs, cache=folder)
            measure, growth = (np.concatenate([b[k] for b in blocks]).reshape(n, n) for k in ("measure", "growth"))
            maps.append((frame, measure, growth))
            frame = zoomed(config, frame, measure, growth)
        seeds.append(maps)
    return Results(*(np.array([[one[i] for one in maps] for maps in seeds]) for i in range(3)))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: dimensions of seed 0's boundaries, with the errors of their fits."""
    whole, *zooms = dimensions(results.measure)[0]
    found = {"whole range": (whole.value, whole.error)}
    if zooms:
        values = [one.value for one in zooms]
        fits = [x for one in zooms for x in (one.value, one.error)]
        found["dimensions"] = [whole.value, *fits, np.mean(values), np.std(values, ddof=1)]
    return found


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
