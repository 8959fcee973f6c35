"""Rules that need no schedule: they choose the learning rate, or what takes its place, while they train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import autograd.numpy as np

import hypergrad as hg
from hypergrad.nests import flatten, unflatten
from hypergrad.ranges import Range


@dataclass(frozen=True)
class OnlineRate(hg.optimizers.WholeNest):
    """SGD whose rate follows the hypergradient of a single step, relative to its norms.

        α ← α (1 − κ ⟨g, v⟩ / (‖g‖ ‖v‖)),    v ← β v − (1 − β) g,    w ← w + α v

    The derivative of the loss by the rate of the last step is ⟨g, v⟩: where the gradient still points where the step
    went, the step was too short.

    Args:
      lr: α before the first step.
      rate: κ in [0, 1).
      momentum: β.

    Source: Baydin et al. (2018), arXiv:1703.04782, in its multiplicative form.
    """

    lr: Any
    rate: Any = 0.1
    momentum: Any = 0.9

    ranges: ClassVar = {"lr": Range(0.0), "rate": Range(0.0, 1.0), "momentum": Range(0.0, 1.0)}

    def init(self, params):
        return [w * 0.0 for w in flatten(params)[0]], np.array(1.0)

    def step(self, params, state, gradient, h, step):
        (velocity, factor), (weights, structure) = state, flatten(params)
        gradients = flatten(gradient)[0]
        inner = lambda one, two: sum(np.sum(a * b) for a, b in zip(one, two))
        norms = np.sqrt(inner(gradients, gradients) * inner(velocity, velocity) + 1e-30)
        factor = factor * (1.0 - h.rate * inner(gradients, velocity) / norms)
        velocity = [h.momentum * v - (1.0 - h.momentum) * g for v, g in zip(velocity, gradients)]
        moved = [w + h.lr * factor * v for w, v in zip(weights, velocity)]
        return unflatten(structure, moved), (velocity, factor)


@dataclass(frozen=True)
class ScheduleFree(hg.Optimizer):
    """SGD that averages its way in place of a decaying rate; gradients are taken between way and average.

        y = (1 − β) z + β x,    z ← z − α g(y),    x ← x + (z − x) / (t + 1)

    The parameters are y, and after the last of ``steps`` steps the average x. For training alone, not for derivatives.

    Args:
      lr: α.
      interpolation: β in [0, 1), which takes the place of momentum.
      steps: of the training.

    Source: Defazio et al. (2024), arXiv:2405.15682, without warm-up.
    """

    lr: Any
    interpolation: Any = 0.9
    steps: int = 0

    ranges: ClassVar = {"lr": Range(0.0), "interpolation": Range(0.0, 1.0)}

    def init(self, w):
        return w, w

    def step(self, w, s, g, h, step):
        way = s[0] - h.lr * g
        mean = s[1] + (way - s[1]) / (step + 1)
        between = (1.0 - h.interpolation) * way + h.interpolation * mean
        return mean if step + 1 == self.steps else between, (way, mean)
