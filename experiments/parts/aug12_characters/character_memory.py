"""Diagonal recurrences that read characters and draw them: trained at a tuned rate, continued, compared.

An arm is a model with a number of units and a way to be trained. The learning rate of every arm is the best of the same
grid, over draws that nothing is compared on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from joblib import delayed

import hypergrad as hg
from experiments.shared import runner, text
from hypergrad.runs.parallel import workers
from hypergrad.style import BLUE, VERMILION

GATES = {"no gates": False, "gates": True}  # of the models
COLOURS = dict(zip(GATES, (BLUE, VERMILION)))
UNSEEN = 10**6  # the first seed that nothing was chosen by
STRINGS, MINIBATCHES, HELD_OUT, DRAWN = 11, 12, 13, 14  # purposes of random numbers


@dataclass(frozen=True, kw_only=True)
class Config(runner.PartConfig):
    """A quick run trains ``every`` times shorter, with fewer rates and draws.

    Attributes:
      seeds: draws that arms are compared on, each with its own initial weights and strings or minibatches.
      log_rates: log10 of the rates of Adam that each arm is trained with.
      draws: other draws, whose mean loss chooses among the rates.
    """

    seeds: int = 10
    log_rates: tuple[float, ...] = (-1.75, -1.5, -1.25, -1.0, -0.75, -0.5)
    draws: int = 2

    @property
    def rates(self) -> tuple[float, ...]:
        return self.log_rates[:: self.every]

    @property
    def tuning_draws(self) -> int:
        return max(1, self.draws // self.every)

    @property
    def trainings(self) -> int:
        """Spent on the rate of each arm."""
        return len(self.rates) * self.tuning_draws


def compared(config: Config, arms: list, jobs: int, loss: Callable, measure: Callable) -> tuple:
    """All arms, each at its best rate.

    Args:
      loss: ``loss(config, arm, log_rate, seed)``, by whose mean over the draws the rate is chosen; NaN if it diverges.
      measure: of the same arguments, a tuple of arrays; of seeds from UNSEEN on.

    Returns:
      The mean losses at the rates, (arms, rates), and what was measured, each stacked to (arms, seeds, …).
    """
    many, seeds = workers(jobs), range(UNSEEN, UNSEEN + config.seeds)
    tuning = [(arm, rate, draw) for arm in arms for rate in config.rates for draw in range(config.tuning_draws)]
    losses = many(delayed(loss)(config, *item) for item in tuning)
    by_rate = np.reshape(losses, (len(arms), len(config.rates), -1)).mean(axis=-1)
    best = [config.rates[i] for i in np.nanargmin(by_rate, axis=1)]
    pieces = many(delayed(measure)(config, arm, rate, seed) for arm, rate in zip(arms, best) for seed in seeds)
    stacked = (np.stack(arrays) for arrays in zip(*pieces))
    return by_rate, *(a.reshape(len(arms), config.seeds, *a.shape[1:]) for a in stacked)


def model(units: int, gated: bool) -> hg.nn.DiagonalRecurrence:
    return hg.nn.DiagonalRecurrence(256, units, 256, gated=gated)


def trained(recurrence, X, T, log_rate: float, seed: int, counts, batch_size: int | None = None) -> list:
    """The parameters after so many steps of Adam; NaN from where it diverged."""
    batch_loss, start = hg.nn.MinibatchLoss(recurrence, X, T, batch_size), recurrence.init(seed, dtype=np.float32)
    options = {"steps": counts[-1], "save_at": counts, "check_purity": False, "on_divergence": "nan"}
    return hg.train(batch_loss, start, hg.Adam(10.0**log_rate), **options)


@lru_cache(4)
def held_out(which: str, pieces: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of "validation" or "test" text, the same for all arms, and what follows on each character."""
    part = getattr(text, which)()
    return text.windows(part, pieces, length, (0, HELD_OUT))


def read(params, state, characters) -> tuple[np.ndarray, np.ndarray]:
    """One step of a recurrence of one level: the state (n, units) after these characters (n,), and the logits."""
    (level,) = params["levels"]
    exponent, drive = 1j * level["angle"] - np.exp(level["log_decay"]), level["input"][characters]
    if "gate" in level:
        time = hg.nn.sigmoid(level["gate"][characters] + level["gate_bias"])
        exponent, drive = time * exponent, time * drive
    state = np.exp(exponent) * state + drive
    return state, state.real @ params["output"] + params["output_bias"]


def continued(params, prompts, length: int, temperature: float = 0.0, seed: int | tuple = 0) -> np.ndarray:
    """Characters (n, length) that follow on prompts (n, k), k ≥ 1, each drawn from the softmax of logits / temperature.

    What is drawn is read in its turn; at temperature 0 it is the most probable character.
    """
    rng, found = np.random.default_rng(seed), []
    state = np.zeros((len(prompts), len(params["output"])), complex)
    for characters in prompts.T:
        state, logits = read(params, state, characters)
    for _ in range(length):
        if found:
            state, logits = read(params, state, found[-1])
        found.append(np.argmax(logits + temperature * rng.gumbel(size=logits.shape), axis=1))
    return np.stack(found, axis=1)


def half_lives(params) -> np.ndarray:
    """(5,): after how many characters half of a state is left: the least, quartiles and the most over all units."""
    (level,) = params["levels"]
    return np.quantile(np.log(2.0) / np.exp(level["log_decay"].astype(float)), (0.0, 0.25, 0.5, 0.75, 1.0))
