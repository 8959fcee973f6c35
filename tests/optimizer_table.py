"""Every optimizer, with its reference update and hyperparameters of every form, for all property tests."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import unrolled

import hypergrad as hg


@dataclass(frozen=True)
class Nesterov(hg.Optimizer):
    """A user's own optimizer: momentum with a look ahead."""

    lr: Any
    momentum: Any = 0.9

    def init(self, w):
        return (np.zeros_like(w),)

    def step(self, w, s, g, h, step):
        v = h.momentum * s[0] - (1 - h.momentum) * g
        return w + h.lr * (h.momentum * v - (1 - h.momentum) * g), (v,)


class Entry(NamedTuple):
    make: Any  # hyperparameters -> optimizer
    update: Any  # the reference
    ranges: tuple  # from which hyperparameters are drawn
    exact: Any = None  # the same in exact arithmetic, if there is such


OPTIMIZERS = {
    "SGD": Entry(hg.SGD, unrolled.sgd, ((0.1, 0.5), (0.1, 0.9)), lambda *h: hg.SGD(*h, exact=True)),
    "RMSProp": Entry(hg.RMSProp, unrolled.rmsprop, ((0.01, 0.05), (0.5, 0.95), (1e-3, 1e-2))),
    "Adam": Entry(
        hg.Adam,
        unrolled.adam,
        ((0.01, 0.05), (0.3, 0.9), (0.8, 0.99), (1e-3, 1e-2)),
        lambda *h: hg.Adam(*h, exact=True),
    ),
    "Nesterov": Entry(Nesterov, unrolled.nesterov, ((0.1, 0.5), (0.1, 0.9))),
}
FORMS = ("scalar", "per step", "per layer", "per array")


def draw(entry, form, steps, layers, seed):
    """One value of that form for each hyperparameter; ``layers`` have a weight and a bias each."""
    rng = np.random.default_rng(seed)
    shapes = {"scalar": lambda u: float(u()), "per step": lambda u: u(steps)}
    shapes["per layer"] = lambda u: [u(steps) if layer % 2 else float(u()) for layer in range(layers)]
    shapes["per array"] = lambda u: [(float(u()), u(steps)) for _ in range(layers)]
    return tuple(shapes[form](lambda *size, r=r: rng.uniform(*r, *size)) for r in entry.ranges)


__all__ = ["FORMS", "OPTIMIZERS", "Entry", "Nesterov", "draw", "np"]
