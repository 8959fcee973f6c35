"""Digits as sequences of pixels, read and drawn by diagonal recurrences whose memory is kept or learned.

The memory of a level is its sizes and angles: the leaves "log_decay" and "angle" of
:class:`hypergrad.nn.DiagonalRecurrence`.
"""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import digits

MEMORY = ("log_decay", "angle")
# The log-uniform ranges that memory starts from, as log −log size and log θ: (low, high) each.
DEFAULT_RANGES = np.array([np.log(-np.log1p(-np.array([1e-4, 1e-3]))), np.log([2 * np.pi / 1000, 2 * np.pi])])
BATCH = 10  # sequences in a minibatch

_MEMORY_DRAW = 8  # the purpose of these random numbers, in seeds (seed, purpose)


def pooled(X, side: int) -> np.ndarray:
    """Images (n, 784), averaged to side × side pixels: sequences (n, side²), grey values from 0 to 1, row by row."""
    block = 28 // side
    return X.reshape(-1, side, block, side, block).mean((2, 4)).reshape(-1, side**2)


def pieces(seed: int, side: int, *counts: int) -> list[np.ndarray]:
    """Disjoint random pieces of so many digits each, as sequences."""
    return [pooled(X, side) for X, _ in digits.draw(seed, *counts)[:-1]]


def to_predict(sequences) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, both (n, T, 1) in float32, that ask for each pixel after those before it; 0 comes first."""
    before = np.concatenate([np.zeros((len(sequences), 1)), sequences[:, :-1]], axis=1)
    return tuple(a[..., None].astype(np.float32) for a in (before, sequences))


def split(params) -> tuple[list, dict]:
    """The memory of every level, and the parameters without it."""
    memory = [{name: level[name] for name in MEMORY} for level in params["levels"]]
    levels = [{name: leaf for name, leaf in level.items() if name not in MEMORY} for level in params["levels"]]
    return memory, {**params, "levels": levels}


def joined(memory: list, rest) -> dict:
    """What :func:`split` took apart."""
    return {**rest, "levels": [{**level, **kept} for level, kept in zip(rest["levels"], memory)]}


def trained(model_loss, params, *, learns_memory: bool, lr: float, counts) -> list:
    """The parameters after so many steps of Adam, with a memory that is learned with them or stays as it is.

    A memory that stays is no parameter of the training, and costs nothing there; it may still be differentiated.

    Args:
      model_loss: ``loss(params, hyper, step)`` of all parameters, which ignores hyper.
      counts: of steps, the last is the number of steps.
    """
    options = {"steps": counts[-1], "save_at": counts, "adjoint": hg.Stored(), "check_purity": False}
    if learns_memory:
        return hg.train(model_loss, params, hg.Adam(lr), **options)
    memory, rest = split(params)
    loss = lambda rest, memory, step: model_loss(joined(memory, rest), None, step)
    return [joined(memory, found) for found in hg.train(loss, rest, hg.Adam(lr), memory, **options)]


def with_ranges(params, ranges, draw: int) -> dict:
    """Parameters whose memory is drawn anew, log-uniform in these ranges, (2, 2) like :data:`DEFAULT_RANGES`."""
    rng, levels = np.random.default_rng((draw, _MEMORY_DRAW)), []
    for level in params["levels"]:
        shares = rng.uniform(size=(2, len(level["angle"])))
        logs = [low + (high - low) * share for (low, high), share in zip(ranges, shares)]
        memory = {"log_decay": logs[0], "angle": anp.exp(logs[1])}
        levels.append({**level, **{name: a.astype(level[name].dtype) for name, a in memory.items()}})
    return {**params, "levels": levels}


def best_readout(level, X, targets, *others) -> list[float]:
    """Mean squared errors of the best weights there are for one level with this memory, by least squares.

    For a single input: then the output is a linear combination of the states that the input alone drives, and
    no training of the weights comes below this on the data it is of.

    Args:
      level: with its memory, of N units.
      X, targets: (n, T, 1), what the weights are fitted to.
      others: further pairs to take the error on.
    """
    found, wanted = best_drawing(level, X, targets, *(x for x, _ in others)), [targets, *(t for _, t in others)]
    return [float(np.mean((one - t) ** 2)) for one, t in zip(found, wanted)]


def best_drawing(level, X, targets, *others) -> list[np.ndarray]:
    """The outputs (n, T, 1) of these weights, of the same arguments; for X, and for other inputs."""
    z = np.exp(1j * level["angle"].astype(float) - np.exp(level["log_decay"].astype(float)))

    def states(X):
        h = hg.nn.diagonal_recurrence(z, np.repeat(X.astype(float), len(z), axis=2)).real
        return np.concatenate([h, np.ones((*h.shape[:2], 1))], axis=2)

    rows = states(X)
    weights = np.linalg.lstsq(rows.reshape(-1, len(z) + 1), np.ravel(targets).astype(float), rcond=1e-10)[0]
    return [(a @ weights)[..., None] for a in (rows, *map(states, others))]


def read(params, X, *, skip: bool = False, gate: str = "input", first=None) -> tuple:
    """Outputs of a stack of levels at every position, (n, T, outputs), and the last state of each level, (n, units).

    Like ``hg.nn.DiagonalRecurrence(…).logits``, with three things more to choose.

    Args:
      skip: a level adds to what it reads, instead of replacing it (from the second level on).
      gate: "input" for t = σ(b + W_t x), "no bias" for t = σ(W_t x), "one" for t = 1; without gates in params, 1.
      first: the states before the first position, one for each level; 0 if None.
    """
    a, last = anp.swapaxes(X, 0, 1), []
    for number, level in enumerate(params["levels"]):
        exponent, drive = 1j * level["angle"] - anp.exp(level["log_decay"]), anp.dot(a, level["input"])
        if "gate" in level and gate != "one":
            time = hg.nn.sigmoid(anp.dot(a, level["gate"]) + (level["gate_bias"] if gate == "input" else 0.0))
            exponent, drive = time * exponent, time * drive
        z = anp.exp(exponent)
        z = z if len(z.shape) == 1 else anp.swapaxes(z, 0, 1)
        states = hg.nn.diagonal_recurrence(z, anp.swapaxes(drive, 0, 1), None if first is None else first[number])
        last.append(states[:, -1])
        read_out = anp.swapaxes(anp.real(states), 0, 1)
        a = a + read_out if skip and number else read_out
    return anp.swapaxes(anp.dot(a, params["output"]) + params["output_bias"], 0, 1), last


def times(params, X, gate: str = "input") -> np.ndarray:
    """The times t of the lowest level, (n, T, units)."""
    (level, *_) = params["levels"]
    return np.asarray(hg.nn.sigmoid(anp.dot(X, level["gate"]) + (level["gate_bias"] if gate == "input" else 0.0)))
