"""Optimizers of one's own: stepped as they say, differentiated exactly, their slips named."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from problems import classifier, written

import hypergrad as hg
from hypergrad import errors

MODEL, LOSS, PARAMS, X, T = classifier(seed=3)


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
            return (np.zeros_like(w),)

        def step(self, w, s, g, h, step):
            return w - h.lr * (2.0 * g - s[0]), (g,)

    class Buffered:
        def __init__(self):
            self.buffer = np.zeros(2)

        def __call__(self, w, hyper, step):
            return anp.sum(w**4) / 4

        def gradient(self, w, hyper, step):
            return np.power(w, 3, out=self.buffer)

        def gradient_with_hvp(self, w, hyper, step):
            return self.gradient(w, hyper, step), lambda d: 3 * w**2 * d

    f = lambda loss: lambda lr: anp.sum(hg.train(loss, np.array([0.9, -0.4]), Optimistic(lr), steps=5))
    plain = lambda w, h, t: anp.sum(w**4) / 4
    assert f(written(Buffered()))(0.2) == pytest.approx(f(plain)(0.2), rel=1e-12)
    assert grad(f(written(Buffered())))(0.2) == pytest.approx(grad(f(plain))(0.2), rel=1e-12)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda w: (np.ones((2, 3)), ()), r"Odd\.step must return \(w, s\), w of shape \(3,\)"),
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
        hg.train(lambda w, h, t: anp.sum(w), np.ones(3), Odd(0.1), steps=1)


def test_an_optimizer_of_ones_own_cannot_be_exact():
    @dataclass(frozen=True)
    class Own(hg.Optimizer):
        lr: float
        exact: bool = True

    with pytest.raises(errors.ArgumentError, match="exact=True is for SGD and Adam"):
        hg.train(LOSS, PARAMS, Own(0.1), steps=1)


def bumpy(w, hyper, step):
    return anp.sum(anp.cos(w)) + 0.25 * anp.sum(w**4)


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
        return (np.zeros_like(w),)

    def step(self, w, s, g, h, step):
        after = w - h.lr * g + 0.5 * s[0]
        return after, (after - w,)

    def step_into(self, to_w, to_s, w, s, g, h, step):
        to_w[...] = w - h.lr * g + 0.5 * s[0]
        to_s[0][...] = to_w - w


@dataclass(frozen=True)
class Shifted(hg.SGD):
    """v ← βv − (1−β)g + c."""

    c: Any = 0.3

    def step(self, w, s, g, h, step):
        v = h.momentum * s[0] - (1 - h.momentum) * g + h.c
        return w + h.lr * v, (v,)


@pytest.mark.parametrize("make", [Decoupled, Plain, Lagging, Shifted])
@pytest.mark.parametrize("size", [3, 40_000])
def test_optimizers_of_ones_own_are_stepped_as_they_say(make, size):
    start = np.resize([0.3, -0.8, 1.2], size)

    def f(lr, adjoint=None):
        return anp.mean(hg.train(bumpy, start, make(lr), steps=6, adjoint=adjoint) ** 3)

    optimizer, w = make(0.1), start
    s = optimizer.init(w)
    h = SimpleNamespace(**{name: getattr(optimizer, name) for name in optimizer.names})
    for step in range(6):
        w, s = optimizer.step(w, s, w**3 - np.sin(w), h, step)
    assert f(0.1) == pytest.approx(np.mean(w**3), rel=1e-12)
    expected = (f(0.1 + 1e-6) - f(0.1 - 1e-6)) / 2e-6
    for slope in (*(grad(f)(0.1, adjoint) for adjoint in (hg.Stored(), hg.Checkpointed(2))), make_jvp(f)(0.1)(1.0)[1]):
        assert slope == pytest.approx(expected, rel=1e-6)


def test_the_order_in_memory_of_what_an_optimizer_returns_changes_no_bit():
    """A chaotic loss with sums over an array, and an optimizer that returns its transpose's transpose."""

    @dataclass(frozen=True)
    class Transposing(hg.Optimizer):
        lr: Any

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return anp.dot(np.eye(7)[::-1], (w - h.lr * g).T).T, ()

    start = np.random.default_rng(0).standard_normal((9, 7))
    loss = lambda w, hyper, step: anp.sum(anp.cos(3.0 * w)) + anp.sum(anp.sum(w, axis=0) ** 2) * anp.sum(w**2) / 100.0
    f = lambda lr, adjoint: anp.sum(hg.train(loss, start, Transposing(lr), steps=30, adjoint=adjoint) ** 3)
    slopes = {float(grad(f)(0.05, adjoint)) for adjoint in (hg.Stored(), hg.Checkpointed(1), hg.Checkpointed(4))}
    assert len(slopes) == 1


def bowl(w, hyper, step):
    return 0.5 * anp.sum((w - 1.0) ** 2)


@dataclass(frozen=True)
class Counted(hg.Optimizer):
    """An integer in its state counts the steps, as torch's ``state["step"]`` does."""

    lr: Any
    decay: Any = 0.9
    nesterov: bool = False
    kind: str = "plain"
    period: int = 2

    def init(self, w):
        return {"m": np.zeros_like(w), "count": 0, "norms": [np.zeros(3), None]}

    def step(self, w, s, g, h, step):
        m, count = h.decay * s["m"] + (1.0 - h.decay) * g, s["count"] + 1
        unbiased = m / (1.0 - h.decay**count)
        norms = 0.5 * s["norms"][0] + anp.sum(g**2) * np.arange(3.0)
        move = g + h.decay * unbiased if self.nesterov else unbiased
        scale = 1.0 / (1.0 + 0.01 * anp.sum(norms)) if self.kind == "plain" else 1.0
        scale = scale * (1.0 if count % self.period else 0.5)
        return w - h.lr * scale * move, {"m": m, "count": count, "norms": [norms, None]}


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), hg.Truncated(5), None])
@pytest.mark.parametrize("flags", [{}, {"nesterov": True}, {"kind": "other"}, {"period": 3}])
def test_states_with_counters_and_nests_of_other_shapes_and_flags_among_the_fields(flags, adjoint):
    start = np.array([2.0, -1.0, 0.5])
    f = lambda lr: anp.sum(hg.train(bowl, start, Counted(lr, **flags), steps=5, adjoint=adjoint) ** 2)
    assert grad(f)(0.1) == pytest.approx((f(0.1 + 1e-6) - f(0.1 - 1e-6)) / 2e-6, rel=1e-7)
    assert make_jvp(f)(0.1)(1.0)[1] == pytest.approx(grad(f)(0.1), rel=1e-10)
    g = lambda h: anp.sum(hg.train(bowl, start, Counted(*h, **flags), steps=5, adjoint=adjoint) ** 2)
    hg.testing.check_hypergradient(g, (0.1, 0.8))
    seen = []
    hg.train(bowl, start, Counted(0.1), steps=2, callback=lambda *given: seen.append(given[2]))
    assert [state[0]["count"] for state in seen] == [0, 1]
    exponents = hg.chaos.lyapunov(bowl, start, Counted(0.1), steps=20, directions=2).exponents
    assert np.isfinite(exponents).all()


def test_the_state_of_a_single_precision_run_stays_single():
    @dataclass(frozen=True)
    class Doubled(hg.Optimizer):
        lr: Any

        def init(self, w):
            return (np.zeros_like(w), np.array(0))

        def step(self, w, s, g, h, step):
            return w - h.lr * (g + 0.1 * s[0]), (s[0] + np.float64(0.5) * g, s[1] + 1)

    start, seen = np.ones(3, np.float32), []
    hg.train(bowl, start, Doubled(0.1), steps=3, callback=lambda *given: seen.append(given[2][0].dtype))
    assert set(seen) == {np.dtype(np.float32)}


def make_learned(theta):
    @dataclass(frozen=True)
    class Learned(hg.Optimizer):
        lr: Any

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return w - h.lr * anp.tanh(theta[0] * g + theta[1]), ()

    return Learned(0.1)


def test_weights_captured_by_a_step_get_the_way_out():
    f = lambda theta: anp.sum(hg.train(bowl, np.zeros(3), make_learned(theta), steps=4) ** 2)
    for attempt in (grad(f), lambda theta: make_jvp(f)(theta)(np.ones(2))):
        with pytest.raises(
            errors.DifferentiationError, match=r"Learned\.step uses a value that is.*read it as h\.name"
        ):
            attempt(np.array([1.0, 0.2]))

    @dataclass(frozen=True)
    class Handed(hg.Optimizer):
        lr: Any
        slope: Any
        shift: Any

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return w - h.lr * anp.tanh(h.slope * g + h.shift), ()

    handed = lambda theta: anp.sum(hg.train(bowl, np.zeros(3), Handed(0.1, theta[0], theta[1]), steps=4) ** 2)
    hg.testing.check_hypergradient(handed, np.array([1.0, 0.2]))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda self, w, s, g, h, step: (w - self.lr * g, ()), r"Wrong\.step reads self\.lr.*is h\.lr"),
        (lambda self, w, s, g, h, step: (w - g * self.lr, ()), r"Wrong\.step reads self\.lr"),
        (lambda self, w, s, g, h, step: (w - float(self.lr) * g, ()), r"Wrong\.step reads self\.lr"),
        (lambda self, w, s, g, h, step: w - h.lr * g, r"Wrong\.step must return \(w, s\).*return \(w, \(\)\)"),
        (lambda self, w, s, g, h, step: [w, ()], r"must return \(w, s\)"),
        (lambda self, w, s, g, h, step: (w, (), g), r"must return \(w, s\)"),
    ],
)
@pytest.mark.parametrize("mode", ["plain", "reverse", "forward"])
def test_slips_in_a_step_are_named(body, message, mode):
    members = {"__annotations__": {"lr": Any}, "init": lambda self, w: (), "step": body}
    Wrong = dataclass(frozen=True)(type("Wrong", (hg.Optimizer,), members))
    f = lambda lr: anp.sum(hg.train(bowl, np.zeros(3), Wrong(lr), steps=2) ** 2)
    with pytest.raises(errors.ArgumentError, match=message):
        {"plain": f, "reverse": grad(f), "forward": lambda x: make_jvp(f)(x)(1.0)}[mode](0.1)


def test_a_state_that_changes_its_kind_is_named():
    @dataclass(frozen=True)
    class Averaging(hg.Optimizer):
        lr: Any

        def init(self, w):
            return (np.zeros(w.shape, int),)

        def step(self, w, s, g, h, step):
            return w - h.lr * g, (0.9 * s[0] + g,)

    with pytest.raises(errors.NestError, match=r"a state that was int64 in init became float64 in step"):
        hg.train(bowl, np.zeros(3), Averaging(0.1), steps=2)


@dataclass(frozen=True)
class Remembering(hg.Optimizer):
    """Heavy ball by the parameters before, which are its state."""

    lr: Any
    momentum: Any = 0.5

    def init(self, w):
        return (1.0 * w,)

    def step(self, w, s, g, h, step):
        return w - h.lr * g + h.momentum * (w - s[0]), (w,)


@dataclass(frozen=True)
class PassingOn(hg.Optimizer):
    """The gradient enters with the coefficient 1."""

    lr: Any

    def init(self, w):
        return ()

    def step(self, w, s, g, h, step):
        return h.lr * w + 0.1 * g * 10.0 - 2.0 * g, ()


@dataclass(frozen=True)
class Adding(hg.Optimizer):
    lr: Any

    def init(self, w):
        return ()

    def step(self, w, s, g, h, step):
        return h.lr * w + g, ()


@dataclass(frozen=True)
class Delayed(hg.SGD):
    """Its state is the parameters before."""

    def state_after(self, w, s, g, h, step):
        return (w,)

    def displacement(self, s, g, h, step):
        return -h.lr * g + 0.1 * s[0]


@pytest.mark.parametrize("make", [Remembering, PassingOn, Adding, Delayed])
@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), None])
def test_what_a_step_passes_on_is_not_written_over(make, adjoint):
    """Autograd hands on the arrays it is given where it can."""
    loss = lambda w, h, t: anp.sum(anp.sin(w + 0.1 * t)) + 0.3 * anp.sum(w**2)
    start = np.array([1.0, -2.0, 0.5])
    f = lambda lr: anp.sum(hg.train(loss, start, make(lr), steps=6, adjoint=adjoint) ** 2)
    w, s = start, make(0.3).init(start)
    h = SimpleNamespace(lr=0.3, momentum=getattr(make(0.3), "momentum", None))
    for step in range(6):
        w, s = make(0.3).step(w, s, np.cos(w + 0.1 * step) + 0.6 * w, h, step)
    assert f(0.3) == pytest.approx(anp.sum(w**2), rel=1e-12)
    hg.testing.check_hypergradient(f, 0.3)


def test_the_growth_rate_of_a_rule_that_remembers():
    rates = hg.chaos.lyapunov(
        lambda w, h, t: 0.5 * anp.sum(w**2), np.ones(1), Remembering(0.5), steps=400, directions=2
    )
    roots = np.log(np.abs(np.roots([1.0, -(1.0 - 0.5 + 0.5), 0.5])))
    np.testing.assert_allclose(rates.exponents, np.sort(roots)[::-1], atol=0.01)


def test_exact_arithmetic_refuses_a_state_of_ones_own():
    with pytest.raises(errors.ArgumentError, match=r"exact=True is for SGD and Adam.*Delayed has its own step"):
        hg.train(bowl, np.ones(3), Delayed(0.1, exact=True), steps=1)


def test_a_hyperparameter_with_an_underscore():
    @dataclass(frozen=True)
    class Hidden(Adding):
        _rate: Any = 0.1

    with pytest.raises(errors.ArgumentError, match=r"Hidden\._rate cannot be read as h\._rate"):
        hg.train(bowl, np.ones(3), Hidden(0.1), steps=1)
