"""What descents on validation sets of several sizes say of overfitting: gaps, turns, and ways to choose an iteration.

Everything here is computed from the ``Results`` of nov26_generalisation, arrays of p spaces, s seeds, i iterations.
"""

from __future__ import annotations

import numpy as np

FEWEST, _BOOTSTRAP = 54, 30  # hyperparameters of the law; the purpose of these random numbers, in seeds (seed, purpose)
HALF, AS_HALF = "other half", "iteration of the half"  # the ways that need descents on n / 2
WAYS = ("last", "lowest validation", HALF, AS_HALF, "lowest third")  # the last one cannot be had: it is a bound


def of(results, config, n: int):
    """On a descent on n images: training, validation and third loss, (p, s, i) each, and the third error (p, s, i)."""
    at = config.descended().index(n)
    arrays = (
        results.train[:, at],
        results.valid[:, at, ..., at],
        results.third[:, at, ..., 0],
        results.third[:, at, ..., 1],
    )
    return tuple(array.astype(float) for array in arrays)


def on_other_half(results, config, n: int) -> np.ndarray:
    """On a descent on the first half of n images, the loss on the second half: (p, s, i)."""
    whole, half = (config.descended().index(size) for size in (n, n // 2))
    valid = results.valid[:, half].astype(float)
    return 2.0 * valid[..., whole] - valid[..., half]


def chosen(results, config, n: int, way: str) -> tuple[np.ndarray, np.ndarray]:
    """Third loss and error (p, s) at the iteration that is chosen one of the WAYS.

    "other half" takes the descent on n / 2, where the other images have their lowest loss; "iteration of the half" the
    descent on all n at that same iteration.
    """
    _, valid, third, error = of(results, config, n)
    if way == "last":
        return third[..., -1], error[..., -1]
    if way in (HALF, AS_HALF):
        valid = on_other_half(results, config, n)
    if way == HALF:
        _, _, third, error = of(results, config, n // 2)
    at = np.nanargmin(third if way == "lowest third" else valid, axis=-1)[..., None]
    return tuple(np.take_along_axis(array, at, axis=-1)[..., 0] for array in (third, error))


def gap(results, config, n: int) -> np.ndarray:
    """How much third loss less validation loss has grown from the start to the lowest validation loss: (p, s)."""
    _, valid, third, _ = of(results, config, n)
    lowest = np.nanargmin(valid, axis=-1)[..., None]
    growth = (third - valid) - (third - valid)[..., :1]
    return np.take_along_axis(growth, lowest, axis=-1)[..., 0]


def turn(third: np.ndarray) -> int:
    """The iteration at which the mean over seeds of the third loss (s, i) is lowest."""
    return int(np.argmin(third.mean(axis=0)))


def rise(third: np.ndarray) -> np.ndarray:
    """From the turn to the last iteration, of each seed (s,); by the turn of the other seeds, so that it is fair."""
    others = [np.delete(third, seed, axis=0) for seed in range(len(third))]
    return np.array([row[-1] - row[turn(rest)] for row, rest in zip(third, others)])


def best_of_search(results, place: int, n: int) -> np.ndarray:
    """Third loss and error (s, 2) of the trial of lowest validation; the places are those of spaces and sizes."""
    rows = results.searched[place, n].astype(float)
    at = np.argmin(rows[..., 0], axis=-1)
    return rows[np.arange(len(rows)), at, 1:]


def exponents(results, config) -> tuple[float, ...]:
    """a and b of a gap ~ p^a / n^b, each with the ends of its 95 % bootstrap interval over seeds.

    By least squares of the logs of means over seeds, from 54 hyperparameters on; those of fewer are not above noise.
    """
    counts, sizes = np.array(list(config.spaces())), config.descended()
    many = counts >= FEWEST
    gaps = np.stack([gap(results, config, n)[many] for n in sizes], axis=1)  # (p, n, s)
    logs = [np.log(each).ravel() for each in np.meshgrid(counts[many], sizes, indexing="ij")]
    design = np.column_stack([logs[0], -logs[1], np.ones(len(logs[0]))])

    def fitted(seeds) -> np.ndarray:
        return np.linalg.lstsq(design, np.log(gaps[..., seeds].mean(axis=-1)).ravel(), rcond=None)[0][:2]

    rng, seeds = np.random.default_rng((0, _BOOTSTRAP)), np.arange(gaps.shape[-1])
    drawn = [fitted(rng.choice(seeds, len(seeds))) for _ in range(2_000)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return tuple(float(x) for x in np.column_stack([fitted(seeds), low, high]).ravel())
