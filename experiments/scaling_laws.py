"""26 November 2026: what do size, data and compute each buy, and does tuning the learning rate change the exponent?

Setting: MNIST images averaged to 14 × 14, 50,000 to train on, 10,000 for validation, 10,000 for the test loss, in
nats. FLOPs are those of the matrix products of loss and gradient, counted. A law is L = E + A x^−α, with bootstrap
intervals (`hg.fit.power_law`).

Part 1: L(N), L(D) and L(C) of convolutional networks: widths 2, 4, 8, 16, depths 1, 2, 3, from 6,250 to 50,000 images,
    ten seeds.
Part 2: fixed compute C = k N D e: MLPs of widths 3 to 64, with as many epochs e of the D images as C allows, ten
    seeds. The best N(C) and D(C), and their exponents against b/(a+b) and a/(a+b), which the law
    E + A N^−a + B (D e)^−b implies.
Part 3: L(N) of MLPs with one fixed learning rate, and with learning rates tuned for each width, by hypergradient and by
    plain search with as many trainings, ten runs of each tuning.

Scaled down to a few minutes of one core from widths of 8 to 128 and images of 28 × 28: each image is seen once in part
1, minibatches have 125 images and not 512, and parts 2 and 3 have MLPs in place of the convolutional networks.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.scaling_laws import image_nets, iso_compute, tuned_laws
from experiments.shared import flops, runner
from experiments.shared.fitted_laws import curve, envelope, estimate, rows_of
from experiments.shared.ticks import label_some
from hypergrad.style import BLUE, GREEN, PURPLE, VERMILION, in_style

LOOK_AT = "Look at how far the points scatter around each law, and at the intervals of its exponent."


@dataclass(frozen=True, kw_only=True)
class Config(image_nets.Config):
    """A quick run has ``every`` times fewer images, to train on and to test."""

    convolutional: bool = True
    lr: float = 0.3
    batch_size: int = 125
    widths: tuple[int, ...] = (2, 4, 8, 16)
    depths: tuple[int, ...] = (1, 2, 3)
    images: tuple[int, ...] = (6_250, 12_500, 25_000, 50_000)
    epochs: int = 1
    bootstraps: int = 200
    quick_every: int = 16

    def counts(self) -> tuple[int, ...]:
        """Numbers of training images."""
        return tuple(count // self.every for count in self.images)


PARTS = {1: Config(seeds=10), 2: iso_compute.Config(seeds=10), 3: tuned_laws.Config(seeds=10)}
_CONVOLUTIONAL = {"convolutional": True, "lr": 0.5, "batch_size": 512, "pooled": 1}
FULL = {
    1: Config(**_CONVOLUTIONAL, widths=(8, 16, 32, 64, 128), epochs=10, seeds=2),
    2: iso_compute.Config(
        **_CONVOLUTIONAL,
        depth=2,
        widths=(16, 19, 23, 27, 32, 38, 45, 54, 64),
        budgets=tuple(10.0**power for power in (11.5, 12.0, 12.5, 13.0, 13.5)),
    ),
    3: tuned_laws.Config(**_CONVOLUTIONAL, depth=2, widths=(8, 16, 32, 64, 128), images=50_000, steps=1_000),
}


class Results(NamedTuple):
    """For w widths, d depths, n numbers of images, s seeds, and b bootstrap samples after the fit itself."""

    value: np.ndarray  # (w, d, n, s), test loss, nats
    error: np.ndarray  # (w, d, n, s), on the test images
    parameters: np.ndarray  # (w, d), N
    images: np.ndarray  # (n,), D
    compute: np.ndarray  # (w, d, n), C, FLOPs of the training
    by_size: np.ndarray  # (d, 1 + b, 3), E, A and α of L(N) with the most images, for each depth
    by_images: np.ndarray  # (d, 1 + b, 3), of L(D) for the widest network of each depth
    by_compute: np.ndarray  # (1 + b, 3), of L(C), for what no cheaper training does better
    efficient: np.ndarray  # (w, d, n), which trainings those are


SEED_AXIS = {"value": 3, "error": 3, "parameters": None, "images": None, "compute": None}


def trial(config: Config, point: dict, seed: int) -> dict:
    model = image_nets.model_of(config, point["width"], point["depth"])
    steps = config.epochs * -(-point["images"] // config.batch_size)
    loss, error = image_nets.outcome(config, model, point["images"], steps, seed)
    return {"loss": loss, "error": error}


def run(config: Config, jobs: int, cache) -> Results:
    grid = {"width": config.widths, "depth": config.depths, "images": config.counts()}
    found = hg.runs.trials(grid, partial(trial, config), seeds=config.numbered, n_jobs=jobs, cache=cache)
    models = [[image_nets.model_of(config, width, depth) for depth in config.depths] for width in grid["width"]]
    parameters = np.array([[flops.parameters(model) for model in row] for row in models])
    images = np.array(grid["images"])
    per_image = np.array([[flops.training(model) for model in row] for row in models], dtype=float)
    compute = per_image[..., None] * images * config.epochs
    fits = [np.empty(0)] * 4
    return completed(Results(found.array("loss"), found.array("error"), parameters, images, compute, *fits), config)


def completed(results: Results, config: Config) -> Results:
    """With the laws of all seeds."""
    loss = results.value

    def law(x, y):
        x, there = np.broadcast_to(np.asarray(x, float)[:, None], y.shape), np.isfinite(y)
        return rows_of(x[there], y[there], config.bootstraps // config.every)

    efficient = envelope(results.compute, loss.mean(axis=-1)).reshape(results.compute.shape)
    depths = range(len(config.depths))
    return results._replace(
        by_size=np.array([law(results.parameters[:, d], loss[:, d, -1]) for d in depths]),
        by_images=np.array([law(results.images, loss[-1, d]) for d in depths]),
        by_compute=law(results.compute[efficient], loss[efficient]),
        efficient=efficient,
    )


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: exponents with 95 % bootstrap intervals, and what they were fitted to."""
    found = {}
    for d, depth in enumerate(config.depths):
        found[f"exponent of N, depth {depth}"] = estimate(results.by_size[d])
        found[f"floor over N, depth {depth}"] = estimate(results.by_size[d], 0)
        found[f"exponent of D, depth {depth}"] = estimate(results.by_images[d])
        found[f"widest, most images, depth {depth}"] = results.value[-1, d, -1].mean()
        found[f"error in %, widest, most images, depth {depth}"] = 100.0 * results.error[-1, d, -1].mean()
        found[f"parameters, depth {depth}"] = results.parameters[[0, -1], d]
    found["exponent of C"], found["floor over C"] = estimate(results.by_compute), estimate(results.by_compute, 0)
    found["efficient trainings"], found["trainings"] = results.efficient.sum(), results.efficient.size
    at_chance = results.value[:, :, -1] > 0.95 * np.log(10.0)
    found["at chance with the most images"], found["with the most images"] = at_chance.sum(), at_chance.size
    found["at chance with the most images, narrowest of depth 2"] = at_chance[0, config.depths.index(2)].sum()
    for d, depth in enumerate(config.depths):
        found[f"efficient of depth {depth}"] = results.efficient[:, d].sum()
    return found


COLOURS = (BLUE, VERMILION, GREEN, PURPLE)
MARKERS = "os^D"


@in_style
def plot(results: Results, config: Config, plt):
    """Test losses and laws over parameters, images and compute."""
    figure, axes = plt.subplots(1, 3, figsize=(15.0, 5.8), sharey=True, layout="constrained")
    by_size, by_images, by_compute = axes
    for d, depth in enumerate(config.depths):
        style = {"color": COLOURS[d], "marker": MARKERS[d], "linestyle": "none", "markersize": 4.5, "alpha": 0.8}
        size, loss = results.parameters[:, d], results.value[:, d]
        for axis, x, y, rows in (
            (by_size, size, loss[:, -1], results.by_size[d]),
            (by_images, results.images, loss[-1], results.by_images[d]),
        ):
            axis.plot(np.repeat(x, y.shape[-1]), y.ravel(), **style)
            fine = np.geomspace(x.min(), x.max(), 60)
            axis.plot(fine, curve(rows[0], fine), color=COLOURS[d], label=f"depth {depth}: {in_words(rows)}")
        x = np.repeat(results.compute[:, d].ravel(), loss.shape[-1])
        by_compute.plot(x, loss.ravel(), **style, label=f"depth {depth}")
    x, mean = results.compute[results.efficient], results.value[results.efficient].mean(axis=-1)
    by_compute.plot(
        x, mean, "o", color="black", markersize=9, fillstyle="none", label="no cheaper one is better (mean)"
    )
    fine = np.geomspace(x.min(), x.max(), 60)
    label = f"their law: {in_words(results.by_compute)}"
    by_compute.plot(fine, curve(results.by_compute[0], fine), color="black", label=label)
    by_size.set(xlabel="parameters N", ylabel="test loss (nats)", title=f"trained on {results.images[-1]:,} images")
    width = config.widths[-1]
    by_images.set(xlabel="training images D", title=f"width {width}")
    by_compute.set(xlabel="compute C of the training (FLOPs)", title="all trainings")
    for axis in axes:
        axis.set(xscale="log", yscale="log")
        label_some(axis.yaxis, "235")
        axis.legend(frameon=False, fontsize="small", loc="upper right")
    low, high = by_size.get_ylim()
    by_size.set_ylim(low, high * (high / low) ** 0.25)  # room for the legends
    figure.suptitle(
        f"{config.network()}, {config.training()}, epochs: {config.epochs}; "
        f"points: {runner.seeds_in_words(config.seeds)}; lines: L = E + A x^−α, 95 % bootstrap intervals",
        fontsize="medium",
    )
    return figure


def in_words(rows: np.ndarray) -> str:
    """The exponent with its interval, for a legend."""
    found = estimate(rows)
    return f"α = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
