"""14 January 2015: how wiggly is the loss after training as a function of the learning rate?

Setting: 784-200-50-10 tanh on the first 1,000 MNIST training images, minibatches of 250 in order,
log parameter scale −2, momentum 0.9, one constant learning rate. The training loss on all 1,000
images, and its exact derivative by the log of the learning rate in forward mode.

Part 1: log learning rate −4 to 3, after 0, 1, 5, 10, 20 and 50 steps.
Part 2, a closer look: 0.5 to 2.5 after 50 steps, 1,000 values.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp

import hypergrad as hg
from experiments import runner
from hypergrad.plotting import plot_sweep

LOOK_AT = (
    "Look at the right-hand side: up to the dashed line the lower curve is the slope of the upper one; past it the\n"
    "derivative grows by many orders of magnitude and no longer tells anything about the loss nearby."
)


@dataclass(frozen=True)
class Config:
    low: float
    high: float
    values: int
    quick_every: int
    counts: tuple[int, ...]
    every: int = 1
    seeds: int = 1
    log_scale: float = -2.0
    momentum: float = 0.9
    images: int = 1_000
    batch_size: int = 250


PARTS = {
    1: Config(-4.0, 3.0, values=20, quick_every=3, counts=(0, 1, 5, 10, 20, 50)),
    2: Config(0.5, 2.5, values=1_000, quick_every=50, counts=(50,)),
}


class Results(NamedTuple):
    """Arrays of n values, k step counts and s seeds."""

    log_lr: onp.ndarray  # (n,)
    loss: onp.ndarray  # (s, n, k), nats
    gradient: onp.ndarray  # (s, n, k), nats per unit of log learning rate
    diverged_at: onp.ndarray  # (s, n), -1 where it did not


def losses(config: Config, seed: int):
    """The training losses after each step count, as a function of the log learning rate."""
    ((X, T),) = hg.data.load_mnist(config.images)
    model = hg.nn.MLP([784, 200, 50, 10])
    batch_loss = hg.nn.MinibatchLoss(model, X, T, config.batch_size)
    params = hg.init.scaled_normal(model.shapes, onp.exp(config.log_scale), seed)

    def f(log_lr):
        optimizer = hg.SGD(np.exp(log_lr), config.momentum)
        saved = hg.train(batch_loss, params, optimizer, steps=config.counts[-1], save_at=config.counts)
        return [model.loss(trained, X, T) for trained in saved]

    return f


def run(config: Config, jobs: int, cache) -> Results:
    log_lr = onp.linspace(config.low, config.high, config.values)[:: config.every]
    sweeps = [
        hg.probe.sweep(losses(config, seed), log_lr, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in range(config.seeds)
    ]
    return Results(log_lr, *(onp.array([getattr(s, name) for s in sweeps]) for name in Results._fields[1:]))


def plot(results: Results, config: Config):
    repetitions = zip(results.loss, results.gradient, results.diverged_at)
    return plot_sweep(
        *(hg.probe.Sweep(results.log_lr, *arrays) for arrays in repetitions),
        xlabel="natural log of the learning rate",
        ylabel="training loss (nats)",
        slope_label="its derivative (nats per unit of log)",
        labels=[f"{count} step{'' if count == 1 else 's'}" for count in config.counts],
        title=f"784-200-50-10 tanh, {config.images:,} MNIST images in minibatches of {config.batch_size},\n"
        f"momentum {config.momentum}, log parameter scale {config.log_scale:g}, {runner.seeds_in_words(config.seeds)}",
    )


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
