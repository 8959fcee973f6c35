"""1 January 2015: an experiment of a second or two, to be killed and run again.

``SECONDS_A_POINT`` in the environment makes its points take at least so long.
"""

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import runner
from hypergrad.probe.figures import plot_sweep

LOOK_AT = ""


@dataclass(frozen=True)
class Config(runner.PartConfig):
    values: int = 40
    seeds: int = 2
    quick_every: int = 2


class Results(NamedTuple):
    values: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    diverged_at: np.ndarray


PARTS = {1: Config()}
SEED_AXIS = {"values": None, "loss": 0, "gradient": 0, "diverged_at": 0}


def losses(seed, log_lr):
    time.sleep(float(os.environ.get("SECONDS_A_POINT", "0")))
    rng = np.random.default_rng(seed)
    X, T = rng.standard_normal((60, 5)), np.eye(3)[rng.integers(0, 3, 60)]
    model = hg.nn.MLP([5, 8, 3])
    loss = hg.nn.MinibatchLoss(model, X, T, 20)
    params = hg.init.scaled_normal(model.shapes, 0.5, seed)
    saved = hg.train(loss, params, hg.SGD(anp.exp(log_lr)), steps=20, save_at=[5, 20])
    return [model.loss(trained, X, T) for trained in saved]


def run(config, jobs, cache):
    values = np.linspace(-2.0, 1.0, config.values)[:: config.every]
    sweeps = [
        hg.probe.sweep(partial(losses, seed), values, n_jobs=jobs, cache=cache / f"seed{seed}", progress=False)
        for seed in config.numbered
    ]
    return Results(values, *(np.array([getattr(s, name) for s in sweeps]) for name in Results._fields[1:]))


def plot(results, config):
    return plot_sweep(*(hg.probe.Sweep(results.values, *arrays) for arrays in zip(*results[1:])))


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
