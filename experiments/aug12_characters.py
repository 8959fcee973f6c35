"""12 August 2015: what do linear recurrences, with time gated and not, memorise and learn of characters?

Diagonal linear recurrences, h_k = z ⊙ h_{k−1} + W_d x_k with z = size · e^{iθ} and the output W_o Re h_k + b, read
256-way characters of the King James Bible and predict the next. With gates time runs as the input says:
t = σ(b + W_t x), z = size^t · e^{iθt}, input t ⊙ W_d x. Memory, gates and weights are learned by Adam, in float32; the
rate of each model and size is the best of a grid, the same for all in a part, by other draws than are compared.

Part 1: one string of 100 characters memorised, by 2 to 32 units; and drawn from its first character alone.
Part 2: two sentences told apart by their first characters, also past up to 128 characters that both share; and five
    entries, each called by its key.
Part 3: characters of the text: batch against length, the same number of characters a step; batch against units, the
    same number of characters in all. Beside them, tables of counts of as many characters, and of all of the text.
Part 4: samples of longer trained models and of a table, at three temperatures, beside the text.

Scaled down to a few minutes a part; ``--full`` has more units, longer strings and pieces, and more steps.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.parts.aug12_characters import (
    batch_and_length,
    character_memory,
    character_plots,
    character_samples,
    character_tables,
    told_apart,
)
from experiments.parts.aug12_characters.character_memory import GATES
from experiments.shared import runner, text
from experiments.shared.intervals import geometric_interval, t_interval

LOOK_AT = "Look at how many units draw the whole string from its first character."


@dataclass(frozen=True, kw_only=True)
class Config(character_memory.Config):
    """Strings of ``length`` characters, of which all but the first are to be predicted."""

    units: tuple[int, ...] = (2, 4, 8, 16, 32)
    length: int = 100
    steps: int = 300
    points: int = 12  # of a learning curve
    orders: tuple[int, ...] = (1, 2, 3)  # of tables

    @property
    def curve_steps(self) -> np.ndarray:
        """After how many steps the loss is measured."""
        steps = max(2, self.steps // self.every)
        return np.unique(np.geomspace(1, steps, self.points).round().astype(int))


PARTS = {
    1: Config(quick_every=30),
    2: told_apart.Config(quick_every=30),
    3: batch_and_length.Config(quick_every=32),
    4: character_samples.Config(quick_every=100),
}
FULL = {
    1: Config(units=(4, 16, 64, 256), length=1_000, steps=10_000),
    2: told_apart.Config(units=(16, 64, 256), ending=128, steps=10_000),
    3: batch_and_length.Config(
        units=500, sizes=(32, 128, 500), characters=2**26, a_step=4_096, log_rates=(-3.0, -2.5, -2.0, -1.5)
    ),
    4: character_samples.Config(
        units=1_000, steps=50_000, length=256, batch_size=32, log_rates=(-3.0, -2.5, -2.0, -1.5)
    ),
}


class Results(NamedTuple):
    """Arrays of m models, u numbers of units, s seeds, c points of a curve; losses in nats a character."""

    value: np.ndarray  # (m, u, s, c)
    right: np.ndarray  # (m, u, s, c), share of characters whose most probable prediction is right
    drawn: np.ndarray  # (m, u, s), share of the string drawn right after its first character alone
    steps: np.ndarray  # (c,)
    by_rate: np.ndarray  # (m, u, q), the loss at the end
    table: np.ndarray  # (s, o), the share that a table of the last characters has right at most


def string(config: Config, seed: int) -> np.ndarray:
    """(1, length): a piece of the text for each seed."""
    X, T = text.windows(text.training(), 1, config.length - 1, (seed, character_memory.STRINGS))
    return np.concatenate([X, T[:, -1:]], axis=1)


def trained(config: Config, arm: tuple, log_rate: float, seed: int, counts) -> tuple:
    """The model of an arm, its parameters after so many steps, and the string."""
    name, units = arm
    recurrence, characters = character_memory.model(units, GATES[name]), string(config, seed)
    saved = character_memory.trained(recurrence, characters[:, :-1], characters[:, 1:], log_rate, seed, counts)
    return recurrence, saved, characters


def final_loss(config: Config, arm: tuple, log_rate: float, seed: int) -> float:
    recurrence, (found,), characters = trained(config, arm, log_rate, seed, config.curve_steps[-1:])
    return recurrence.loss(found, characters)


def measure(config: Config, arm: tuple, log_rate: float, seed: int) -> tuple:
    """A piece of each of the first three arrays of the results."""
    recurrence, saved, characters = trained(config, arm, log_rate, seed, config.curve_steps)
    losses = [recurrence.loss(found, characters) for found in saved]
    right = [recurrence.accuracy(found, characters) for found in saved]
    drawn = character_memory.continued(saved[-1], characters[:, :1], config.length - 1)
    return np.array(losses), np.array(right), np.mean(drawn == characters[:, 1:])


def run(config: Config, jobs: int, cache) -> Results:
    arms, shape = [(name, units) for name in GATES for units in config.units], (len(GATES), len(config.units))
    by_rate, *measured = character_memory.compared(config, arms, jobs, final_loss, measure)
    value, right, drawn = (a.reshape(*shape, *a.shape[1:]) for a in measured)
    strings = [string(config, character_memory.UNSEEN + seed) for seed in range(config.seeds)]
    table = [[character_tables.best_by_last(s, n, 1) for n in config.orders] for s in strings]
    return Results(value, right, drawn, config.curve_steps, by_rate.reshape(*shape, -1), np.array(table))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means and 95 % t intervals over the seeds, of losses geometric; shares in per cent."""
    found = {"trainings": config.trainings}
    for m, name in enumerate(GATES):
        for u, units in enumerate(config.units):
            arm = f"{name}, {units}"
            found[f"loss, {arm}"] = geometric_interval(results.value[m, u, :, -1])
            found[f"right, {arm}"] = t_interval(100.0 * results.right[m, u, :, -1])
            found[f"drawn, {arm}"] = t_interval(100.0 * results.drawn[m, u])
            found[f"strings drawn whole, {arm}"] = np.sum(results.drawn[m, u] == 1.0)
            found[f"log10 rate, {arm}"] = config.rates[np.nanargmin(results.by_rate[m, u])]
            known = np.where(results.right[m, u] == 1.0, results.steps, np.inf).min(axis=-1)
            if np.isfinite(np.median(known)):
                found[f"steps until all are right, {arm}"] = np.median(known)
    for u, units in enumerate(config.units):
        plain, gated = results.value[:, u, :, -1]
        found[f"gates over no gates, {units}"] = geometric_interval(gated / plain)
        plain, gated = 100.0 * results.drawn[:, u]
        found[f"drawn: gates less no gates, {units}"] = t_interval(gated - plain)
    for n, shares in zip(config.orders, results.table.T):
        found[f"table of the last {n}"] = t_interval(100.0 * shares)
    return found


plot = character_plots.plot_one_string

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
