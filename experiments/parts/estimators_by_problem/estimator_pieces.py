"""Truncated backpropagation as it is used online: one gradient for each piece of a training that goes on."""

from __future__ import annotations

import numpy as np

import hypergrad as hg
from hypergrad.adjoints.base import Backward
from hypergrad.meta.estimators import Diagnostics, Estimate
from hypergrad.meta.unroll import Unroll
from hypergrad.nests import flatten, unflatten


class Pieces:
    """The outer losses within a piece of K steps, differentiated back to its start; each call moves on by a piece.

    After T steps the training begins again, with the initial parameters of the next seed. Biased: what a piece does to
    later ones through the parameters is left out. ``hg.meta.estimators.truncated`` is the same where a piece has one
    outer loss, and takes each loss through K steps where it has several, at a higher cost.

    Attributes:
      problem: with objective "sum".
      steps: K, a divisor of T and a multiple of the problem's ``every``.
      step: how many steps of the training have been made.
    """

    def __init__(self, problem: hg.meta.Problem, steps: int):
        self.problem, self.steps = problem, steps
        self.reset()

    def reset(self) -> None:
        """Begin a training anew at the next call."""
        self.step, self.episode, self._state = 0, 0, []

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        if self.step == 0:
            self.episode = seed
        unroll = Unroll(self.problem, hypers, self.episode, keep=self.steps, what="truncation to pieces")
        if self.step:
            unroll.resume(self._state, self.step)
        start, stop = self.step, self.step + self.steps
        counts = [count for count in self.problem.counts if start < count <= stop]
        value, cotangents = 0.0, []
        for count in counts:
            unroll.advance(count)
            loss, cotangent = unroll.outer()
            value += loss
            cotangents.append(cotangent)
        backward = Backward(unroll.dynamics, counts, cotangents)
        for step in reversed(range(start, stop)):
            backward.step(step, unroll._transitions[step - start])
        found = backward.finish(reached_start=start == 0)
        leaves = unroll.to_hypers([*found.params, *found.hyper, *(leaf for row in found.schedules for leaf in row)])
        self._state, self.step = unroll.arrays(), stop % self.problem.steps
        structure = flatten(hypers)[1]
        gradient = unflatten(structure, [np.asarray(leaf)[()] for leaf in leaves])
        return Estimate(value, gradient, Diagnostics(products=4.0 * self.steps))
