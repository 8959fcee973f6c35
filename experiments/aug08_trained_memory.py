"""8 August 2015: is it worth training the memory of a linear recurrence, or will a fixed one do?

Diagonal linear recurrences, h_k = z ⊙ h_{k−1} + W_d x_k with z = size · e^{iθ} and the output W_o Re h_k + b. Their
memory is sizes and angles, drawn with 1 − size log-uniform in [1e-4, 1e-3] and θ log-uniform in [2π/1000, 2π], and then
kept, or learned with the weights. MNIST digits are sequences of pixels, row by row; Adam, float32.

Part 1: predict each pixel from those before it, digits of 14 × 14 pixels: fixed and trained memory of 4, 16 and 64
    units, beside the best weights that there are for the fixed one (least squares).
Part 2: the range of sizes and angles as four hyperparameters of a memory that stays fixed, by descent along the
    hypergradient of the validation loss, and by plain search with the same number of trainings; ten runs of each.
Part 3: how large must a memory be to draw a digit of 28 × 28 pixels by heart, from one impulse?

Scaled down to a few minutes a part; ``--full`` has whole images, more units, steps and trainings.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.aug08_trained_memory import memorised_digit, memory_range
from experiments.shared import descents, memory_plots, pixel_memory, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at the trained memory beside the best readout of the fixed one: below it, no training of weights comes."

WAYS = ("fixed", "trained")


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run trains ``every`` times shorter."""

    units: tuple[int, ...] = (4, 16, 64)
    steps: int = 400
    points: int = 9  # of a learning curve
    lr: float = 0.01
    side: int = 14
    images: int = 200
    unseen: int = 200
    input_scale: float = 0.1


PARTS = {
    1: Config(seeds=10, quick_every=40),
    2: memory_range.Config(seeds=10, quick_every=10),
    3: memorised_digit.Config(seeds=10, quick_every=50),
}
FULL = {
    1: Config(seeds=10, units=(4, 16, 64, 256), steps=20_000, side=28, images=5_000, unseen=2_000),
    2: memory_range.Config(seeds=10, side=28, units=64, images=2_000, validation=2_000, steps=1_000, trainings=300),
    3: memorised_digit.Config(seeds=10, units=(50, 150, 500, 1_500), steps=10_000),
}


class Results(NamedTuple):
    """Arrays of u numbers of units, s seeds, c points of a curve; errors are mean squares of grey values in [0, 1]."""

    value: np.ndarray  # (u, s, 2, c), on unseen images; fixed, then trained memory
    train: np.ndarray  # (u, s, 2), on the images trained on, at the end
    steps: np.ndarray  # (c,)
    limit: np.ndarray  # (u, s, 2), with the best weights for the fixed memory: on the training images, on unseen ones
    memory: np.ndarray  # (u, s, 2, 2, n), before and after: log −log size and angle of each unit; NaN past the last


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"steps": None}


def compare(config: Config, units: int, seed: int, cache) -> tuple:
    """Training with fixed and with learned memory, from the same start: a piece of each array of the results."""
    pairs = map(pixel_memory.to_predict, pixel_memory.pieces(seed, config.side, config.images, config.unseen))
    (X, T), (X_unseen, T_unseen) = pairs
    model = hg.nn.DiagonalRecurrence(1, units, 1, targets="reals")
    batch_loss = hg.nn.MinibatchLoss(model, X, T, pixel_memory.BATCH)
    params = model.init(seed, {"input": config.input_scale}, np.float32)
    counts, value, train = curve_steps(config), [], []
    for way in WAYS:
        saved = pixel_memory.trained(batch_loss, params, learns_memory=way == "trained", lr=config.lr, counts=counts)
        value.append([model.loss(found, X_unseen, T_unseen) for found in saved])
        train.append(model.loss(saved[-1], X, T))
    limit = pixel_memory.best_readout(params["levels"][0], X, T, (X_unseen, T_unseen))
    memory = np.full((2, 2, max(config.units)), np.nan)
    for row, found in zip(memory, (params, saved[-1])):
        row[:, :units] = [found["levels"][0][name] for name in pixel_memory.MEMORY]
    return value, train, limit, memory


def curve_steps(config: Config) -> np.ndarray:
    """After how many steps the loss is measured."""
    return np.unique(np.linspace(0, max(2, config.steps // config.every), config.points).astype(int))


def run(config: Config, jobs: int, cache) -> Results:
    value, train, limit, memory = descents.in_parallel(compare, config, config.units, jobs, cache)
    return Results(value, train, curve_steps(config), limit, memory)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes, means and 95 % t intervals over the seeds."""
    found = {}
    for units, value, limit in zip(config.units, results.value[..., -1], results.limit[..., 1]):
        fixed, trained = value.T
        rows = {"fixed": fixed, "trained": trained, "limit": limit}
        rows |= {"trained less fixed": trained - fixed, "trained less limit": trained - limit}
        found |= {f"{name}, {units}": t_interval(row) for name, row in rows.items()}
        found[f"share of fixed, {units}"] = 100.0 * trained.mean() / fixed.mean()
        found[f"seeds with trained below limit, {units}"] = np.sum(trained < limit)
        found[f"worst limit, {units}"] = limit.max()
    for n, units in enumerate(config.units):
        decay, angle = np.moveaxis(results.memory[n, :, :, :, :units], 2, 0)
        half_lives, fast = memory_plots.half_life(decay), np.abs(angle[:, 1]) > 2 * np.pi / config.side
        found[f"half lives, {units}"] = np.median(half_lives, axis=(0, 2))
        # Of units that turn more than once in a row of pixels, and of the others.
        found[f"half life, fast and slow, {units}"] = [np.median(half_lives[:, 1][rows]) for rows in (fast, ~fast)]
    # In per cent, by how much the error with trained memory fell.
    half, last = np.moveaxis(results.value[..., 1, [results.value.shape[-1] // 2, -1]], -1, 0)
    found["fall in the second half"] = 100.0 * (1.0 - last.mean(axis=1) / half.mean(axis=1))
    return found


plot = memory_plots.plot_trained

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
