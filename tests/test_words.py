"""What the user reads: the true cause, the place and the way out; short tables instead of arrays."""

import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, make_jvp
from problems import classifier, written

import hypergrad as hg
from hypergrad import errors

MODEL, LOSS, PARAMS, X, T = classifier()
A = np.random.default_rng(0).standard_normal((20, 5))
Y = A @ np.arange(5.0)


def in_place(w):
    out = anp.zeros(5)
    out[0] = w[0] ** 2
    return anp.sum(out)


def item_assignment(w):
    w[0] = 1.0
    return anp.sum(w)


def logged(how):
    def loss(w, hyper, step):
        value = anp.mean((anp.dot(A, w) - Y) ** 2)
        how(value)  # the user's line
        return value

    return loss


NOT_AUTOGRAD = {
    "numpy's mean": lambda w, h, t: np.mean((np.dot(A, w) - Y) ** 2),
    "an entry of an array": lambda w, h, t: in_place(w),
    "item assignment": lambda w, h, t: item_assignment(w),
    "float() of the result": lambda w, h, t: float(anp.sum(w**2)),
    "math": lambda w, h, t: math.exp(w[0]),
    "float() for a log": logged(float),
    "item() for a log": logged(lambda L: L.item()),
    "round() for a log": logged(lambda L: round(L, 3)),
    "an f-string for a log": logged(lambda L: f"{L:.3f}"),
}


@pytest.mark.parametrize("mode", ["plain", "reverse", "forward"])
@pytest.mark.parametrize("name", NOT_AUTOGRAD)
def test_a_loss_not_written_with_autograd_gets_one_sentence_with_the_line(name, mode):
    f = lambda lr: anp.sum(hg.train(NOT_AUTOGRAD[name], np.ones(5), hg.SGD(lr, 0.5), steps=3) ** 2)
    with pytest.raises(errors.LossError, match=r"test_words\.py:\d+: .*must be written with autograd\.numpy") as caught:
        {"plain": f, "reverse": grad(f), "forward": lambda lr: make_jvp(f)(lr)(1.0)}[mode](0.1)
    assert "\n" not in str(caught.value)
    assert ("callback" in str(caught.value)) == ("log" in name or "float() of" in name)


def test_other_errors_of_a_loss_are_left_as_they_are():
    for error in (KeyError("key"), TypeError("mine"), ValueError("setting")):

        def loss(w, hyper, step, error=error):
            raise error

        with pytest.raises(type(error), match=str(error.args[0])):
            hg.train(loss, np.ones(2), hg.SGD(0.1), steps=1)


def norm_at_zero(w, strength, step):
    return anp.mean((anp.dot(A, w) - Y) ** 2) + strength * anp.linalg.norm(w)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:autograd")
@pytest.mark.parametrize("lr", [0.1, 1e-9])
@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), None])
def test_a_loss_without_a_gradient_is_told_apart_from_divergence(lr, adjoint):
    f = lambda h: anp.sum(hg.train(norm_at_zero, np.zeros(5), hg.SGD(lr), h, steps=5, adjoint=adjoint) ** 2)
    for attempt in (f, grad(f), lambda h: make_jvp(f)(h)(1.0)):
        with pytest.raises(
            errors.NonFiniteLossGradientError, match=r"the loss's gradient is NaN at step 0 in params .*`norm`"
        ) as caught:
            attempt(0.1)
        assert caught.value.step == 0 and "learning rate" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:autograd")
def test_at_a_later_step_and_in_a_nest():
    root = lambda p, h, t: anp.sum(p["a"] ** 2) + anp.sum(anp.sqrt(anp.abs(p["b"]))) * (t == 3)
    start = {"a": np.ones(2), "b": np.zeros(2)}
    with pytest.raises(errors.NonFiniteLossGradientError, match=r"at step 0 in params\['b'\]"):
        hg.train(root, start, hg.SGD(0.01), steps=5)  # 0 times an infinite slope
    only_later = lambda p, h, t: anp.sum(p["a"] ** 2) + (anp.sum(anp.sqrt(anp.abs(p["b"]))) if t == 3 else 0.0)
    with pytest.raises(errors.NonFiniteLossGradientError, match=r"at step 3 in params\['b'\]") as caught:
        hg.train(only_later, start, hg.SGD(0.01), steps=5)
    assert caught.value.step == 3 and np.isfinite(caught.value.value)


def test_written_derivatives_that_are_not_finite():
    class Broken:
        def __call__(self, w, h, t):
            return anp.sum(w**2)

        def gradient(self, w, h, t):
            return 2 * w * (np.nan if t == 2 else 1.0)

        def gradient_with_hvp(self, w, h, t):
            return self.gradient(w, h, t), lambda d: 2 * d

    with pytest.raises(errors.NonFiniteLossGradientError, match="is NaN at step 2 in params"):
        hg.train(written(Broken()), np.ones(3), hg.SGD(0.1), steps=5)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_real_divergence_keeps_its_name():
    with pytest.raises(hg.DivergedError, match="lower the learning rate"):
        hg.train(lambda w, h, t: anp.sum(w**4), np.ones(2), hg.SGD(3.0, 0.0), steps=30)


def test_a_sweep_says_why_a_point_has_no_value():
    f = lambda a: anp.sum(hg.train(norm_at_zero, np.zeros(5), hg.SGD(anp.exp(a)), 0.1, steps=5) ** 2)
    with pytest.warns(errors.LossGradientWarning, match=r"at -9\.0 there is no derivative: the loss's gradient is NaN"):
        result = hg.probe.sweep(f, [-9.0], progress=False)
    assert np.isnan(result.loss).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning:autograd")
def test_what_made_a_hypergradient_overflow_is_named():
    @dataclass(frozen=True)
    class AdamW(hg.Optimizer):
        """As in textbooks, with a root of 0 for what never got a gradient."""

        lr: Any

        def init(self, w):
            return (np.zeros_like(w),)

        def step(self, w, s, g, h, step):
            v = 0.9 * s[0] + 0.1 * g**2
            return w - h.lr * g / (anp.sqrt(v) + 1e-8), (v,)

    pixels = A[:, :3] * np.array([1.0, 1.0, 0.0])  # the last one is always dark
    dead = lambda w, h, t: anp.mean((anp.dot(pixels, w) - Y) ** 2)
    f = lambda lr: anp.sum(hg.train(dead, np.zeros(3), AdamW(lr), steps=4) ** 2)
    with pytest.warns(errors.NonFiniteGradientWarning, match=r"AdamW's own update is not finite.*square root at 0"):
        grad(f)(0.1)
    bent = lambda w, h, t: anp.sum(w**1.5)
    with pytest.warns(errors.NonFiniteGradientWarning, match="the loss's second derivatives are not finite there"):
        grad(lambda w: anp.sum(hg.train(bent, w, hg.SGD(0.1, 0.0), steps=2)))(np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.NonFiniteGradientWarning)
        grad(lambda lr: anp.sum(hg.train(bent, np.zeros(3), hg.SGD(lr, 0.0), steps=1, check_purity=False) ** 2))(0.1)
    chaotic = lambda w, h, t: -anp.sum(anp.cos(100.0 * w)) / 2.0
    with pytest.warns(errors.NonFiniteGradientWarning, match="grew from step to step, the run is far into chaos"):
        grad(lambda w: anp.sum(hg.train(chaotic, w, hg.SGD(1.0, 0.0), steps=400)))(np.array([0.3]))


def mahalanobis(log_lr):
    squares = lambda w, h, t: anp.mean((anp.dot(A[:, :3], w) - Y) ** 2)
    w = hg.train(squares, np.zeros(3), hg.SGD(anp.exp(log_lr)), steps=5)
    return anp.dot(w, anp.linalg.solve(anp.eye(3) + anp.outer(w, w), w))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: hg.testing.check_hypergradient(mahalanobis, -1.0),
        lambda: hg.probe.sweep(mahalanobis, [-1.0], progress=False),
        lambda: hg.chaos.trust(mahalanobis, -1.0),
    ],
)
def test_a_function_without_a_forward_rule_is_named_with_the_way_out(attempt):
    with pytest.raises(errors.DifferentiationError, match=r"no forward-mode derivative \(JVP\) for `solve`.*defjvp"):
        attempt()


def test_the_callback_gets_the_value_of_the_loss_if_it_takes_it():
    values, four = [], []
    plain = lambda params, hyper, step: LOSS(params, hyper, step)
    for loss in (LOSS, plain):
        for callback in (lambda *given: values.append(given[4]), lambda s, p, state, g, value: values.append(value)):
            values.clear()
            saved = hg.train(loss, PARAMS, hg.SGD(0.1), steps=3, save_at=[0, 1, 2, 3], callback=callback)
            assert values == pytest.approx([LOSS(p, None, t) for t, p in enumerate(saved[:3])], rel=1e-12)
    hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=2, callback=lambda s, p, state, g: four.append(s))
    assert four == [0, 1]
    with pytest.raises(errors.ArgumentError, match=r"callback must take \(step, params, state, gradient\)"):
        hg.train(LOSS, PARAMS, hg.SGD(0.1), steps=2, callback=lambda s: None)


def test_edges_and_sweeps_print_short_tables():
    f = lambda x: anp.sin(anp.exp(4.0 * x)) / (1.0 + anp.exp(2.0 * x))
    edge = hg.probe.locate_edge(f, 0.0, 2.0)
    for text in (repr(edge), str(edge)):
        assert "array" not in text and len(text.splitlines()) <= 3 and f"{edge.location:.6g}" in text
    sweep = hg.probe.sweep(lambda x: [x, x**2], np.linspace(0.0, 1.0, 101), progress=False)
    lines = repr(sweep).splitlines()
    assert "array" not in repr(sweep) and len(lines) == 11 and re.match(r" +0\.02 +0\.0004 +0\.04$", lines[4])


def test_rounding_of_the_momentum_is_warned_of_and_refused():
    f = lambda beta: anp.sum(hg.train(LOSS, PARAMS, hg.SGD(0.1, beta, exact=True), steps=3)[0][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for beta in (0.5, 0.9, 0.99, 0.999):
            f(beta)
        f(1.0 - 2.0**-20)  # a multiple of 2^-32
    with pytest.warns(errors.PrecisionWarning, match=r"SGD\.momentum.* of its distance to 1"):
        f(1.0 - 1e-6)
    with pytest.raises(
        errors.ScheduleError, match=r"of its distance to 1, and the derivative with it; use exact=False"
    ):
        f(1.0 - 1e-9)
    with pytest.raises(errors.ScheduleError, match="at step 1"):
        f(np.array([0.9, 1.0 - 1e-9, 0.9]))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), hg.Reversible(), None])
def test_divergence_as_nan_is_one_behaviour_in_every_mode(adjoint):
    exact = isinstance(adjoint, hg.Reversible)
    quartic = lambda w, h, t: anp.sum(w**4)
    start, options = np.array([1.0, 2.0]), {"steps": 30, "save_at": [0, 1, 2, 30], "on_divergence": "nan"}

    def f(lr, which=slice(None)):
        saved = hg.train(quartic, start, hg.SGD(lr, 0.5, exact=exact), **options, adjoint=adjoint)
        return anp.array([anp.sum(w) for w in saved])[which]

    lr = 0.3
    plain = f(lr)
    reached = np.isfinite(plain)
    assert reached[:2].all() and not reached[3]
    value, slope = make_jvp(f)(lr)(1.0)
    np.testing.assert_array_equal(value, plain)
    assert (np.isfinite(slope) == reached).all()
    for k in range(4):
        gradient = grad(lambda x, k=k: f(x, k))(lr)
        if reached[k]:
            assert gradient == pytest.approx(slope[k], rel=1e-6)
        else:
            assert np.isnan(gradient)
    with pytest.raises((hg.DivergedError, errors.FixedPointOverflowError)):
        hg.train(quartic, start, hg.SGD(lr, 0.5, exact=exact), steps=30)
    with pytest.raises(errors.ArgumentError, match=r"on_divergence must be .* got 'ignore'"):
        hg.train(quartic, start, hg.SGD(lr), steps=1, on_divergence="ignore")


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_truncated_runs_that_end_early():
    lr = np.full(20, 0.1)
    lr[4:6] = 1e308
    loss = lambda w, h, t: anp.sum(anp.cos(w + 0.1 * t)) + 0.3 * anp.sum(w**2)
    options = {"steps": 20, "save_at": [0, 1, 2, 4, 20], "on_divergence": "nan"}
    start = np.array([1.0, -2.0, 0.5])
    saved = lambda lr, adjoint: hg.train(loss, start, hg.SGD(lr, 0.9), **options, adjoint=adjoint)
    f = lambda lr, adjoint: anp.sum(saved(lr, adjoint)[3] ** 2)
    expected = grad(f)(lr, hg.Stored())
    np.testing.assert_allclose(grad(f)(lr, hg.Truncated(8)), expected, rtol=1e-12)
    assert not expected[4:].any() and expected[:4].all()
