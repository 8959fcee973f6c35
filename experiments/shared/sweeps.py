"""Sweeps of the training loss over the learning rate or the scale of the initial parameters, and their figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd.tracer import getval

import hypergrad as hg
from experiments.shared.intervals import t_interval
from experiments.shared.setting import Setting, initial_params, training_losses
from hypergrad.probe.edge import DENSE, WIDTH, compare, first_failure
from hypergrad.probe.figures import plot_sweep
from hypergrad.runs.parallel import compute

COARSE = 50  # so many values or fewer are quoted one by one
COARSER = 5  # every fifth value of a dense sweep is asked where the edge is, too
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

    def failures(self, every: int = 1, first: int = 0) -> np.ndarray:
        """(s, k): the right end of the first window over which the derivative does not match; NaN if all match.

        Of every so-manieth value, from a first one on.
        """
        found, values = [], self.values[first::every]
        for loss, gradient in zip(self.loss[:, first::every], self.gradient[:, first::every]):
            windows = compare(values, loss, gradient)
            found.append(np.append(values[windows.ends], np.nan)[first_failure(windows)])
        return np.array(found)


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
    """What the log quotes, of the losses after the last step count if nothing else is said.

    One number for each seed is given as mean and 95 % interval (t) over seeds; ranges are from the lowest of all seeds
    to the highest.
    """
    x, losses, sizes = results.values, results.loss, np.abs(results.gradient)
    at, last = x[losses.argmin(axis=1)], losses[..., -1]  # (s, k) and (s, n)
    found = {"seeds": len(losses), "lowest loss": t_interval(last.min(axis=1)), "lowest at": t_interval(at[:, -1])}
    found["lowest loss, lowest and highest"] = ends(last.min(axis=1))
    found["largest derivative"] = sizes[np.isfinite(sizes)].max()
    for k, count in enumerate(config.counts):
        found[f"lowest at, after {count} steps"] = ends(at[:, k])
        found[f"lowest at, from {count} steps on"] = ends(at[:, k:])
        found[f"first window that fails, after {count} steps"] = ends(results.failures()[:, k])
        found[f"largest derivative after {count} steps"] = sizes[..., k].max()
    unmatched = [np.flatnonzero(~sweep.matched[:, -1]) for sweep in results.sweeps()]
    found["first mismatch"] = x[min((at[0] for at in unmatched if len(at)), default=-1)]
    found |= _of_edges(results) if len(results.edges()) else {}
    found |= _of_single_values(results, config) if len(x) <= COARSE else {}
    if config.moving_average:
        rest = losses - moving_average(x, losses, config.moving_average)
        for words, there in (("below -1", x < -1.0), ("above 0", x > 0.0)):
            part = rest[:, there & np.isfinite(rest).all(axis=(0, 2))]
            found[f"rms of second differences {words}"] = ends(np.sqrt(np.mean(np.diff(part, 2, axis=1) ** 2, axis=1)))
            found[f"largest jump {words}"] = ends(np.abs(np.diff(part, axis=1)).max(axis=1))
    return found


def _of_edges(results: Results) -> dict:
    """Where the edges lie, and what lies before and past them."""
    x, edges, last = results.values, results.edges(), results.loss[..., -1]
    found = {"edge": t_interval(edges), "edges, lowest and highest": ends(edges)}
    found["edges, standard deviation"] = np.std(edges, ddof=1)
    before = x < edges[:, None]
    lowest = np.where(before, last, np.inf).min(axis=1)
    found["lowest before the edge"], found["lowest past it less that"] = (
        t_interval(values) for values in (lowest, np.where(before, np.inf, last).min(axis=1) - lowest)
    )
    found["seeds whose lowest lies past the edge"] = np.count_nonzero(x[last.argmin(axis=1)] > edges)
    apart = 100.0 * np.ptp(results.loss, axis=0) / results.loss.mean(axis=0)  # of all step counts
    found["seeds apart before the edge, %"] = apart[before.all(axis=0)].max()
    if (x < 0.0).any():
        found["seeds apart below 0, %"] = apart[before.all(axis=0) & (x < 0.0)].max()
    if not len(results.edge):  # the values are close enough for the rule of windows to be asked
        windows = results.failures()[:, -1]
        coarser = np.mean([results.failures(COARSER, first)[:, -1] for first in range(COARSER)], axis=0)
        found["windows"], found["windows, lowest and highest"] = t_interval(windows), ends(windows)
        found["windows of every fifth value"], found["those less windows"] = map(
            t_interval, (coarser, coarser - windows)
        )
        found["edge less windows"] = t_interval(edges - windows)
        found["edge less windows, lowest and highest"] = ends(edges - windows)
    return found


def _of_single_values(results: Results, config: Sweeps) -> dict:
    found = {}
    for k, count in enumerate(config.counts):
        sizes = np.abs(results.gradient[..., k])
        for i, value in enumerate(results.values):
            found[f"loss after {count} steps at {value:.2f}"] = t_interval(results.loss[:, i, k])
            found[f"largest derivative after {count} steps at {value:.2f}"] = sizes[:, i].max()
            found[f"largest derivative after {count} steps up to {value:.2f}"] = sizes[:, : i + 1].max()
            found[f"sizes of the derivatives after {count} steps at {value:.2f}"] = ends(sizes[:, i])
    if config.magnitude:
        first, last = (np.log10(np.abs(results.gradient[..., k])) for k in (0, -1))
        for i, value in enumerate(results.values):
            found[f"decades from the first to the last count at {value:.2f}"] = t_interval((last - first)[:, i])
    return found


def ends(values) -> tuple[float, float]:
    """The lowest and the highest."""
    return float(np.min(values)), float(np.max(values))


def moving_average(x: np.ndarray, losses: np.ndarray, window: int) -> np.ndarray:
    """Of losses (s, n, k) over so many values; NaN for the half window at both ends."""
    kernel = np.full(window, 1.0 / window)
    centre = np.convolve(x, kernel, "valid")
    smoothed = lambda y: np.interp(x, centre, np.convolve(y, kernel, "valid"), left=np.nan, right=np.nan)
    return np.apply_along_axis(smoothed, 1, losses)


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
