"""Samples of character models that were trained longer, and of a table of counts, beside the text.

A word is what stands between white space, without punctuation; it counts as one if the training text has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from experiments.parts.aug12_characters import character_memory, character_plots, character_tables
from experiments.parts.aug12_characters.character_memory import GATES
from experiments.shared import text
from experiments.shared.intervals import t_interval

TABLE = "table"
MARKS = ".,:;?!()'-"


@dataclass(frozen=True, kw_only=True)
class Config(character_memory.Config):
    """Longer trainings of one size, and what is drawn after them.

    Attributes:
      temperatures: that are drawn at.
      prompt: characters of test text that a sample begins after.
      sample: characters of a sample; each of ``samples`` begins after other text.
      order: of the table, which has counted as many characters as a model saw.
    """

    seeds: int = 10
    log_rates: tuple[float, ...] = (-1.75, -1.5, -1.25, -1.0)
    draws: int = 1
    units: int = 64
    length: int = 64
    batch_size: int = 8
    steps: int = 1_500
    temperatures: tuple[float, ...] = (0.5, 0.8, 1.0)
    prompt: int = 64
    sample: int = 200
    samples: int = 8
    order: int = 4
    judged: int = 128
    pieces: int = 128

    @property
    def trained_steps(self) -> int:
        return max(2, self.steps // self.every)

    def judged_by(self, which: str) -> tuple[np.ndarray, np.ndarray]:
        return character_memory.held_out(which, self.pieces, self.judged)


class Results(NamedTuple):
    """Arrays of w ways (models without and with gates, table), s seeds, t temperatures, n samples of c characters."""

    value: np.ndarray  # (w, s), test loss, nats a character
    words: np.ndarray  # (w, s, t), share of the words of the samples that are words
    of_text: np.ndarray  # (s,), of the true text in their place
    sampled: np.ndarray  # (w, s, t, n, c), uint8
    prompt: np.ndarray  # (s, n, k), uint8
    true: np.ndarray  # (s, n, c), uint8, what follows on them in the text
    by_rate: np.ndarray  # (m, q), validation loss


@lru_cache(1)
def vocabulary() -> frozenset[str]:
    """The words of the training text."""
    return frozenset(word.strip(MARKS) for word in text.as_text(text.training()).split())


def share_of_words(samples) -> float:
    """Of all words of the samples (n, c) but their first and last, which may be cut off."""
    words = [word.strip(MARKS) for sample in samples for word in text.as_text(sample).split()[1:-1]]
    return float(np.mean([word in vocabulary() for word in words])) if words else np.nan


def prompts(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of test text (n, k), and what follows on them, (n, c)."""
    whole = config.prompt + config.sample
    X, _ = text.windows(text.test(), config.samples, whole, (seed, character_memory.STRINGS))
    return X[:, : config.prompt], X[:, config.prompt :]


def seen(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a model is trained on."""
    count = config.trained_steps * config.batch_size
    return text.windows(text.training(), count, config.length, (seed, character_memory.MINIBATCHES))


def trained(config: Config, name: str, log_rate: float, seed: int) -> tuple:
    recurrence, counts = character_memory.model(config.units, GATES[name]), [config.trained_steps]
    (found,) = character_memory.trained(recurrence, *seen(config, seed), log_rate, seed, counts, config.batch_size)
    return recurrence, found


def validation_loss(config: Config, name: str, log_rate: float, seed: int) -> float:
    recurrence, found = trained(config, name, log_rate, seed)
    return recurrence.loss(found, *config.judged_by("validation"))


def measure(config: Config, name: str, log_rate: float, seed: int) -> tuple:
    """Test loss, shares of words and samples of one model."""
    recurrence, found = trained(config, name, log_rate, seed)
    before, _ = prompts(config, seed)
    drawn = [
        character_memory.continued(found, before, config.sample, temperature, (seed, character_memory.DRAWN))
        for temperature in config.temperatures
    ]
    return (
        np.array(recurrence.loss(found, *config.judged_by("test"))),
        np.array([*map(share_of_words, drawn)]),
        np.array(drawn),
    )


def of_table(config: Config, seed: int) -> tuple:
    """The same of a table that has counted a piece of the training text, as many characters as a model saw."""
    count, whole = config.trained_steps * config.batch_size * config.length, text.training()
    start = np.random.default_rng((seed, character_memory.MINIBATCHES)).integers(max(1, len(whole) - count))
    table = character_tables.fitted(whole[start : start + count], config.order, *config.judged_by("validation"))
    before, _ = prompts(config, seed)
    drawn = [
        [table.continued(row, config.sample, t, (seed, character_memory.DRAWN, n)) for n, row in enumerate(before)]
        for t in config.temperatures
    ]
    return table.loss(*config.judged_by("test")), np.array([*map(share_of_words, drawn)]), np.array(drawn)


def run(config: Config, jobs: int, cache) -> Results:
    by_rate, value, words, sampled = character_memory.compared(config, list(GATES), jobs, validation_loss, measure)
    seeds = range(character_memory.UNSEEN, character_memory.UNSEEN + config.seeds)
    tables = [np.stack(arrays)[None] for arrays in zip(*(of_table(config, seed) for seed in seeds))]
    value, words, sampled = (np.concatenate(pair) for pair in zip((value, words, sampled), tables))
    before, after = (np.stack(arrays).astype(np.uint8) for arrays in zip(*(prompts(config, seed) for seed in seeds)))
    of_text = np.array([share_of_words(rows) for rows in after])
    return Results(value, words, of_text, sampled.astype(np.uint8), before, after, by_rate)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means and 95 % t intervals over the seeds; shares of words in per cent."""
    found = {"trainings": config.trainings, "words of the text": t_interval(100.0 * results.of_text)}
    found["characters"] = config.trained_steps * config.batch_size * config.length
    for w, name in enumerate((*GATES, TABLE)):
        found[f"loss, {name}"] = t_interval(results.value[w])
        if name in GATES:
            found[f"log10 rate, {name}"] = config.rates[np.nanargmin(results.by_rate[w])]
            found[f"loss, {name} less table"] = t_interval(results.value[w] - results.value[-1])
        for t, temperature in enumerate(config.temperatures):
            found[f"words, {name}, {temperature:g}"] = t_interval(100.0 * results.words[w, :, t])
    plain, gated = results.value[:2]
    found["loss, gates less no gates"] = t_interval(gated - plain)
    return found


def plot(results, config):
    """Samples, words and losses."""
    return character_plots.plot_samples(results, config, (*GATES, TABLE))
