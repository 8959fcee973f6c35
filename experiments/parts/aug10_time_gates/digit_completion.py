"""Recurrences that read the upper half of a digit, and draw the lower half from what they keep of it.

Here a position is a row of pixels. After the upper half comes an impulse, and then nothing, so what is drawn of one
digit comes from the state. Completed are also mixtures of two digits, and digits that were left out in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.aug10_time_gates import gate_plots
from experiments.shared import descents, digits, pixel_memory
from experiments.shared.intervals import t_interval
from experiments.shared.runner import PartConfig

WAYS = {"no gates": False, "gates": True}
SHOWN = (
    3,
    8,
)  # the figure shows what is drawn between these digits, the first unseen images of them
BASELINES = ("mean lower half", "lower half of the nearest upper half", "ridge regression")
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # of ridge regression, of which a fifth of the images chooses
SHARES = np.linspace(0.0, 1.0, 5)  # of the second digit


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A quick run trains ``every`` times shorter."""

    units: int = 32
    steps: int = 300
    lr: float = 0.01
    side: int = 14
    images: int = 500  # trained on, also when a digit is left out
    per_digit: int = 30  # unseen images of each digit
    input_scale: float = 0.1
    pairs: int = 20  # of unseen images of two digits, between which is interpolated


class Results(NamedTuple):
    """Arrays of w ways, s seeds, b baselines, 10 digits.

    The first of the 11 trainings leaves none out, and number d + 1 leaves out digit d.
    """

    value: np.ndarray  # (w, s, 11, 10), mean squared error of the lower half of unseen images, by digit
    baseline: np.ndarray  # (b, s, 11, 10), the same of BASELINES
    looks: np.ndarray  # (w, s, 2, 10, 10), share of a digit's completions that look most like each; left out second
    between: np.ndarray  # (w, s, 2, 5), distance from the mixture of completions, by share; mean of states, of inputs
    shown: np.ndarray  # (w, 2, 5, side²), of seed 0: completions between two digits, by mean of states, of inputs
    drawn: np.ndarray  # (w, 3, 10, side²), of seed 0: true digits, completions, and by who never saw the digit; float32


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"shown": None, "drawn": None}  # the pictures, of seed 0


@lru_cache
def images(seed: int, config: Config) -> tuple:
    """Sequences and digits: of a pool to train on, 10 × per_digit unseen ones in order, and their digits."""
    (X, T), (U, V), _ = digits.draw(seed, 5_000, 5_000)
    of, others = T.argmax(axis=1), V.argmax(axis=1)
    unseen = np.concatenate([U[others == digit][: config.per_digit] for digit in range(10)])
    return pixel_memory.pooled(X, config.side), of, pixel_memory.pooled(unseen, config.side)


def upper(sequences) -> np.ndarray:
    """Inputs (n, side, side + 1): the rows of the upper half, then zeros; and an impulse where drawing begins."""
    side = round(np.sqrt(sequences.shape[1]))
    X = np.zeros((len(sequences), side, side + 1), np.float32)
    X[:, : side // 2, :-1] = sequences.reshape(-1, side, side)[:, : side // 2]
    X[:, side // 2, -1] = 1.0  # without it, what all digits have in common could not be drawn
    return X


def drawn(params, X):
    """The lower half that is drawn after these inputs, (n, side² / 2)."""
    outputs, _ = pixel_memory.read(params, X)
    return anp.reshape(outputs[:, X.shape[1] // 2 :], (len(X), -1))


def drawn_from(params, states: list, X):
    """The same from the states after the upper half, one (n, units) for each level."""
    outputs, _ = pixel_memory.read(params, X[:, X.shape[1] // 2 :], first=states)
    return np.reshape(outputs, (len(X), -1))


def learn(config: Config, gated: bool, seed: int, sequences):
    """The parameters after training on these sequences, (n, T)."""
    model = hg.nn.DiagonalRecurrence(config.side + 1, config.units, config.side, gated=gated, targets="reals")
    X, T = upper(sequences), sequences[:, sequences.shape[1] // 2 :].astype(np.float32)

    def loss(params, hyper, step):
        first = step * pixel_memory.BATCH % len(X)
        rows = slice(first, first + pixel_memory.BATCH)
        return anp.mean((drawn(params, X[rows]) - T[rows]) ** 2)

    params = model.init(seed, {"input": config.input_scale}, np.float32)
    return hg.train(loss, params, hg.Adam(config.lr), steps=max(2, config.steps // config.every))


def baselines(sequences, uppers) -> list[np.ndarray]:
    """What BASELINES draw below upper halves (n, T/2), knowing these sequences."""
    half = uppers.shape[1]
    X, Y = sequences[:, :half], sequences[:, half:]
    nearest = (np.sum(X**2, axis=1) - 2.0 * uppers @ X.T).argmin(axis=1)  # less |upper|², the squared distances

    def ridge(rows, penalty, inputs):
        A, mean = X[rows] - X[rows].mean(axis=0), Y[rows].mean(axis=0)
        weights = np.linalg.solve(A.T @ A + penalty * np.eye(half), A.T @ (Y[rows] - mean))
        return (inputs - X[rows].mean(axis=0)) @ weights + mean

    fitted, held_out = slice(0, len(X) * 4 // 5), slice(len(X) * 4 // 5, None)
    errors = [np.mean((ridge(fitted, penalty, X[held_out]) - Y[held_out]) ** 2) for penalty in PENALTIES]
    best = PENALTIES[int(np.argmin(errors))]
    return [np.tile(Y.mean(axis=0), (len(uppers), 1)), Y[nearest], ridge(slice(None), best, uppers)]


def by_digit(config: Config, found, sequences) -> np.ndarray:
    """(10,): the mean squared error of completions (n, T/2)."""
    squares = (found - sequences[:, -found.shape[1] :]) ** 2
    return squares.reshape(10, config.per_digit, -1).mean(axis=(1, 2))


def complete(config: Config, name: str, seed: int, cache) -> tuple:
    """Trainings with all digits and with each left out: a piece of each array of the results."""
    pool, of, unseen = images(seed, config)
    half = pool.shape[1] // 2
    centres = np.array([pool[of == digit, half:].mean(axis=0) for digit in range(10)])
    X, value, baseline, completions = upper(unseen), [], [], []
    for left_out in (None, *range(10)):
        trained_on = pool[of != left_out][: config.images] if left_out is not None else pool[: config.images]
        params = learn(config, WAYS[name], seed, trained_on)
        found = np.asarray(drawn(params, X))
        if left_out is None:
            whole = params
        value.append(by_digit(config, found, unseen))
        baseline.append([by_digit(config, each, unseen) for each in baselines(trained_on, unseen[:, :half])])
        completions.append(found.reshape(10, config.per_digit, half))
    never_saw = np.array([completions[digit + 1][digit] for digit in range(10)])
    looks = [looks_like(each, centres) for each in (completions[0], never_saw)]
    first = unseen.reshape(10, config.per_digit, -1)[:, 0]
    halves = [np.concatenate([first[:, :half], each[:, 0]], axis=1) for each in (completions[0], never_saw)]
    between, shown = mixtures(config, whole, unseen, np.random.default_rng((seed, 10)))
    return value, np.moveaxis(baseline, 1, 0), looks, between, shown, np.array([first, *halves])


def looks_like(found, centres) -> np.ndarray:
    """(10, 10): shares of the completions (10, n, T/2) of each digit whose nearest mean lower half is that of each."""
    nearest = np.sum((found[:, :, None] - centres) ** 2, axis=-1).argmin(axis=-1)
    return np.array([[np.mean(row == digit) for digit in range(10)] for row in nearest])


def mixtures(config: Config, params, unseen, rng) -> tuple:
    """Completions between two digits, once by mixed states and once by mixed inputs.

    Returns:
      How far they are from the same mixture of the two completions, root mean squares relative to the distance of
      the two, (2, 5); and those of the digits shown, with the mixed upper half above, (2, 5, T).
    """
    each = unseen.reshape(10, config.per_digit, -1)
    half, chosen = each.shape[-1] // 2, [(each[SHOWN[0], 0], each[SHOWN[1], 0])]
    while len(chosen) < config.pairs:
        one, other = rng.choice(10, 2, replace=False)
        chosen.append((each[one, rng.integers(config.per_digit)], each[other, rng.integers(config.per_digit)]))
    ends = np.stack(chosen, axis=1)  # (2, pairs, T)
    X = [upper(sequences) for sequences in ends]
    states = [pixel_memory.read(params, x[:, : config.side // 2])[1] for x in X]
    first, last = (np.asarray(drawn(params, x)) for x in X)
    apart, shown = np.empty((2, len(SHARES))), np.empty((2, len(SHARES), 2 * half))
    for i, share in enumerate(SHARES):
        mix = lambda a, b, share=share: (1.0 - share) * a + share * b
        mixed_states = [mix(a, b).astype(a.dtype) for a, b in zip(*states)]
        mixed_inputs = mix(*X).astype(np.float32)
        for row, found in enumerate((drawn_from(params, mixed_states, mixed_inputs), drawn(params, mixed_inputs))):
            apart[row, i] = np.sqrt(np.mean((found - mix(first, last)) ** 2) / np.mean((first - last) ** 2))
            shown[row, i] = np.concatenate([mixed_inputs[0, : config.side // 2, :-1].ravel(), found[0]])
    return apart, shown


def run(config: Config, jobs: int, cache) -> Results:
    value, baseline, looks, between, shown, halves = descents.in_parallel(complete, config, tuple(WAYS), jobs, cache)
    baseline = np.moveaxis(baseline[0], 1, 0)  # the same for all ways
    pictures = [a[:, 0].astype(np.float32) for a in (shown, halves)]
    if config.first_seed:  # then seed 0 is not among them
        pictures = [a[:0] for a in pictures]
    return Results(value, baseline, looks, between, *pictures)


def own(results_of_digits) -> np.ndarray:
    """(…, 10): of (…, 11, 10), the error on each digit of the training that left it out."""
    return np.stack([results_of_digits[..., digit + 1, digit] for digit in range(10)], axis=-1)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes, means and 95 % t intervals over the seeds."""
    found = {}
    rows = [*zip(WAYS, results.value), *zip(("mean", "nearest", "ridge"), results.baseline)]
    for name, errors in rows:
        seen, unseen = errors[:, 0], own(errors)
        found[f"all digits, {name}"], found[f"left out, {name}"] = (t_interval(e.mean(axis=1)) for e in (seen, unseen))
        found[f"left out less all, {name}"] = t_interval((unseen - seen).mean(axis=1))
        for other, errors_of_other in rows[len(WAYS) :]:
            if other != name:
                found[f"left out, {name} less {other}"] = t_interval((unseen - own(errors_of_other)).mean(axis=1))
                found[f"all digits, {name} less {other}"] = t_interval((seen - errors_of_other[:, 0]).mean(axis=1))
        ratio = 100.0 * (unseen.mean(axis=0) / seen.mean(axis=0) - 1.0)
        found[f"rise by digit, {name}"] = ratio
        found[f"hardest digit, {name}"], found[f"its rise, {name}"] = ratio.argmax(), ratio.max()
        found[f"easiest digit, {name}"], found[f"its rise at least, {name}"] = ratio.argmin(), ratio.min()
    first = results.value[:, :, 0].mean(axis=-1)
    found["gates less no gates"] = t_interval(first[1] - first[0])
    found["gates less ridge"] = t_interval(first[1] - results.baseline[2, :, 0].mean(axis=-1))
    for name, looks, between in zip(WAYS, results.looks, results.between):
        itself = 100.0 * np.diagonal(looks, axis1=-2, axis2=-1).mean(axis=-1)
        found[f"looks like itself, {name}"], found[f"looks like itself, left out, {name}"] = itself.mean(axis=0)
        for digit, row in enumerate(100.0 * looks[:, 1].mean(axis=0)):
            found[f"left out {digit} looks like, {name}"] = row
        found[f"apart, states, {name}"], found[f"apart, inputs, {name}"] = 100.0 * between[..., 2].mean(axis=0)
    return found


def plot(results, config):
    """Completions of seed 0 above; below, what is between two digits and what a digit costs that was left out."""
    return gate_plots.plot_completions(results, config, tuple(WAYS), own)
