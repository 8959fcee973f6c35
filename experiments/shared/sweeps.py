"""Sweeps of the training loss over the learning rate or the scale of the initial parameters, and their figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd.tracer import getval

import hypergrad as hg
from experiments.shared.setting import Setting, initial_params, training_losses
from hypergrad.probe.edge import DENSE, WIDTH
from hypergrad.probe.figures import plot_sweep
from hypergrad.runs.parallel import compute

EDGE = {"edge": "location", "bracket": "bracket"}  # what is stored, and what a search calls it


@dataclass(frozen=True, kw_only=True)
class Sweeps(Setting):
    """The training losses after some step counts over a range of the one of ``log_lr`` and ``log_scale`` that is None.

    Attributes:
      moving_average: of how many values, to be taken off the loss in a panel of its own; 0 for none.
      magnitude: whether a panel shows the magnitude of the derivative on a logarithmic axis.
      locate: whether the edges are searched for as well, since the values are too far apart to show them.
    """

    low: float
    high: float
    values: int
    counts: tuple[int, ...]
    moving_average: int = 0
    magnitude: bool = False
    locate: bool = False


SEED_AXIS = {"values": None, "loss": 0, "gradient": 0, "diverged_at": 0, "edge": 0, "bracket": 0}


class Results(NamedTuple):
    """Arrays of n values, k step counts and s seeds."""

    values: np.ndarray  # (n,), natural logs
    loss: np.ndarray  # (s, n, k), nats
    gradient: np.ndarray  # (s, n, k), nats per unit of log
    diverged_at: np.ndarray  # (s, n), -1 where it did not
    edge: np.ndarray = np.empty(0)  # (s,), of the last step count, where it was searched for
    bracket: np.ndarray = np.empty((0, 2))  # (s, 2), around it

    def sweeps(self) -> list[hg.probe.Sweep]:
        """One for each seed."""
        return [hg.probe.Sweep(self.values, *arrays) for arrays in zip(*self[1:4])]

    def edges(self) -> np.ndarray:
        """(s,): the edge of each seed after the last step count by ``locate_edge``; empty where it is not known.

        Where the values are close enough, the search runs among them, and trains no more.
        """
        if len(self.edge) or self.values[1] - self.values[0] > WIDTH / DENSE:
            return self.edge
        played = [played_back(self.values, loss[:, -1], slope[:, -1]) for loss, slope in zip(self.loss, self.gradient)]
        low, high = self.values[0], self.values[-1]
        found = [hg.probe.locate_edge(f, low, high, values=len(self.values)) for f in played]
        return np.array([edge.location for edge in found])


def losses(config: Sweeps, seed: int, value) -> list:
    """The training losses as a function of the value that is varied."""
    log_lr, log_scale = (value if given is None else given for given in (config.log_lr, config.log_scale))
    return training_losses(config, initial_params(config, log_scale, seed), log_lr, config.counts)


def played_back(values: np.ndarray, loss: np.ndarray, gradient: np.ndarray):
    """The function that a sweep was made of, at its own values, which are equally spaced."""
    spacing = (values[-1] - values[0]) / (len(values) - 1)

    def f(x):
        at = getval(x)
        index = np.clip(round((at - values[0]) / spacing), 0, len(values) - 1)
        return loss[index] + gradient[index] * (x - at)

    return f


def located(config: Sweeps, seed: float) -> dict:
    """The edge of a seed after the last step count."""
    last = replace(config, counts=config.counts[-1:])
    edge = hg.probe.locate_edge(lambda value: losses(last, int(seed), value)[0], config.low, config.high)
    return {"location": edge.location, "bracket": np.array(edge.bracket)}


def run(config: Sweeps, jobs: int, cache) -> Results:
    """One sweep for each seed, and the edges if they are to be located; not in a quick run."""
    values = np.linspace(config.low, config.high, config.values)[:: config.every]
    sweeps = [
        hg.probe.sweep(partial(losses, config, seed), values, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    results = Results(values, *(np.array([getattr(s, name) for s in sweeps]) for name in Results._fields[1:4]))
    if not config.locate or config.every > 1:
        return results
    found = compute(partial(located, config), config.numbered, n_jobs=jobs, cache=cache / "edges", recheck=False)
    return results._replace(**{field: np.array([edge[key] for edge in found]) for field, key in EDGE.items()})


def numbers(results: Results, config: Sweeps) -> dict:
    """What the log quotes, of the losses after the last step count if nothing else is said."""
    edges, (last, slope) = results.edges(), (a[..., -1] for a in (results.loss, results.gradient))
    at, lowest = results.values[last.argmin(axis=-1)], last.min(axis=-1)
    found = {"lowest loss": (lowest.min(), lowest.max()), "lowest at": (at.min(), at.max())}
    found |= {"lowest loss by seed": lowest, "lowest at by seed": at}
    found["largest derivative"] = np.abs(results.gradient[np.isfinite(results.gradient)]).max()
    if len(edges):
        found["edge"], found["edges, lowest and highest"] = edges, (edges.min(), edges.max())
        apart = 100.0 * np.ptp(results.loss, axis=0) / results.loss.mean(axis=0)  # of all step counts
        calm = results.values < edges.min()
        found["seeds apart before the edge, %"] = apart[calm].max()
        if (results.values < 0.0).any():
            found["seeds apart below 0, %"] = apart[calm & (results.values < 0.0)].max()
    for value, slopes in zip(results.values, slope.T):
        found[f"derivatives at {value:.2f}"] = slopes
        found[f"sizes of the derivatives at {value:.2f}"] = np.abs(slopes).min(), np.abs(slopes).max()
    return found


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
        edges=results.edges(),
        log=len(config.counts) == 1,
    )
