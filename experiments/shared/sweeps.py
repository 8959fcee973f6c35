"""Sweeps of the training loss over the learning rate or the scale of the initial parameters, and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared.setting import Setting, initial_params, training_losses
from hypergrad.probe.figures import plot_sweep


@dataclass(frozen=True, kw_only=True)
class Sweeps(Setting):
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


class Results(NamedTuple):
    """Arrays of n values, k step counts and s seeds."""

    values: np.ndarray  # (n,), natural logs
    loss: np.ndarray  # (s, n, k), nats
    gradient: np.ndarray  # (s, n, k), nats per unit of log
    diverged_at: np.ndarray  # (s, n), -1 where it did not

    def sweeps(self) -> list[hg.probe.Sweep]:
        """One for each seed."""
        return [hg.probe.Sweep(self.values, *arrays) for arrays in zip(*self[1:])]


def losses(config: Sweeps, seed: int, value) -> list:
    """The training losses as a function of the value that is varied."""
    log_lr, log_scale = (value if given is None else given for given in (config.log_lr, config.log_scale))
    return training_losses(config, initial_params(config, log_scale, seed), log_lr, config.counts)


def run(config: Sweeps, jobs: int, cache) -> Results:
    """One sweep for each seed."""
    values = np.linspace(config.low, config.high, config.values)[:: config.every]
    sweeps = [
        hg.probe.sweep(partial(losses, config, seed), values, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in range(config.seeds)
    ]
    return Results(values, *(np.array([getattr(s, name) for s in sweeps]) for name in Results._fields[1:]))


def plot(results: Results, config: Sweeps):
    """The losses and derivatives of all seeds over each other."""
    varied = "learning rate" if config.log_lr is None else "scale of the initial parameters"
    return plot_sweep(
        *results.sweeps(),
        xlabel=f"natural log of the {varied}",
        ylabel="training loss (nats)",
        slope_label="its derivative (nats per unit of log)",
        labels=[f"{count} step{'' if count == 1 else 's'}" for count in config.counts],
        title=config.title(),
        moving_average=config.moving_average,
        magnitude=config.magnitude,
    )
