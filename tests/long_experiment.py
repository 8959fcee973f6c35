"""1 January 2015: an experiment of a single training, of a few seconds, to be killed and continued.

``SECONDS_A_STEP`` in the environment makes a step take at least so long; every step is printed.
"""

import os
import sys
import time
from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import descents, runner
from hypergrad.runs import snapshots
from hypergrad.style import in_style

LOOK_AT = ""
SECONDS = float(os.environ.get("SECONDS_A_STEP", "0"))
snapshots.EVERY = 0.1


@dataclass(frozen=True)
class Config(runner.PartConfig):
    steps: int = 300
    seeds: int = 1


class Results(NamedTuple):
    value: np.ndarray


PARTS = {1: Config()}


def train(config, name, seed, cache):
    X = np.random.default_rng(seed).standard_normal((20, 3))

    def loss(w, hyper, step):
        print(step, flush=True)
        time.sleep(SECONDS)
        return anp.mean((anp.tanh(anp.dot(X[step % 4 :: 4], w)) - 0.5) ** 2)

    found = hg.train(loss, np.ones(3), hg.Adam(0.01), steps=config.steps, save_at=[10, 100, config.steps])
    return (np.array(found),)


def run(config, jobs, cache):
    return Results(descents.in_parallel(train, config, ("all",), 1, cache)[0])


@in_style
def plot(results, config, plt):
    figure, axis = plt.subplots()
    axis.plot(results.value[0, 0])
    return figure


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
