"""How large must a memory be to draw a digit by heart?

An impulse at the first position sets the oscillators of a diagonal recurrence going; after that nothing comes in, and
the output at each position is to be a pixel of one image, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import descents, memory_plots, pixel_memory
from experiments.shared.intervals import t_interval
from experiments.shared.runner import PartConfig, seeds_in_words
from hypergrad.style import in_style

WAYS = ("fixed", "trained")  # with the best weights there are, by least squares; memory and weights learned
LABELS = ("fixed memory, best weights", "trained memory and weights")


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A quick run trains ``every`` times shorter, on the smallest memories."""

    units: tuple[int, ...] = (50, 150, 500)
    steps: int = 300
    lr: float = 0.01
    side: int = 28

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.units if self.every == 1 else self.units[:2]


class Results(NamedTuple):
    """Arrays of u numbers of units, s seeds, p pixels; each seed has an image of its own."""

    value: np.ndarray  # (u, s, 2), mean squared errors, of WAYS
    drawn: np.ndarray  # (u, s, 2, p), what is drawn, float32
    image: np.ndarray  # (s, p)
    angle: np.ndarray  # (u, s, 2, n), before and after training; NaN past the last unit


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"image": 0}


def draw(config: Config, units: int, seed: int, cache) -> tuple:
    """One image drawn by a fixed memory and by a learned one: a piece of each array of the results."""
    (image,) = pixel_memory.pieces(seed, config.side, 1)
    X = np.zeros((1, config.side**2, 1), np.float32)
    X[0, 0] = 1.0
    T = image[..., None].astype(np.float32)
    model = hg.nn.DiagonalRecurrence(1, units, 1, targets="reals")
    params = model.init(seed, dtype=np.float32)
    (learned,) = pixel_memory.trained(
        hg.nn.MinibatchLoss(model, X, T),
        params,
        learns_memory=True,
        lr=config.lr,
        counts=[max(2, config.steps // config.every)],
    )
    (fixed,), trained = pixel_memory.best_drawing(params["levels"][0], X, T), model.logits(learned, X)
    drawn = np.array([fixed[0, :, 0], trained[0, :, 0]])
    angle = np.full((2, max(config.units)), np.nan)
    angle[:, :units] = [each["levels"][0]["angle"] for each in (params, learned)]
    return np.mean((drawn - image) ** 2, axis=-1), drawn, image[0], angle


def run(config: Config, jobs: int, cache) -> Results:
    value, drawn, image, angle = descents.in_parallel(draw, config, config.sizes, jobs, cache)
    return Results(value, drawn.astype(np.float32), image[0], angle)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: errors as percentages of the variance of the image, means and t intervals over seeds."""
    share = 100.0 * results.value / results.image.var(axis=-1)[:, None]
    found = {}
    for units, rows in zip(config.sizes, share):
        fixed, trained = rows.T
        found |= {f"fixed, {units}": t_interval(fixed), f"trained, {units}": t_interval(trained)}
        found[f"trained less fixed, {units}"] = t_interval(trained - fixed)
    return found


@in_style
def plot(results, config, plt):
    """What was drawn for seed 0 with each memory, and the errors of all seeds by the number of units."""
    columns = len(config.sizes) + 1
    figure = plt.figure(figsize=(2.0 * columns + 5.5, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, columns + 4)
    pictures = [(0, 0, results.image[0], "the digit")]
    for n, units in enumerate(config.sizes):
        pictures += [(row, n + 1, results.drawn[n, 0, row], f"{units} units, {WAYS[row]}") for row in range(2)]
    for row, column, pixels, words in pictures:
        axis = figure.add_subplot(grid[row, column])
        axis.imshow(pixels.reshape(config.side, -1), cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
        axis.set_title(words, fontsize="small")
        axis.set_axis_off()
    axis = figure.add_subplot(grid[:, columns:])
    share = 100.0 * results.value / results.image.var(axis=-1)[:, None]
    for way, (words, marker) in enumerate(zip(LABELS, "os")):
        for n, errors in enumerate(share[:, :, way]):
            memory_plots.scatter_with_mean(
                axis, n + 0.4 * (way - 0.5), errors, memory_plots.COLOURS[way], marker, words if n == 0 else None
            )
    axis.set(yscale="log", xlabel="units", ylabel="mean squared error\n(% of the variance of the image)")
    axis.set_xticks(range(len(config.sizes)), map(str, config.sizes))
    axis.set_title("points: a digit for each seed; mean and 95 % interval", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"A digit of {config.side} × {config.side} pixels drawn by heart, {config.steps} steps of Adam, "
        f"{seeds_in_words(len(results.image))}; pictures of seed 0",
        fontsize="medium",
    )
    return figure
