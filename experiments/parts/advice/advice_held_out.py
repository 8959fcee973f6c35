"""Tiny trainings that the rule of :func:`hypergrad.probe.advise` was not written with: kinds of them, each drawn anew.

Sizes, rates and lengths are drawn at random for each seed, so that trainings lie on both sides of the edge of chaos.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.advice.advice_problems import Case

_PURPOSE = 33  # of these random numbers, in seeds (seed, purpose, round, kind)


def moons(rng, rows: int = 40) -> tuple:
    """Points on two half circles that reach into each other, and which of the two: twice, to train and to validate."""
    found = []
    for _ in range(2):
        angle, labels = np.pi * rng.random(rows), rng.integers(0, 2, rows)
        x = np.where(labels == 0, np.cos(angle), 1.0 - np.cos(angle))
        y = np.where(labels == 0, np.sin(angle), 0.5 - np.sin(angle))
        found += [np.column_stack([x, y]) + 0.15 * rng.standard_normal((rows, 2)), np.eye(2)[labels]]
    return tuple(found)


@cache
def pooled_digits() -> tuple:
    """600 MNIST images as means over squares of 4 × 4 pixels, and their classes."""
    ((X, T),) = hg.data.load_mnist(600)
    return X.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49), T


def digits(rng, rows: int = 40) -> tuple:
    """Some of them to train, and others to validate."""
    X, T = pooled_digits()
    order = rng.permutation(len(X))
    one, two = order[:rows], order[rows : 2 * rows]
    return X[one], T[one], X[two], T[two]


def net(
    name: str, data: tuple, hypers: Any, optimizer: Callable, rng, *, activation: Any, depth=1, scale=None, **options
):
    """A net of random width on these data, trained for 20 to 40 steps of half of them."""
    asked = {key: options.pop(key) for key in ("budget", "step") if key in options}
    X, T, X_valid, T_valid = data
    width = int(rng.integers(4, 17))
    model = hg.nn.MLP([X.shape[1], *[width] * depth, T.shape[1]], activation)
    given, start = float(rng.uniform(-1.2, 0.2)), int(rng.integers(1_000))
    options = {"steps": 4 * int(rng.integers(5, 11))} | options
    problem = hg.meta.Problem(
        hg.nn.MinibatchLoss(model, X, T, len(X) // 2, **({"weights": "hyper"} if "hyper" in options else {})),
        init=lambda h, seed: hg.init.scaled_normal(model.shapes, anp.exp(scale(h) if scale else given), start + seed),
        optimizer=optimizer,
        outer_loss=lambda params: model.loss(params, X_valid, T_valid),
        **options,
    )
    return Case(f"{name}, width {width}, {problem.steps} steps", problem, hypers, **asked)


def one_of(rng, *choices):
    """Each as likely."""
    return choices[int(rng.integers(len(choices)))]


def sgd_on_moons(rng, **options) -> Case:
    activation, momentum, x = one_of(rng, "gelu", "silu", "sigmoid"), one_of(rng, 0.0, 0.8), rng.uniform(0.0, 4.0)
    if momentum == 0.0:
        x -= 1.5
    words = f"{activation} on moons, momentum {momentum:g}, rate e^{x:.2f}"
    if options.get("objective") == "sum":
        words = f"{words}, sum"
    if "budget" in options:
        words = f"{words}, {options['budget']:g} trainings"
    return net(words, moons(rng), x, lambda h: hg.SGD(anp.exp(h), momentum), rng, activation=activation, **options)


def adam_on_moons(rng) -> Case:
    x = rng.uniform(-4.0, 1.0)
    return net(f"Adam on moons, rate e^{x:.2f}", moons(rng), x, lambda h: hg.Adam(anp.exp(h)), rng, activation="tanh")


def rmsprop_on_digits(rng) -> Case:
    x, act = rng.uniform(-5.0, 0.0), one_of(rng, "tanh", "gelu")
    return net(
        f"RMSProp on digits, rate e^{x:.2f}", digits(rng), x, lambda h: hg.RMSProp(anp.exp(h)), rng, activation=act
    )


def sgd_on_digits(rng, **options) -> Case:
    x = rng.uniform(0.0, 4.0)
    words = f"digits, rate e^{x:.2f}" + (f", {options['budget']:g} trainings" if options else "")
    return net(words, digits(rng), x, lambda h: hg.SGD(anp.exp(h), 0.9), rng, activation="sigmoid", depth=2, **options)


def leaky(rng) -> Case:
    x = rng.uniform(-1.0, 2.0)
    kind = hg.nn.leaky_relu(0.1)
    return net(
        f"leaky relu on digits, rate e^{x:.2f}", digits(rng), x, lambda h: hg.SGD(anp.exp(h)), rng, activation=kind
    )


def initial_scale(rng) -> Case:
    x, rate = rng.uniform(-2.0, 1.5), float(rng.uniform(0.0, 2.0))
    words = f"scale e^{x:.2f} of the start, rate e^{rate:.2f}"
    optimizer = lambda h: hg.SGD(np.exp(rate), 0.9)
    return net(words, moons(rng), x, optimizer, rng, activation="tanh", depth=2, scale=lambda h: h)


def momentum(rng) -> Case:
    x, rate = rng.uniform(0.0, 4.0), float(rng.uniform(0.0, 3.0))
    optimizer = lambda h: hg.SGD(np.exp(rate), 1.0 / (1.0 + anp.exp(-h)))
    return net(f"logit momentum {x:.2f}, rate e^{rate:.2f}", moons(rng), x, optimizer, rng, activation="tanh")


def rate_and_momentum(rng) -> Case:
    at = {"log_lr": rng.uniform(0.0, 3.5), "logit": rng.uniform(0.0, 3.0)}
    words = f"rate e^{at['log_lr']:.2f} and logit momentum {at['logit']:.2f}"
    optimizer = lambda h: hg.SGD(anp.exp(h["log_lr"]), 1.0 / (1.0 + anp.exp(-h["logit"])))
    return net(words, moons(rng), at, optimizer, rng, activation="gelu")


def rates_of_layers(rng) -> Case:
    at = rng.uniform(0.0, 3.5, 2)
    words = f"rates e^{at[0]:.2f} and e^{at[1]:.2f} of two layers"
    return net(words, digits(rng), at, lambda h: hg.SGD([anp.exp(h[0]), anp.exp(h[1])], 0.9), rng, activation="tanh")


def weight_decay(rng) -> Case:
    x, rate = rng.uniform(-6.0, -1.0), float(rng.uniform(0.0, 2.5))
    optimizer = lambda h: hg.SGD(np.exp(rate), 0.9, weight_decay=anp.exp(h))
    return net(f"weight decay e^{x:.2f}, rate e^{rate:.2f}", moons(rng), x, optimizer, rng, activation="silu")


def example_weights(rng, **options) -> Case:
    rate = float(rng.uniform(-1.0, 2.0))
    words = f"weights of 40 examples, rate e^{rate:.2f}" + (f", {options['budget']:g} trainings" if options else "")
    optimizer = lambda h: hg.SGD(np.exp(rate), 0.9)
    return net(words, digits(rng), np.ones(40), optimizer, rng, activation="tanh", hyper=lambda h: h, **options)


def schedule(rng) -> Case:
    x, steps = rng.uniform(-2.0, 0.5), 4 * int(rng.integers(5, 11))
    optimizer = lambda h: hg.SGD(anp.exp(h), 0.9, nesterov=True)
    return net(
        f"a rate e^{x:.2f} for each step", moons(rng), np.full(steps, x), optimizer, rng, activation="gelu", steps=steps
    )


def ridge(rng, each: bool, budget: float) -> Case:
    """Least squares with a log penalty, one or one for each weight; settled or not."""
    rows, features, x = 30, int(rng.integers(4, 21)), rng.uniform(-4.0, 0.0)
    A, B = rng.standard_normal((2, rows, features))
    truth = rng.standard_normal(features)
    y, z = (data @ truth + 2.0 * rng.standard_normal(rows) for data in (A, B))
    rate, steps = float(rng.uniform(-2.0, -0.3)), int(rng.integers(15, 60))
    problem = hg.meta.Problem(
        lambda w, hyper, step: 0.5 * anp.mean((anp.dot(A, w) - y) ** 2) + 0.5 * anp.sum(anp.exp(hyper) * w**2),
        init=lambda h, seed: np.zeros(features),
        optimizer=lambda h: hg.SGD(np.exp(rate), 0.3),
        outer_loss=lambda w: anp.mean((anp.dot(B, w) - z) ** 2),
        steps=steps,
        hyper=lambda h: h,
    )
    words = (
        f"ridge, {features if each else 1} log penalt{'ies' if each else 'y'} {x:.2f}, rate e^{rate:.2f}, {steps} steps"
    )
    return Case(f"{words}, {budget:g} trainings", problem, np.full(features, x) if each else x, budget=budget)


def deep_linear(rng) -> Case:
    """Three matrices in a row that are to be one; a log learning rate."""
    n, x, steps = 3, rng.uniform(-3.5, 0.0), int(rng.integers(15, 31))
    target = rng.standard_normal((n, n))
    start = [np.eye(n) + 0.4 * rng.standard_normal((n, n)) for _ in range(3)]
    loss = lambda w, hyper, step: 0.5 * anp.sum((anp.dot(w[0], anp.dot(w[1], w[2])) - target) ** 2)
    problem = hg.meta.Problem(
        loss,
        init=lambda h, seed: start,
        optimizer=lambda h: hg.SGD(anp.exp(h), 0.5),
        outer_loss=lambda w: anp.log(loss(w, None, 0) + 1e-3),
        steps=steps,
    )
    return Case(f"deep linear, rate e^{x:.2f}, {steps} steps", problem, x)


def waves(rng) -> Case:
    """Descent in a bowl with waves on it; a log learning rate."""
    numbers, x, steps = int(rng.integers(3, 13)), rng.uniform(-3.0, 0.7), int(rng.integers(15, 41))
    start, frequency = 2.0 * rng.standard_normal(numbers), float(rng.uniform(2.0, 6.0))
    loss = lambda w, hyper, step: anp.sum(0.5 * w**2 - anp.cos(frequency * w))
    problem = hg.meta.Problem(
        loss,
        init=lambda h, seed: start,
        optimizer=lambda h: hg.SGD(anp.exp(h), 0.0),
        outer_loss=lambda w: loss(w, None, 0),
        steps=steps,
    )
    return Case(f"{numbers} waves of frequency {frequency:.2f}, rate e^{x:.2f}, {steps} steps", problem, x)


def recurrent(rng) -> Case:
    """A gated recurrent net that is to give the sign of the sum of its inputs, by Adam; a log learning rate."""
    units, length, rows, x = int(rng.integers(2, 6)), 4, 10, rng.uniform(-4.0, 0.0)
    X = rng.standard_normal((rows, length))
    y, start = np.sign(X.sum(axis=1)), int(rng.integers(1_000))
    shapes = {"A": (units, units), "G": (units, units), "b": (units,), "c": (units,)}

    def loss(params, hyper, step):
        state = np.zeros((rows, units))
        for t in range(length):
            gate = 0.5 + 0.5 * anp.tanh(anp.dot(state, params["G"]) + X[:, t, None])
            fresh = anp.tanh(anp.dot(state, params["A"]) + anp.outer(X[:, t], params["b"]))
            state = gate * state + (1.0 - gate) * fresh
        return anp.mean(anp.logaddexp(0.0, -y * anp.dot(state, params["c"])))

    problem = hg.meta.Problem(
        loss,
        init=lambda h, seed: hg.init.scaled_normal(shapes, 0.8, start + seed),
        optimizer=lambda h: hg.Adam(anp.exp(h)),
        outer_loss=lambda params: loss(params, None, 0),
        steps=15,
    )
    return Case(f"gated recurrent, {units} units, Adam e^{x:.2f}", problem, x)


KINDS: tuple[Callable, ...] = (
    lambda rng: ridge(rng, each=True, budget=20.0),
    lambda rng: example_weights(rng),
    lambda rng: schedule(rng),
    lambda rng: sgd_on_moons(rng),
    lambda rng: adam_on_moons(rng),
    lambda rng: waves(rng),
    lambda rng: ridge(rng, each=False, budget=1.3),
    lambda rng: rmsprop_on_digits(rng),
    lambda rng: sgd_on_digits(rng),
    lambda rng: leaky(rng),
    lambda rng: initial_scale(rng),
    lambda rng: momentum(rng),
    lambda rng: rate_and_momentum(rng),
    lambda rng: rates_of_layers(rng),
    lambda rng: weight_decay(rng),
    lambda rng: example_weights(rng, budget=1.5),
    lambda rng: deep_linear(rng),
    lambda rng: recurrent(rng),
    lambda rng: sgd_on_moons(rng, objective="sum", every=4),
    lambda rng: sgd_on_moons(rng, objective="sum", every=4, budget=1.5),
    lambda rng: sgd_on_moons(rng, budget=1.5),
    lambda rng: sgd_on_digits(rng, budget=6.0),
)


def held_out(round: int, seeds: int) -> list[Case]:
    """A problem of each kind for each seed, in a round of measurement; those of other rounds are others."""
    return [
        kind(np.random.default_rng((seed, _PURPOSE, round, number)))
        for seed in range(seeds)
        for number, kind in enumerate(KINDS)
    ]
