"""24 May 2026: is an MLP with a gate, down(φ(gate x) ⊙ compute x), better at equal parameters and at equal FLOPs?

Setting: character transformers on the text of `experiments/shared/text.py`, width 32, one block, two heads, pieces of
64, rotary positions; Adam with ε = 10⁻⁵ at a constant rate, minibatches of 512 characters, none planned twice; float32.
The MLP of the block is down(φ(up x)) with 4 · 32 hidden units, or has a gate and as many fewer that parameters are
equal, or a gate and as many, which is half of an MLP more. The rate of each is the best of three, by the validation
loss of three draws. FLOPs are those of the matrix products (`experiments/shared/flops.py`): each parameter of a matrix
is one multiplication a character, so that what has equal parameters has equal FLOPs as well, and the two comparisons
differ only where one model trains for fewer steps. All train for the FLOPs of 200 steps of the plain MLP. Scaled down
from width 64, two blocks, pieces of 128, minibatches of 2,048 characters and 4,000 steps (--full).

Part 1: gelu and silu with and without a gate, a gate without φ, and a gate with as many hidden units as the plain MLP:
    the loss on test text along training, over steps and over FLOPs, and at the end differences in pairs of a draw.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.may24_compute_gate import compute_gate_plots
from experiments.shared import character_blocks as blocks
from experiments.shared import flops, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at the differences: whether gates lie below 0 at equal parameters, and by how much."


class Kind(NamedTuple):
    """An MLP: its activation, whether that is a gate's, and its parameters: those of 4 · width units without a gate,
    or, if ``wide``, with one."""

    activation: str
    gated: bool
    wide: bool = False


KINDS = {
    "MLP, gelu": Kind("gelu", False),
    "MLP, silu": Kind("silu", False),
    "gate, gelu": Kind("gelu", True),
    "gate, silu": Kind("silu", True),
    "gate, no φ": Kind("identity", True),
    "wide gate, silu": Kind("silu", True, wide=True),
}
PAIRS = (  # each less the other
    ("gate, gelu", "MLP, gelu"),
    ("gate, silu", "MLP, silu"),
    ("gate, no φ", "MLP, silu"),
    ("gate, no φ", "MLP, gelu"),
    ("gate, silu", "MLP, gelu"),
    ("wide gate, silu", "MLP, silu"),
    ("wide gate, silu", "gate, silu"),
    ("gate, silu", "gate, no φ"),
    ("gate, gelu", "gate, no φ"),
    ("MLP, silu", "MLP, gelu"),
)


@dataclass(frozen=True)
class Config(blocks.Config):
    """``steps`` are those of the plain MLP.

    Attributes:
      length: characters of a piece.
      measured: when the test loss is taken, as shares of the training.
    """

    steps: int = 200
    length: int = 64
    measured: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


PARTS = {1: Config(quick_every=10)}
RATES = (-3.0, -2.75, -2.5, -2.25, -2.0)  # of more steps
FULL = {
    1: Config(width=64, depth=2, heads=4, length=128, characters=2_048, steps=4_000, log_rates=RATES, unseen=20),
}


class Results(NamedTuple):
    """Arrays of k kinds, q rates, s seeds, u unseen draws, m points of a training; losses in nats a character."""

    by_rate: np.ndarray  # (k, q, s), validation loss at the end
    value: np.ndarray  # (k, u, m), test loss along training at the best rate
    steps: np.ndarray  # (k, m), after which
    flops: np.ndarray  # (k, m), spent by then
    parameters: np.ndarray  # (k,)
    hidden: np.ndarray  # (k,), units of the MLP


def hidden_of(config: Config, kind: Kind) -> int:
    """The whole number of units that comes nearest to the parameters of this kind, biases among them."""
    plain, gated = 2 * config.width + 1, 3 * config.width + 2  # parameters of a hidden unit
    return round(4 * config.width * (gated if kind.wide else plain) / (gated if kind.gated else plain))


def model_of(config: Config, name: str) -> blocks.Blocks:
    kind = KINDS[name]
    size = config.width, config.depth, config.heads, config.length
    return blocks.Blocks(*size, hidden_of(config, kind), kind.activation, kind.gated)


def steps_of(config: Config, name: str) -> list[int]:
    """(m,): when the test loss is taken; the last is what the FLOPs of all the steps of a plain MLP are enough for."""
    each, plain = (flops.training(model_of(config, other)) for other in (name, "MLP, silu"))
    shares = np.array(config.measured) * (config.trained_steps * plain / each)
    return [int(count) for count in np.maximum(np.floor(shares + 1e-9), np.arange(1, len(shares) + 1))]


def tune(config: Config, point: dict, seed: int) -> dict:
    model, counts = model_of(config, point["kind"]), steps_of(config, point["kind"])[-1:]
    (params,) = blocks.trained(config, model, point["log_rate"], seed, counts)
    return {"loss": model.loss(params, *blocks.held_out(config, config.length, seed))}


def test(config: Config, rates: dict, point: dict, seed: int) -> dict:
    model, counts, name = model_of(config, point["kind"]), steps_of(config, point["kind"]), point["kind"]
    saved = blocks.trained(config, model, rates[name], seed, counts)
    pieces = blocks.held_out(config, config.length, seed)
    return {"loss": np.array([model.loss(params, *pieces) for params in saved], dtype=float)}


def run(config: Config, jobs: int, cache) -> Results:
    names, options = list(KINDS), {"n_jobs": jobs, "progress": False}
    by_rate, rates = blocks.tuned(config, names, tune, jobs, cache)
    kinds, seeds = {"kind": names}, config.unseen_seeds
    tested = hg.runs.trials(kinds, partial(test, config, rates), seeds=seeds, cache=cache / "unseen", **options)
    models = [model_of(config, name) for name in names]
    steps = np.array([steps_of(config, name) for name in names])
    per_step = np.array([float(config.characters * flops.training(model)) for model in models])
    return Results(
        by_rate,
        tested.array("loss"),
        steps,
        steps * per_step[:, None],
        np.array([flops.parameters(model) for model in models]),
        np.array([model.hidden for model in models]),
    )


def difference(results: Results, name: str, other: str) -> np.ndarray:
    """(u,): of the losses at the end, at equal FLOPs, in pairs of the same draw."""
    names = list(KINDS)
    return results.value[names.index(name), :, -1] - results.value[names.index(other), :, -1]


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: losses in nats a character, means and 95 % intervals (t) over the unseen draws."""
    found = {"trainings of a grid": results.by_rate[0].size, "unseen draws": results.value.shape[1]}
    for k, (name, rate) in enumerate(zip(KINDS, blocks.best_rates(config, results.by_rate))):
        found[name], found[f"{name}, mean"] = t_interval(results.value[k, :, -1]), results.value[k, :, -1].mean()
        found[f"{name}, validation"] = np.nanmin(results.by_rate[k].mean(axis=-1))
        found[f"{name}, log10 rate"], found[f"{name}, hidden"] = rate, results.hidden[k]
        found[f"{name}, parameters"], found[f"{name}, steps"] = results.parameters[k], results.steps[k, -1]
        found[f"{name}, 10^9 FLOPs"] = results.flops[k, -1] / 1e9
        found[f"{name}, along training"] = results.value[k].mean(axis=0)
        found[f"{name}, diverged"] = np.isnan(results.by_rate[k]).sum() + np.isnan(results.value[k]).any(axis=-1).sum()
    for name, other in PAIRS:
        found[f"{name} less {other}"] = t_interval(difference(results, name, other))
        found[f"{name} below {other}"] = (difference(results, name, other) < 0.0).sum()
        first, second = (list(KINDS).index(each) for each in (name, other))
        along = results.value[first] - results.value[second]
        found[f"{name} less {other}, along training"] = along.mean(axis=0)
        found[f"{name} less {other}, a tenth"] = t_interval(along[:, 1])
    return found


plot = compute_gate_plots.plot_gates

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
