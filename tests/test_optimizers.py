"""What an optimizer promises: derivatives where the second moment is 0, exact formats, and one's own steps."""

from dataclasses import dataclass

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.nests import flatten

MODEL, LOSS, PARAMS, X, T = classifier(seed=3)


@pytest.mark.parametrize("make", [hg.RMSProp, hg.Adam, lambda lr: hg.Adam(lr, exact=True)])
def test_gradients_are_finite_and_right_where_the_second_moment_is_zero(make):
    """One parameter never gets a gradient; its update is a smooth function of the gradient even so."""

    def loss(w, hyper, step):
        return np.sum((w[:2] - 1.0) ** 2) + hyper[0] * w[2] ** 2

    def f(inputs):
        w = hg.train(loss, inputs["w"], make(inputs["lr"]), inputs["hyper"], steps=5, adjoint=hg.Stored())
        return np.sum(w**2) + w[2]

    inputs = {"w": onp.array([0.3, -0.2, 0.0]), "lr": 0.05, "hyper": onp.array([0.5])}
    gradient = grad(f)(inputs)
    assert all(onp.isfinite(leaf).all() for leaf in flatten(gradient)[0])
    assert gradient["lr"] == pytest.approx((f({**inputs, "lr": 0.05 + 1e-6}) - f({**inputs, "lr": 0.05 - 1e-6})) / 2e-6)
    assert gradient["hyper"][0] == 0.0


def test_adam_at_zero_gradient_has_the_slope_of_its_update():
    """One step from g = 0: w⁺ = w − α g / (|g| + ε) to first order, so dw⁺/dg = −α / ε."""
    slope = grad(
        lambda c: np.sum(hg.train(lambda w, c, t: c * np.sum(w), onp.ones(1), hg.Adam(0.1, eps=0.5), c, steps=1))
    )
    assert slope(0.0) == pytest.approx(-0.1 / 0.5, rel=1e-12)


def test_an_optimizer_without_its_functions_says_so():
    @dataclass(frozen=True)
    class Empty(hg.Optimizer):
        lr: float

    with pytest.raises(NotImplementedError, match=r"Empty needs init\(w\)"):
        hg.train(LOSS, PARAMS, Empty(0.1), steps=2)


@pytest.mark.parametrize(
    ("loss", "optimizer", "steps"),
    [
        (lambda w, h, t: 9000.0 * np.sum(w), hg.SGD(1e-4, 0.9, exact=True), 30),
        (lambda w, h, t: 2500.0 * np.sum((w + 20.0) ** 2), hg.SGD(1e-5, 0.99, exact=True), 200),
        (lambda w, h, t: 20.0 * np.sum(w), hg.Adam(1e-3, exact=True), 600),
    ],
)
def test_a_state_that_outgrows_the_format_is_noticed(loss, optimizer, steps):
    """Its increments fit, but they add up: it must not wrap around, which reversing would not notice."""
    with pytest.raises(errors.FixedPointOverflowError, match=r"a state of parameter params|a gradient for"):
        hg.train(loss, onp.zeros(2), optimizer, steps=steps)


def test_a_subclass_with_another_step_has_its_own_derivative():
    """Weight decay on top of SGD, the natural way."""

    @dataclass(frozen=True)
    class DecayedSGD(hg.SGD):
        decay: float = 0.1

        def step(self, w, s, g, h, step):
            after, s = super().step(w, s, g, h, step)
            return after - h.lr * h.decay * w, s

    loss = lambda w, h, t: 0.5 * np.sum((w - 1.0) ** 2)
    f = lambda h: np.sum(hg.train(loss, onp.array([2.0, -1.0]), DecayedSGD(*h["sgd"], decay=h["decay"]), steps=5) ** 2)
    hg.testing.check_hypergradient(f, {"sgd": [0.3, 0.5], "decay": 0.1})
    with pytest.raises(errors.ArgumentError, match=r"exact=True is for SGD and Adam.*DecayedSGD has its own step"):
        hg.train(loss, onp.ones(2), DecayedSGD(0.1, exact=True), steps=2)


def test_a_step_cannot_change_what_it_is_given():
    @dataclass(frozen=True)
    class InPlace(hg.Optimizer):
        lr: float

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            w -= h.lr * g
            return w, ()

    with pytest.raises(ValueError, match="read-only"):
        hg.train(LOSS, PARAMS, InPlace(0.1), steps=2)


def test_a_state_that_is_the_gradient_is_kept_when_the_loss_reuses_its_buffer():
    @dataclass(frozen=True)
    class Optimistic(hg.Optimizer):
        lr: float

        def init(self, w):
            return (onp.zeros_like(w),)

        def step(self, w, s, g, h, step):
            return w - h.lr * (2.0 * g - s[0]), (g,)

    class Buffered:
        def __init__(self):
            self.buffer = onp.zeros(2)

        def __call__(self, w, hyper, step):
            return np.sum(w**4) / 4

        def gradient(self, w, hyper, step):
            return onp.power(w, 3, out=self.buffer)

        def gradient_with_hvp(self, w, hyper, step):
            return self.gradient(w, hyper, step), lambda d: 3 * w**2 * d

    f = lambda loss: lambda lr: np.sum(hg.train(loss, onp.array([0.9, -0.4]), Optimistic(lr), steps=5))
    plain = lambda w, h, t: np.sum(w**4) / 4
    assert f(Buffered())(0.2) == pytest.approx(f(plain)(0.2), rel=1e-12)
    assert grad(f(Buffered()))(0.2) == pytest.approx(grad(f(plain))(0.2), rel=1e-12)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda w: (onp.ones((2, 3)), ()), r"Odd\.step must return \(w, s\), w of shape \(3,\)"),
        (lambda w: (w, (w, w)), r"s a tuple of 0 arrays"),
        (lambda w: (w, [w]), r"s a tuple of 0 arrays"),
    ],
)
def test_a_step_with_a_wrong_result(result, message):
    @dataclass(frozen=True)
    class Odd(hg.Optimizer):
        lr: float

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return result(w)

    with pytest.raises(errors.ArgumentError, match=message):
        hg.train(lambda w, h, t: np.sum(w), onp.ones(3), Odd(0.1), steps=1)


def test_an_optimizer_of_ones_own_cannot_be_exact():
    @dataclass(frozen=True)
    class Own(hg.Optimizer):
        lr: float
        exact: bool = True

    with pytest.raises(errors.ArgumentError, match="exact=True is for SGD and Adam"):
        hg.train(LOSS, PARAMS, Own(0.1), steps=1)
