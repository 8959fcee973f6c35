"""Batch against length of the pieces that a character model is trained on, and batch against units.

Models of the first kind see the same number of characters at every step, those of the second the same number in all.
All are judged on pieces of other text, which are longer than some of those they were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.aug12_characters import character_memory, character_plots, character_tables
from experiments.parts.aug12_characters.character_memory import GATES
from experiments.shared import text
from experiments.shared.intervals import t_interval

ORDERS = (0, 1, 2, 3, 4)  # of tables of counts


@dataclass(frozen=True, kw_only=True)
class Config(character_memory.Config):
    """Two kinds of comparison, of models that see as many characters.

    Attributes:
      lengths: of the pieces, for models of ``units``, with ``a_step`` characters a step.
      sizes, batches: numbers of units and of pieces, of ``piece`` characters each, for models with gates.
      characters: that each training sees.
      judged: characters of a piece that models are judged on, of ``pieces``.
    """

    log_rates: tuple[float, ...] = (-1.75, -1.5, -1.25, -1.0, -0.75)
    draws: int = 1
    lengths: tuple[int, ...] = (8, 16, 32, 64, 128)
    units: int = 32
    a_step: int = 512
    sizes: tuple[int, ...] = (8, 32, 128)
    batches: tuple[int, ...] = (8, 32, 128)
    piece: int = 32
    characters: int = 2**17
    judged: int = 128
    pieces: int = 128

    @property
    def seen(self) -> int:
        return max(2 * max(self.a_step, self.piece * max(self.batches)), self.characters // self.every)

    def judged_by(self, which: str) -> tuple[np.ndarray, np.ndarray]:
        return character_memory.held_out(which, self.pieces, self.judged)

    @property
    def by_length(self) -> list[tuple]:
        return [(name, self.units, self.a_step // length, length) for name in GATES for length in self.lengths]

    @property
    def by_batch(self) -> list[tuple]:
        return [("gates", units, batch, self.piece) for units in self.sizes for batch in self.batches]


class Results(NamedTuple):
    """Arrays of a arms, first those by length, then those by batch; s seeds; losses on test text, nats a character."""

    value: np.ndarray  # (a, s)
    right: np.ndarray  # (a, s), share of characters whose most probable prediction is right
    by_position: np.ndarray  # (a, s, p), loss by the number of characters before, from 1, float32
    half_lives: np.ndarray  # (a, s, 5), in characters: least, quartiles, most of the units
    by_rate: np.ndarray  # (a, q), validation loss
    table: np.ndarray  # (2, o), test losses of tables: of as many characters, by seed 0; of the training text

    def arms(self, config: Config) -> tuple[np.ndarray, np.ndarray]:
        """Losses (m, l, s) by length, and (u, b, s) by batch."""
        split = len(config.by_length)
        by_length, by_batch = self.value[:split], self.value[split:]
        return by_length.reshape(len(GATES), len(config.lengths), -1), by_batch.reshape(
            len(config.sizes), len(config.batches), -1
        )


def trained(config: Config, arm: tuple, log_rate: float, seed: int) -> tuple:
    name, units, batch, length = arm
    recurrence, steps = character_memory.model(units, GATES[name]), config.seen // (batch * length)
    X, T = text.windows(text.training(), steps * batch, length, (seed, character_memory.MINIBATCHES))
    (found,) = character_memory.trained(recurrence, X, T, log_rate, seed, [steps], batch)
    return recurrence, found


def validation_loss(config: Config, arm: tuple, log_rate: float, seed: int) -> float:
    recurrence, found = trained(config, arm, log_rate, seed)
    return recurrence.loss(found, *config.judged_by("validation"))


def measure(config: Config, arm: tuple, log_rate: float, seed: int) -> tuple:
    """A piece of each of the first four arrays of the results."""
    recurrence, found = trained(config, arm, log_rate, seed)
    X, T = config.judged_by("test")
    logs = np.take_along_axis(hg.nn.log_softmax(recurrence.logits(found, X)), T[..., None], axis=-1)[..., 0]
    right = recurrence.accuracy(found, X, T)
    return np.array(-logs.mean()), right, -logs.mean(axis=0), character_memory.half_lives(found)


def tabled(config: Config) -> np.ndarray:
    """(2, o): test losses of tables of as many characters as a model sees, and of all, k chosen on validation text."""
    whole = text.training()
    start = np.random.default_rng((0, character_memory.MINIBATCHES)).integers(len(whole) - config.seen)
    found = []
    for counted in (whole[start : start + config.seen], whole):
        best = [character_tables.fitted(counted, order, *config.judged_by("validation")) for order in ORDERS]
        found.append([table.loss(*config.judged_by("test")) for table in best])
    return np.array(found)


def run(config: Config, jobs: int, cache) -> Results:
    arms = config.by_length + config.by_batch
    by_rate, *measured = character_memory.compared(config, arms, jobs, validation_loss, measure)
    value, right, by_position, half_lives = measured
    return Results(value, right, by_position.astype(np.float32), half_lives, by_rate, tabled(config))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: nats a character, means and 95 % t intervals over the seeds; shares in per cent."""
    found = {"trainings": config.trainings, "characters": config.seen, "uniform": np.log(256.0)}
    found["half-lives at first"] = character_plots.START_HALF_LIVES
    for row, words in zip(results.table, ("as many characters", "the whole text")):
        found |= {f"table of order {order}, {words}": loss for order, loss in zip(ORDERS, row)}
    for a, (name, units, batch, length) in enumerate(config.by_length + config.by_batch):
        arm = f"{name}, {units} units, {batch} × {length}"
        found[arm] = t_interval(results.value[a])
        found[f"right, {arm}"] = t_interval(100.0 * results.right[a])
        found[f"first {config.lengths[0]}, {arm}"] = t_interval(
            results.by_position[a, :, : config.lengths[0]].mean(axis=-1)
        )
        found[f"half-lives, {arm}"] = np.median(results.half_lives[a], axis=0)
        found[f"log10 rate, {arm}"] = config.rates[np.nanargmin(results.by_rate[a])]
        found[f"lowest rate, {arm}"] = results.by_rate[a, 0]
        for order in ORDERS:
            found[f"{arm} less table of order {order}"] = t_interval(results.value[a] - results.table[0, order])
    by_length, by_batch = results.arms(config)
    for m, name in enumerate(GATES):
        for i, one in enumerate(config.lengths):
            for j, other in enumerate(config.lengths[:i]):
                found[f"{name}: length {one} less {other}"] = t_interval(by_length[m, i] - by_length[m, j])
    for i, length in enumerate(config.lengths):
        found[f"gates less no gates, length {length}"] = t_interval(by_length[1, i] - by_length[0, i])
    for u, units in enumerate(config.sizes):
        for i, one in enumerate(config.batches):
            for j, other in enumerate(config.batches[:i]):
                found[f"{units} units: batch {one} less {other}"] = t_interval(by_batch[u, i] - by_batch[u, j])
    for b, batch in enumerate(config.batches):
        for i, one in enumerate(config.sizes):
            for j, other in enumerate(config.sizes[:i]):
                found[f"batch {batch}: {one} units less {other}"] = t_interval(by_batch[i, b] - by_batch[j, b])
    return found


plot = character_plots.plot_batch_and_length
