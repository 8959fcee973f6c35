"""Sentences told apart by their first characters, and entries called by a key.

Sequences begin each with a prompt of its own, go on with characters that all share, if there are any, and end each with
an ending of its own. Right after what is shared only a memory of the prompt can tell how they go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.parts.aug12_characters import character_memory, character_plots, character_tables
from experiments.parts.aug12_characters.character_memory import GATES
from experiments.shared import text
from experiments.shared.intervals import t_interval


class Task(NamedTuple):
    """What is learned at once.

    Attributes:
      sequences: how many are learned at once.
      prompt: characters each begins with, of the sentence itself; or 0 for a key, one of the digits.
      shared: characters that follow in all of them.
    """

    sequences: int
    prompt: int
    shared: int


TASKS = {
    "two sentences": Task(2, 4, 0),
    "16 characters shared": Task(2, 4, 16),
    "128 characters shared": Task(2, 4, 128),
    "five entries": Task(5, 0, 0),
}
KEYS = np.frombuffer(b"12345", np.uint8).astype(np.int64)[:, None]


@dataclass(frozen=True, kw_only=True)
class Config(character_memory.Config):
    """All tasks are trained alike.

    Attributes:
      ending: characters of each sequence after the prompt and what is shared.
      orders: of tables.
    """

    units: tuple[int, ...] = (4, 16)
    ending: int = 32
    steps: int = 300
    orders: tuple[int, ...] = (4, 8)

    @property
    def trained_steps(self) -> int:
        return max(2, self.steps // self.every)


class Results(NamedTuple):
    """Arrays of k tasks, m models, u numbers of units, s seeds. Shares are of the endings."""

    value: np.ndarray  # (k, m, u, s), nats a character over all of the sequences
    right: np.ndarray  # (k, m, u, s), share of characters right where all before are given
    parting: np.ndarray  # (k, m, u, s), of the first characters of the endings
    drawn: np.ndarray  # (k, m, u, s), share right where the model draws from the prompt on
    by_rate: np.ndarray  # (k, m, u, q)
    table: np.ndarray  # (k, s, o), the share that a table of the last characters has right at most


def sequences(config: Config, task: Task, seed: int) -> np.ndarray:
    """(sequences, length): verses from their beginning; prompts, and first characters of endings, are all different."""
    rng, whole = np.random.default_rng((seed, character_memory.STRINGS)), text.training()
    lines = np.flatnonzero(whole[:-1] == ord("\n")) + 1
    prompts: list[np.ndarray] = []
    endings: list[np.ndarray] = []
    while len(endings) < task.sequences:
        start = rng.choice(lines)
        piece = whole[start : start + task.prompt + config.ending].astype(np.int64)
        prompt, ending = (KEYS[len(prompts)], piece) if not task.prompt else np.split(piece, [task.prompt])
        alike = any(np.array_equal(prompt, other) for other in prompts) or any(ending[0] == o[0] for o in endings)
        if ord("\n") not in piece and not alike:
            prompts.append(prompt)
            endings.append(ending)
    place = rng.integers(len(whole) - task.shared)
    shared = np.tile(whole[place : place + task.shared].astype(np.int64), (task.sequences, 1))
    return np.concatenate([prompts, shared, endings], axis=1)


def trained(config: Config, arm: tuple, log_rate: float, seed: int) -> tuple:
    """The model of an arm, its parameters, and the sequences."""
    task, name, units = arm
    recurrence, characters = character_memory.model(units, GATES[name]), sequences(config, TASKS[task], seed)
    X, T, counts = characters[:, :-1], characters[:, 1:], [config.trained_steps]
    (found,) = character_memory.trained(recurrence, X, T, log_rate, seed, counts)
    return recurrence, found, characters


def final_loss(config: Config, arm: tuple, log_rate: float, seed: int) -> float:
    recurrence, found, characters = trained(config, arm, log_rate, seed)
    return recurrence.loss(found, characters)


def measure(config: Config, arm: tuple, log_rate: float, seed: int) -> tuple:
    """A piece of each of the first four arrays of the results."""
    recurrence, found, characters = trained(config, arm, log_rate, seed)
    prompt = characters.shape[1] - config.ending - TASKS[arm[0]].shared
    right = (recurrence.predict(found, characters[:, :-1]) == characters[:, 1:])[:, -config.ending :]
    drawn = character_memory.continued(found, characters[:, :prompt], characters.shape[1] - prompt)
    ending = characters[:, -config.ending :]
    loss = recurrence.loss(found, characters)
    return np.array(loss), right.mean(), right[:, 0].mean(), np.mean(drawn[:, -config.ending :] == ending)


def tabled(config: Config, task: Task, seed: int) -> list[float]:
    """(o,): the largest share of the endings that tables of the last characters can have right."""
    characters = sequences(config, task, seed)
    first = characters.shape[1] - config.ending
    return [character_tables.best_by_last(characters, n, first) for n in config.orders]


def run(config: Config, jobs: int, cache) -> Results:
    shape = len(TASKS), len(GATES), len(config.units)
    arms = [(task, name, units) for task in TASKS for name in GATES for units in config.units]
    by_rate, *measured = character_memory.compared(config, arms, jobs, final_loss, measure)
    unseen = range(character_memory.UNSEEN, character_memory.UNSEEN + config.seeds)
    table = [[tabled(config, task, seed) for seed in unseen] for task in TASKS.values()]
    arrays = (a.reshape(*shape, *a.shape[1:]) for a in (*measured, by_rate))
    return Results(*arrays, np.array(table))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means and 95 % t intervals over the seeds; shares in per cent."""
    found = {"trainings": config.trainings}
    shares = {"right": results.right, "parting": results.parting, "drawn": results.drawn}
    for k, task in enumerate(TASKS):
        for u, units in enumerate(config.units):
            for m, name in enumerate(GATES):
                arm = f"{task}, {name}, {units}"
                found[f"loss, {arm}"] = t_interval(results.value[k, m, u])
                found |= {f"{what}, {arm}": t_interval(100.0 * share[k, m, u]) for what, share in shares.items()}
                found[f"seeds with all parted, {arm}"] = np.sum(results.parting[k, m, u] == 1.0)
                found[f"log10 rate, {arm}"] = config.rates[np.nanargmin(results.by_rate[k, m, u])]
            for what, share in shares.items():
                plain, gated = 100.0 * share[k, :, u]
                found[f"{what}: gates less no gates, {task}, {units}"] = t_interval(gated - plain)
        for n, share in zip(config.orders, results.table[k].T):
            found[f"right, {task}, table of the last {n}"] = t_interval(100.0 * share)
    return found


def plot(results, config):
    """Endings by task and model."""
    return character_plots.plot_told_apart(results, config, TASKS)
