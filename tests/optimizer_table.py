"""Every optimizer, with its reference update and hyperparameters of every form, for all property tests."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
import unrolled

import hypergrad as hg
from hypergrad.nests import flatten, unflatten


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


@dataclass(frozen=True)
class Normalised(hg.optimizers.WholeNest):
    """A user's own optimizer that needs norms over all arrays, and over each."""

    lr: Any

    def init(self, params):
        return ()

    def step(self, params, state, gradient, h, step):
        (ws, structure), gs = flatten(params), flatten(gradient)[0]
        rates = flatten(h.lr)[0]
        rates = rates * len(ws) if len(rates) == 1 else rates
        total = anp.sqrt(sum(anp.sum(g**2) for g in gs))
        trust = [anp.sqrt(anp.sum(w**2) / (anp.sum(g**2) + 0.01)) for w, g in zip(ws, gs)]
        return unflatten(structure, [w - a * r * g / (1.0 + total) for w, g, r, a in zip(ws, gs, trust, rates)]), ()


class Entry(NamedTuple):
    make: Any  # hyperparameters -> optimizer
    update: Any  # the reference
    ranges: tuple  # from which hyperparameters are drawn
    exact: Any = None  # the same in exact arithmetic, if there is such
    of_all: bool = False  # whether the last hyperparameter holds for all arrays at once


SGD_RANGES = ((0.1, 0.5), (0.1, 0.9))
ADAM_RANGES = ((0.01, 0.05), (0.3, 0.9), (0.8, 0.99), (1e-3, 1e-2))
OPTIMIZERS = {
    "SGD": Entry(hg.SGD, unrolled.sgd, SGD_RANGES, lambda *h: hg.SGD(*h, exact=True)),
    "RMSProp": Entry(hg.RMSProp, unrolled.rmsprop, ((0.01, 0.05), (0.5, 0.95), (1e-3, 1e-2))),
    "Adam": Entry(
        hg.Adam,
        unrolled.adam,
        ADAM_RANGES,
        lambda *h: hg.Adam(*h, exact=True),
    ),
    "Nesterov": Entry(Nesterov, unrolled.nesterov, SGD_RANGES),
    "decaying SGD": Entry(
        hg.SGD, unrolled.decaying(unrolled.sgd, 2), (*SGD_RANGES, (0.05, 0.5)), lambda *h: hg.SGD(*h, exact=True)
    ),
    "built-in Nesterov": Entry(
        lambda *h: hg.SGD(*h, nesterov=True), unrolled.decaying(unrolled.nesterov, 2), (*SGD_RANGES, (0.05, 0.5))
    ),
    "AdamW": Entry(
        hg.Adam, unrolled.decaying(unrolled.adam, 4), (*ADAM_RANGES, (0.5, 2.0)), lambda *h: hg.Adam(*h, exact=True)
    ),
    "decaying RMSProp": Entry(
        hg.RMSProp,
        unrolled.decaying(unrolled.rmsprop, 3),
        ((0.01, 0.05), (0.5, 0.95), (1e-3, 1e-2), (0.5, 2.0)),
    ),
    "clipped SGD": Entry(
        lambda *h: hg.Clipped(hg.SGD(*h[:2]), h[2]),
        unrolled.clipped(unrolled.sgd),
        (*SGD_RANGES, (0.3, 1.0)),
        lambda *h: hg.Clipped(hg.SGD(*h[:2], exact=True), h[2]),
        of_all=True,
    ),
    "mean of clipped": Entry(
        lambda *h: hg.Clipped(hg.Accumulated(Nesterov(*h[:2]), every=2), h[2]),
        unrolled.clipped(unrolled.accumulated(unrolled.nesterov, 2)),
        (*SGD_RANGES, (0.3, 1.0)),
        of_all=True,
    ),
    "accumulated Adam": Entry(
        lambda *h: hg.Accumulated(hg.Adam(*h), every=3), unrolled.accumulated(unrolled.adam, 3), ADAM_RANGES
    ),
    "accumulated clipped SGD": Entry(
        lambda *h: hg.Accumulated(hg.Clipped(hg.SGD(*h[:3]), h[3]), every=2),
        unrolled.accumulated(unrolled.clipped(unrolled.decaying(unrolled.sgd, 2)), 2),
        (*SGD_RANGES, (0.05, 0.5), (0.3, 1.0)),
        of_all=True,
    ),
    "normalised": Entry(Normalised, unrolled.normalised, ((0.02, 0.1),)),
}
FORMS = ("scalar", "per step", "per layer", "per array")


def draw(entry, form, steps, layers, seed):
    """One value of that form for each hyperparameter; ``layers`` have a weight and a bias each."""
    rng = np.random.default_rng(seed)
    shapes = {"scalar": lambda u: float(u()), "per step": lambda u: u(steps)}
    shapes["per layer"] = lambda u: [u(steps) if layer % 2 else float(u()) for layer in range(layers)]
    shapes["per array"] = lambda u: [(float(u()), u(steps)) for _ in range(layers)]
    drawn = [shapes[form](lambda *size, r=r: rng.uniform(*r, *size)) for r in entry.ranges]
    if entry.of_all and form not in ("scalar", "per step"):
        drawn[-1] = rng.uniform(*entry.ranges[-1], steps)
    return tuple(drawn)


__all__ = ["FORMS", "OPTIMIZERS", "Entry", "Nesterov", "draw", "np"]
