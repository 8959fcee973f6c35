"""What an optimizer promises: derivatives where the second moment is 0, exact formats, and one's own steps."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad, make_jvp
from problems import classifier, written

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


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["displacement", "increments", "decays"])
def test_an_update_from_a_mixin_has_its_own_derivative(name, exact):
    changed = {
        "displacement": lambda self, s, g, h, step: h.lr * s[0] ** 3,
        "increments": lambda self, g, h: (-h.lr * g**3,),
        "decays": ("lr",),
    }
    Mixin = type("Mixin", (), {name: changed[name]})
    Mixed = type("Mixed", (Mixin, hg.SGD), {})
    loss = lambda w, h, t: 0.5 * np.sum((w - 1.0) ** 2)
    w = onp.array([2.0, -1.0])
    f = lambda h: np.sum(hg.train(loss, w, Mixed(*h, exact=exact), steps=5, adjoint=hg.Stored()) ** 2)
    hg.testing.check_hypergradient(f, (0.3, 0.5))


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
    assert f(written(Buffered()))(0.2) == pytest.approx(f(plain)(0.2), rel=1e-12)
    assert grad(f(written(Buffered())))(0.2) == pytest.approx(grad(f(plain))(0.2), rel=1e-12)


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


def bumpy(w, hyper, step):
    return np.sum(np.cos(w)) + 0.25 * np.sum(w**4)


@dataclass(frozen=True)
class Decoupled(hg.Adam):
    """A step of its own that is called elementwise: what the parent writes into arrays must not replace it."""

    wd: Any = 0.1
    elementwise: ClassVar = True

    def step(self, w, s, g, h, step):
        after, s = hg.Adam.step(self, w, s, g, h, step)
        return after - h.lr * h.wd * w, s


@dataclass(frozen=True)
class Plain(hg.Optimizer):
    """Called elementwise, with nothing that writes into arrays."""

    lr: Any
    elementwise: ClassVar = True

    def init(self, w):
        return ()

    def step(self, w, s, g, h, step):
        return w - h.lr * g, ()


@dataclass(frozen=True)
class Lagging(hg.Optimizer):
    """Writes its first result before it reads the parameters for the second."""

    lr: Any
    elementwise: ClassVar = True

    def init(self, w):
        return (onp.zeros_like(w),)

    def step(self, w, s, g, h, step):
        after = w - h.lr * g + 0.5 * s[0]
        return after, (after - w,)

    def step_into(self, to_w, to_s, w, s, g, h, step):
        to_w[...] = w - h.lr * g + 0.5 * s[0]
        to_s[0][...] = to_w - w


@dataclass(frozen=True)
class Shifted(hg.SGD):
    """v ← βv − (1−β)g + c; reads the cotangents again after its parent has pulled them back."""

    c: Any = 0.3

    def step(self, w, s, g, h, step):
        v = h.momentum * s[0] - (1 - h.momentum) * g + h.c
        return w + h.lr * v, (v,)

    def pull_back(self, w_bar, s_bar, w, s, g, s_after, h, step, wanted):
        without_momentum = type(wanted)(True, False, False)
        w_bar, s_before, g_bar, _ = hg.SGD.pull_back(self, w_bar, s_bar, w, s, g, s_after, h, step, without_momentum)
        total = h.lr * w_bar + s_bar[0]
        return w_bar, s_before, g_bar, (float(onp.vdot(w_bar, s_after[0])), 0.0, float(onp.sum(total)))


@pytest.mark.parametrize("make", [Decoupled, Plain, Lagging, Shifted])
@pytest.mark.parametrize("size", [3, 40_000])
def test_optimizers_of_ones_own_are_stepped_as_they_say(make, size):
    start = onp.resize([0.3, -0.8, 1.2], size)

    def f(lr, adjoint=None):
        return np.mean(hg.train(bumpy, start, make(lr), steps=6, adjoint=adjoint) ** 3)

    optimizer, w = make(0.1), start
    s = optimizer.init(w)
    h = SimpleNamespace(**{name: getattr(optimizer, name) for name in optimizer.names})
    for step in range(6):
        w, s = optimizer.step(w, s, w**3 - onp.sin(w), h, step)
    assert f(0.1) == pytest.approx(onp.mean(w**3), rel=1e-12)
    expected = (f(0.1 + 1e-6) - f(0.1 - 1e-6)) / 2e-6
    for slope in (*(grad(f)(0.1, adjoint) for adjoint in (hg.Stored(), hg.Checkpointed(2))), make_jvp(f)(0.1)(1.0)[1]):
        assert slope == pytest.approx(expected, rel=1e-6)


def test_a_pull_back_of_ones_own_may_read_its_arguments_after_its_parent():
    f = lambda c, adjoint=None: np.sum(hg.train(bumpy, onp.ones(3), Shifted(0.1, c=c), steps=5, adjoint=adjoint) ** 2)
    expected = make_jvp(f)(0.2)(1.0)[1]
    for adjoint in (hg.Stored(), hg.Checkpointed(2)):
        assert grad(f)(0.2, adjoint) == pytest.approx(expected, rel=1e-9)


def test_the_order_in_memory_of_what_an_optimizer_returns_changes_no_bit():
    """A chaotic loss with sums over an array, and an optimizer that returns its transpose's transpose."""

    @dataclass(frozen=True)
    class Transposing(hg.Optimizer):
        lr: Any

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return np.dot(onp.eye(7)[::-1], (w - h.lr * g).T).T, ()

    start = onp.random.default_rng(0).standard_normal((9, 7))
    loss = lambda w, hyper, step: np.sum(np.cos(3.0 * w)) + np.sum(np.sum(w, axis=0) ** 2) * np.sum(w**2) / 100.0
    f = lambda lr, adjoint: np.sum(hg.train(loss, start, Transposing(lr), steps=30, adjoint=adjoint) ** 3)
    slopes = {float(grad(f)(0.05, adjoint)) for adjoint in (hg.Stored(), hg.Checkpointed(1), hg.Checkpointed(4))}
    assert len(slopes) == 1
