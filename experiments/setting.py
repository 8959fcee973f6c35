"""The setting of January 2015, shared by its experiments: one network, trained on a few MNIST images.

784-200-50-10 tanh, the first training images in minibatches in order, normal initial weights and
biases of one scale, SGD with momentum in the form of 2015. Here are the training itself, sweeps of
the training loss over one number and the figure of such a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp

import hypergrad as hg
from experiments.runner import seeds_in_words
from hypergrad.plotting import plot_sweep


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every experiment on this network can choose.

    Attributes:
      log_lr, log_scale: natural logarithms of the learning rate and of the standard deviation of all
        initial weights and biases; None where that is what is varied.
      seeds: how many random initialisations.
      every: take every so-manieth value; ``quick_every`` in a quick run.
    """

    log_lr: float | None = None
    log_scale: float | None = None
    momentum: float = 0.9
    images: int = 1_000
    batch_size: int = 250
    seeds: int = 3
    every: int = 1
    quick_every: int = 1

    def title(self) -> str:
        """The setting in words, for figures."""
        chosen = [f"momentum {self.momentum}"]
        if self.log_lr is not None:
            chosen.append(f"learning rate {onp.exp(self.log_lr):g}")
        if self.log_scale is not None:
            chosen.append(f"log parameter scale {self.log_scale:g}")
        return (
            f"784-200-50-10 tanh, {self.images:,} MNIST images in minibatches of {self.batch_size},\n"
            f"{', '.join(chosen)}, {seeds_in_words(self.seeds)}"
        )


@lru_cache
def network(images: int, batch_size: int):
    """The model and its minibatch loss, made once in every process."""
    ((X, T),) = hg.data.load_mnist(images)
    model = hg.nn.MLP([784, 200, 50, 10])
    return model, hg.nn.MinibatchLoss(model, X, T, batch_size)


def initial_params(setting: Setting, log_scale, seed: int):
    """Normal weights and biases of this scale."""
    model, _ = network(setting.images, setting.batch_size)
    return hg.init.scaled_normal(model.shapes, np.exp(log_scale), seed)


def training_losses(setting: Setting, params, log_lr, counts) -> list:
    """The loss on all training images after each of these step counts, in nats."""
    model, batch_loss = network(setting.images, setting.batch_size)
    optimizer = hg.SGD(np.exp(log_lr), setting.momentum)
    saved = hg.train(batch_loss, params, optimizer, steps=counts[-1], save_at=counts)
    return [model.loss(trained, batch_loss.X, batch_loss.T) for trained in saved]


@dataclass(frozen=True, kw_only=True)
class SweepSetting(Setting):
    """The training losses after some step counts over a range of the one of ``log_lr`` and ``log_scale`` that is None.

    Attributes:
      moving_average: of how many values, to be taken off the loss in a panel of its own; 0 for none.
      magnitude: whether a panel shows the magnitude of the derivative on a logarithmic axis.
    """

    low: float
    high: float
    values: int
    counts: tuple[int, ...]
    moving_average: int = 0
    magnitude: bool = False


class SweepResults(NamedTuple):
    """Arrays of n values, k step counts and s seeds."""

    values: onp.ndarray  # (n,), natural logs
    loss: onp.ndarray  # (s, n, k), nats
    gradient: onp.ndarray  # (s, n, k), nats per unit of log
    diverged_at: onp.ndarray  # (s, n), -1 where it did not

    def sweeps(self) -> list[hg.probe.Sweep]:
        """One for each seed."""
        return [hg.probe.Sweep(self.values, *arrays) for arrays in zip(*self[1:])]


def losses(setting: SweepSetting, seed: int, value) -> list:
    """The training losses as a function of the value that is varied."""
    log_lr, log_scale = (value if given is None else given for given in (setting.log_lr, setting.log_scale))
    return training_losses(setting, initial_params(setting, log_scale, seed), log_lr, setting.counts)


def run_sweeps(setting: SweepSetting, jobs: int, cache) -> SweepResults:
    """One sweep for each seed."""
    values = onp.linspace(setting.low, setting.high, setting.values)[:: setting.every]
    sweeps = [
        hg.probe.sweep(partial(losses, setting, seed), values, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in range(setting.seeds)
    ]
    return SweepResults(values, *(onp.array([getattr(s, name) for s in sweeps]) for name in SweepResults._fields[1:]))


def plot_sweeps(results: SweepResults, setting: SweepSetting):
    """The losses and derivatives of all seeds over each other."""
    varied = "learning rate" if setting.log_lr is None else "scale of the initial parameters"
    return plot_sweep(
        *results.sweeps(),
        xlabel=f"natural log of the {varied}",
        ylabel="training loss (nats)",
        slope_label="its derivative (nats per unit of log)",
        labels=[f"{count} step{'' if count == 1 else 's'}" for count in setting.counts],
        title=setting.title(),
        moving_average=setting.moving_average,
        magnitude=setting.magnitude,
    )
