"""1 June 2026: does a linear recurrence below sliding-window attention make a long window needless?

Setting: character models on the text of `experiments/shared/text.py`, width 32, one block: a diagonal linear recurrence
h_k = z ⊙ h_{k−1} + W_d x_k of 64 complex numbers, whose real part is added to the stream; then attention of two heads
with rotary positions that sees a history of 1, 2, 5 characters, itself among them, or all of the piece; then an MLP
with silu. Against them the recurrence without attention, and attention without the recurrence. The recurrence has
about the parameters of attention, the window has none: a history of 1 leaves attention all parameters and no history.
Adam with ε = 10⁻⁵ at a constant rate, 120 steps, minibatches of 512 characters, none planned twice, in pieces of 32 or
of 128; float32. The rate of each model is the best of three, by the validation loss of three draws with pieces of 128.
Scaled down from width 64, two blocks, pieces of 64 and 512, minibatches of 4,096 characters and 4,000 steps (--full).

Part 1: all at both lengths, the loss on test text by position, in pieces of 128 whatever the training's were; and
    differences in pairs of the same draw.
"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.jun01_window_attention import window_plots
from experiments.shared import character_blocks as blocks
from experiments.shared import flops, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at the middle: what a short window costs with the recurrence and without it, at each length."


class Kind(NamedTuple):
    """What is below the MLP: the recurrence, attention, or both; and how many characters attention sees."""

    recurs: bool
    attends: bool
    window: int | None = None


WINDOWS = {"1": 1, "2": 2, "5": 5, "all": None}
KINDS = {
    "recurrence": Kind(recurs=True, attends=False),
    **{f"recurrence, {name}": Kind(recurs=True, attends=True, window=window) for name, window in WINDOWS.items()},
    **{f"attention, {name}": Kind(recurs=False, attends=True, window=WINDOWS[name]) for name in ("2", "5", "all")},
}


@dataclass(frozen=True)
class Config(blocks.Config):
    """Models are tested on pieces of the longest length.

    Attributes:
      lengths: characters of a piece, powers of 2.
      units: of the recurrence.
    """

    steps: int = 120
    lengths: tuple[int, ...] = (32, 128)
    units: int = 64
    tested: int = 16_384

    @property
    def bins(self) -> np.ndarray:
        """Positions from 0 at which bins begin, and the end: 1, 2, 3 and 4, 5 to 8, … characters are known."""
        return np.array([0, *2 ** np.arange(int(np.log2(max(self.lengths))) + 1)])


PARTS = {1: Config(quick_every=20)}
FULL = {
    1: Config(
        width=64,
        depth=2,
        heads=4,
        units=128,
        lengths=(64, 512),
        characters=4_096,
        steps=4_000,
        log_rates=(-3.0, -2.75, -2.5, -2.25, -2.0),  # of more steps
        tested=2**17,
        unseen=20,
    )
}


class Results(NamedTuple):
    """Arrays of l lengths, k kinds, q rates, s seeds, u unseen draws, b bins of positions; losses in nats."""

    by_rate: np.ndarray  # (k, q, s), validation loss at the longest length
    value: np.ndarray  # (l, k, u, b), test loss by position, those past the length of training too
    parameters: np.ndarray  # (k,)

    def own(self, config: Config) -> np.ndarray:
        """(l, k, u): the mean over the positions of the length that a model was trained with."""
        ends, sizes = config.bins[1:], np.diff(config.bins)
        inside = [sizes * (ends <= length) / length for length in config.lengths]
        return np.einsum("lkub,lb->lku", self.value, inside)

    def past(self, config: Config) -> np.ndarray:
        """(l, k, u): the mean over the positions past the shortest length."""
        sizes = np.diff(config.bins) * (config.bins[1:] > min(config.lengths))
        return self.value @ (sizes / sizes.sum())


def model_of(config: Config, name: str, length: int) -> blocks.Blocks:
    kind, size = KINDS[name], (config.width, config.depth, config.heads, length)
    units = config.units if kind.recurs else 0
    return blocks.Blocks(*size, 4 * config.width, units=units, attends=kind.attends, window=kind.window)


def tune(config: Config, point: dict, seed: int) -> dict:
    model = model_of(config, point["kind"], max(config.lengths))
    (params,) = blocks.trained(config, model, point["log_rate"], seed, [config.trained_steps])
    return {"loss": model.loss(params, *blocks.held_out(config, model.length, seed))}


def test(config: Config, rates: dict, point: dict, seed: int) -> dict:
    model = model_of(config, point["kind"], point["length"])
    (params,) = blocks.trained(config, model, rates[point["kind"]], seed, [config.trained_steps])
    losses = model.by_position(params, *blocks.held_out(config, max(config.lengths), seed))
    return {"loss": np.array([losses[low:high].mean() for low, high in pairwise(config.bins)], dtype=float)}


def run(config: Config, jobs: int, cache) -> Results:
    names, options = list(KINDS), {"n_jobs": jobs, "progress": False}
    by_rate, rates = blocks.tuned(config, names, tune, jobs, cache)
    grid, seeds = {"length": config.lengths, "kind": names}, config.unseen_seeds
    tested = hg.runs.trials(grid, partial(test, config, rates), seeds=seeds, cache=cache / "unseen", **options)
    models = [model_of(config, name, config.lengths[0]) for name in names]
    return Results(by_rate, tested.array("loss"), np.array([flops.parameters(model) for model in models]))


def differences(results: Results, config: Config) -> dict[str, np.ndarray]:
    """(u,) by name, with the length last: of the mean losses of a piece, in pairs of the same draw."""
    found = {}
    for length, several in zip(config.lengths, results.own(config)):
        losses = dict(zip(KINDS, several))
        for name in KINDS:
            for other in ("recurrence", "recurrence, all", "attention, all"):
                if other != name:
                    found[f"{name} less {other}, {length}"] = losses[name] - losses[other]
        for name in ("2", "5"):  # how much less a short window costs with the recurrence than without it
            costs = [losses[f"{below}, {name}"] - losses[f"{below}, all"] for below in ("attention", "recurrence")]
            found[f"spared, {name}, {length}"] = costs[0] - costs[1]
        for name in ("2", "5", "all"):
            apart = losses[f"recurrence, {name}"] - losses[f"attention, {name}"]
            found[f"recurrence less none, {name}, {length}"] = apart
    return found


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: losses in nats a character, means and 95 % intervals (t) over the unseen draws."""
    found = {"trainings of a grid": results.by_rate[0].size, "unseen draws": results.value.shape[2]}
    rates, own, past = blocks.best_rates(config, results.by_rate), results.own(config), results.past(config)
    short, long = min(config.lengths), max(config.lengths)
    at = {length: i for i, length in enumerate(config.lengths)}
    for k, name in enumerate(KINDS):
        found[f"{name}, parameters"], found[f"{name}, log10 rate"] = results.parameters[k], rates[k]
        found[f"{name}, diverged"] = np.isnan(results.by_rate[k]).sum() + np.isnan(results.value[:, k]).sum()
        for length, i in at.items():
            found[f"{name}, {length}"], found[f"{name}, {length}, mean"] = t_interval(own[i, k]), own[i, k].mean()
            found[f"{name}, {length}, by position"] = results.value[i, k].mean(axis=0)
            found[f"{name}, {length}, past {short}"] = t_interval(past[i, k])
        found[f"{name}, {short} less {long}, past {short}"] = t_interval(past[at[short], k] - past[at[long], k])
    pairs = differences(results, config)
    found |= {name: t_interval(values) for name, values in pairs.items()}
    late = dict(zip(KINDS, results.value[at[long], ..., -1]))  # the second half of the longest pieces
    for name in KINDS:
        below = name.partition(",")[0]
        if name != f"{below}, all":
            found[f"{name} less {below}, all, {long}, late"] = t_interval(late[name] - late[f"{below}, all"])
            costs = [pairs[f"{name} less {below}, all, {length}"] for length in (long, short)]
            found[f"{name} less {below}, all, {long} less {short}"] = t_interval(costs[0] - costs[1])
    return found


plot = window_plots.plot_windows

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
