"""Tiny trainings on which estimators of the hypergradient are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg

_PURPOSE = 31  # of these random numbers, in seeds (seed, purpose)


class Case(NamedTuple):
    """What an estimate is asked for.

    Attributes:
      name: in a few words.
      problem: of tens of steps.
      hypers: where.
      step: that is meant to be taken.
      budget: trainings for one estimate.
    """

    name: str
    problem: hg.meta.Problem
    hypers: Any
    step: float = 0.1
    budget: float = 20.0


def quadratic(
    name: str,
    *,
    log_lr: float,
    eigenvalues: int = 10,
    smallest: float = 0.01,
    momentum: float = 0.9,
    steps: int = 30,
    schedule: bool = False,
    objective: str = "final",
    every: int = 1,
    **asked,
) -> Case:
    """L = Σ λ_i w_i² / 2 from w = 1 by SGD; the log learning rate, one or one for each step."""
    curvatures = np.geomspace(smallest, 1.0, eigenvalues)
    loss = lambda w, hyper, step: 0.5 * anp.sum(curvatures * w**2)
    problem = hg.meta.Problem(
        loss,
        init=lambda h, seed: np.ones(eigenvalues),
        optimizer=lambda h: hg.SGD(anp.exp(h), momentum),
        outer_loss=lambda w: loss(w, None, 0),
        steps=steps,
        objective=objective,
        every=every,
    )
    return Case(name, problem, np.full(steps, log_lr) if schedule else log_lr, **asked)


def logistic(
    name: str,
    *,
    log_penalty: float,
    log_lr: float,
    rows: int = 40,
    features: int = 6,
    steps: int = 40,
    each: bool = False,
    seed: int = 0,
    **asked,
) -> Case:
    """Logistic regression on two noisy clouds; the log of the L2 penalty, one or one for each weight."""
    rng = np.random.default_rng((seed, _PURPOSE))
    X, X_valid = rng.standard_normal((2, rows, features))
    truth = rng.standard_normal(features)
    y, y_valid = (np.sign(data @ truth + rng.standard_normal(rows)) for data in (X, X_valid))
    fit = lambda w, X, y: anp.mean(anp.logaddexp(0.0, -y * anp.dot(X, w)))
    problem = hg.meta.Problem(
        lambda w, hyper, step: fit(w, X, y) + 0.5 * anp.sum(anp.exp(hyper) * w**2),
        init=lambda h, seed: np.zeros(features),
        optimizer=lambda h: hg.SGD(np.exp(log_lr), 0.5),
        outer_loss=lambda w: fit(w, X_valid, y_valid),
        steps=steps,
        hyper=lambda h: h,
    )
    return Case(name, problem, np.full(features, log_penalty) if each else log_penalty, **asked)


def classification(seed: int, rows: int, inputs: int, classes: int) -> tuple:
    """Inputs around a centre for each class, and the classes: twice, to train and to validate."""
    rng = np.random.default_rng((seed, _PURPOSE))
    centres = rng.standard_normal((classes, inputs))
    found = []
    for _ in range(2):
        labels = rng.integers(0, classes, rows)
        found += [centres[labels] + rng.standard_normal((rows, inputs)), np.eye(classes)[labels]]
    return tuple(found)


def net(
    name: str,
    hypers: Any,
    optimizer: Callable,
    *,
    hidden: tuple[int, ...] = (8,),
    activation: str = "tanh",
    log_scale: Any = -0.7,
    rows: int = 40,
    batch_size: int = 20,
    inputs: int = 5,
    classes: int = 3,
    steps: int = 30,
    data: int = 0,
    objective: str = "final",
    every: int = 1,
    on: str = "validation",
    **asked,
) -> Case:
    """A small net; ``optimizer(hypers)``, and ``log_scale`` a number or a function of the hyperparameters."""
    X, T, X_valid, T_valid = classification(data, rows, inputs, classes)
    model = hg.nn.MLP([inputs, *hidden, classes], activation)
    scale = log_scale if callable(log_scale) else lambda h: log_scale
    outer = (X_valid, T_valid) if on == "validation" else (X, T)
    problem = hg.meta.Problem(
        hg.nn.MinibatchLoss(model, X, T, batch_size),
        init=lambda h, seed: hg.init.scaled_normal(model.shapes, anp.exp(scale(h)), seed),
        optimizer=optimizer,
        outer_loss=lambda params: model.loss(params, *outer),
        steps=steps,
        objective=objective,
        every=every,
    )
    return Case(name, problem, hypers, **asked)


def recurrent(
    name: str,
    *,
    log_lr: float,
    units: int = 4,
    length: int = 6,
    rows: int = 12,
    scale: float = 0.7,
    momentum: float = 0.5,
    steps: int = 20,
    seed: int = 0,
    **asked,
) -> Case:
    """An Elman net h ← tanh(A h + b x) that is to give the running mean of its inputs; one log learning rate."""
    rng = np.random.default_rng((seed, _PURPOSE))
    X = rng.standard_normal((rows, length))
    y = X.mean(axis=1)

    def loss(params, hyper, step):
        state = np.zeros((rows, units))
        for t in range(length):
            state = anp.tanh(anp.dot(state, params["A"]) + anp.outer(X[:, t], params["b"]))
        return anp.mean((anp.dot(state, params["c"]) - y) ** 2)

    shapes = {"A": (units, units), "b": (units,), "c": (units,)}
    problem = hg.meta.Problem(
        loss,
        init=lambda h, seed: hg.init.scaled_normal(shapes, scale, seed),
        optimizer=lambda h: hg.SGD(anp.exp(h), momentum),
        outer_loss=lambda params: loss(params, None, 0),
        steps=steps,
    )
    return Case(name, problem, log_lr, **asked)


def development() -> list[Case]:
    """Those that the rule of :func:`hypergrad.probe.advise` was written with."""
    rate = lambda momentum: lambda h: hg.SGD(anp.exp(h), momentum)
    both = lambda h: hg.SGD(anp.exp(h["log_lr"]), 0.9)
    cases = [
        quadratic("quadratic, calm", log_lr=-1.0),
        quadratic("quadratic, near its bound", log_lr=3.4, steps=20),
        quadratic("quadratic, a rate for each step", log_lr=-1.0, schedule=True),
        logistic("logistic, 1,000 penalties", log_penalty=-3.0, log_lr=0.0, each=True, features=1_000, steps=20),
        quadratic("quadratic, sum", log_lr=-1.0, schedule=True, objective="sum", every=5),
        quadratic("quadratic, half a training to spare", log_lr=-1.0, budget=1.5),
        quadratic("quadratic, sum, half a training to spare", log_lr=-1.0, objective="sum", every=5, budget=1.5),
        logistic("logistic, L2", log_penalty=-3.0, log_lr=0.0),
        logistic("logistic, L2 for each weight", log_penalty=-3.0, log_lr=0.0, each=True),
        logistic(
            "logistic, L2, converged, half a training to spare", log_penalty=-1.0, log_lr=2.0, steps=100, budget=1.3
        ),
        logistic("logistic, L2, early, half a training to spare", log_penalty=-1.0, log_lr=-1.0, steps=20, budget=1.5),
    ]
    for log_lr in (-1.0, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0):
        cases.append(net(f"tanh, rate e^{log_lr:g}", log_lr, rate(0.9)))
    for log_lr in (1.0, 1.25, 1.5, 2.0, 3.0):
        cases.append(net(f"tanh, 60 steps, rate e^{log_lr:g}", log_lr, rate(0.5), steps=60, data=1, hidden=(6, 6)))
    for log_lr in (-1.0, 0.0, 0.75, 1.5):
        cases.append(net(f"relu, rate e^{log_lr:g}", log_lr, rate(0.9), activation="relu", data=2))
    for log_lr in (1.0, 1.75, 2.25, 3.0):
        start = {"log_lr": log_lr, "log_scale": -0.5}
        cases.append(net(f"rate and scale, e^{log_lr:g}", start, both, log_scale=lambda h: h["log_scale"], data=3))
        sums = {"objective": "sum", "every": 5, "data": 4}
        cases.append(net(f"sum, rate e^{log_lr:g}", log_lr, rate(0.9), **sums))
    cases.append(net("sum past the edge, one training", 3.0, rate(0.9), objective="sum", every=5, data=4, budget=1.0))
    cases.append(net("a rate for each step", np.full(30, 0.0), rate(0.9), data=5))
    for log_lr in (-2.0, -0.5, 0.3):
        cases.append(recurrent(f"recurrent, rate e^{log_lr:g}", log_lr=log_lr))
    return cases
