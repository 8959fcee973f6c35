"""Weight decay, clipping, accumulation, values per weight: what the table of optimizers does not say of them."""

import math
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, make_jvp, value_and_grad
from problems import classifier, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.bridge import getval
from hypergrad.fixed.dynamics import ExactDynamics
from hypergrad.nests import flatten, unflatten
from hypergrad.problem import check_problem

MODEL, LOSS, PARAMS, X, T = classifier(seed=3)
RNG = np.random.default_rng(0)
bowl = lambda w, h, t: 0.5 * anp.sum((w - 1.0) ** 2) + anp.sum(anp.cos(w + 0.1 * t))


def filled(low, high):
    """Random values for every weight."""
    leaves, structure = flatten(PARAMS)
    return unflatten(structure, [RNG.uniform(low, high, w.shape) for w in leaves])


def test_the_checks_fail_on_a_wrong_derivative_by_the_decay(monkeypatch):
    from hypergrad.optimizers import sgd
    from hypergrad.optimizers.base import Written, step_into

    f = lambda decay: anp.sum(hg.train(bowl, np.ones(3) * 0.3, hg.SGD(0.3, 0.5, decay), steps=4) ** 2)
    hg.testing.check_hypergradient(f, 0.2)

    def wrong(*given):
        lr, momentum, decay = sgd._pull_back(False, *given)
        return lr, momentum, 1.01 * decay

    monkeypatch.setitem(hg.optimizers.base._WRITTEN, hg.SGD, lambda o: Written(step_into, None, wrong))
    with pytest.raises(errors.HypergradientError):
        hg.testing.check_hypergradient(f, 0.2)


# values per weight


def reference_per_weight(rates, decays):
    """SGD with a rate and a decay for each weight, through unrolled autograd."""
    tables = flatten(rates)[0], flatten(decays)[0]

    @unrolled.whole
    def update(ws, states, gs, t, rows):
        states = [0.0 if v is None else v for v in states]
        vs = [m * v - (1 - m) * g for v, g, (m,) in zip(states, gs, rows)]
        return [(1 - a * d) * w + a * v for w, v, a, d in zip(ws, vs, *tables)], vs

    return update


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2)])
def test_rates_and_decays_per_weight(adjoint):
    inputs = {"lr": filled(0.1, 0.5), "decay": filled(0.0, 0.3), "momentum": 0.8}

    def ours(x):
        optimizer = hg.SGD(hg.PerWeight(x["lr"]), x["momentum"], hg.PerWeight(x["decay"]))
        return MODEL.loss(hg.train(LOSS, PARAMS, optimizer, steps=6, adjoint=adjoint), X, T)

    def reference(x):
        update = reference_per_weight(x["lr"], x["decay"])
        return MODEL.loss(unrolled.train(LOSS, PARAMS, update, (x["momentum"],), None, 6, [6])[0], X, T)

    (value, gradient), (expected_value, expected) = value_and_grad(ours)(inputs), value_and_grad(reference)(inputs)
    assert value == pytest.approx(expected_value, rel=1e-12)
    for name in inputs:
        assert relative_error(gradient[name], expected[name]) < 1e-9, name
    leaves, structure = flatten(inputs)
    direction = [np.asarray(RNG.standard_normal(np.shape(leaf))) for leaf in leaves]
    forward = make_jvp(ours)(inputs)(unflatten(structure, direction))[1]
    assert forward == pytest.approx(sum(np.vdot(g, d) for g, d in zip(flatten(gradient)[0], direction)), rel=1e-9)


def test_a_rate_per_weight_in_a_prefix_in_exact_arithmetic_and_in_own_rules():
    rates = filled(0.1, 0.5)
    run = lambda lr, **o: hg.train(LOSS, PARAMS, hg.SGD(lr, 0.5, exact=True), steps=5, **o)
    f = lambda lr, adjoint: MODEL.loss(run([0.2, hg.PerWeight(lr), 0.1], adjoint=adjoint), X, T)
    stored, reversed_ = (grad(f)(rates[1], adjoint) for adjoint in (hg.Stored(), hg.Reversible()))
    assert all(map(np.array_equal, stored, reversed_))
    hg.testing.check_hypergradient(lambda lr: f(lr, hg.Stored()), rates[1])
    same = hg.train(LOSS, PARAMS, hg.SGD(hg.PerWeight(filled(0.25, 0.25))), steps=5)
    assert relative_error(same, hg.train(LOSS, PARAMS, hg.SGD(0.25), steps=5)) == 0.0

    @dataclass(frozen=True)
    class Plain(hg.Optimizer):
        lr: Any

        def init(self, w):
            return ()

        def step(self, w, s, g, h, step):
            return w - h.lr * g, ()

    hg.testing.check_hypergradient(
        lambda lr: MODEL.loss(hg.train(LOSS, PARAMS, Plain(hg.PerWeight(lr)), steps=3), X, T), rates
    )


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda: hg.SGD(hg.PerWeight(np.ones(3))), r"SGD\.lr is a PerWeight whose values are not a nest like params"),
        (
            lambda: hg.SGD([hg.PerWeight((np.ones((6, 5)), np.ones(4))), 0.1, 0.1]),
            r"SGD\.lr\[0\]\.values\[1\] has shape",
        ),
        (
            lambda: hg.SGD(0.1, hg.PerWeight(filled(1.5, 1.6))),
            r"SGD\.momentum\.values\[0\]\[0\] must lie.*at index \(0, 0\)",
        ),
        (lambda: hg.SGD(0.1, hg.PerWeight(filled(0.5, 0.6)), exact=True), r"momentum is a PerWeight, but exact"),
        (
            lambda: hg.SGD(0.1, 0.5, hg.PerWeight(filled(0.5, 0.6)), exact=True),
            r"weight_decay is a PerWeight, but exact",
        ),
        (lambda: hg.SGD(hg.Constant(np.ones(3))), r"SGD\.lr is a Constant, an array for optimizers of one's own"),
        (lambda: hg.SGD(np.ones((6, 5))), r"one for each weight is hypergrad\.PerWeight"),
    ],
)
def test_values_per_weight_that_do_not_fit(optimizer, message):
    with pytest.raises(errors.HypergradError, match=message):
        hg.train(LOSS, PARAMS, optimizer(), steps=5)


def test_a_schedule_of_as_many_steps_as_weights_is_a_schedule():
    w = np.array([0.3, -0.2, 0.5])
    by_step = hg.train(bowl, w, hg.SGD(np.array([0.1, 0.2, 0.3]), 0.0), steps=3)
    by_weight = hg.train(bowl, w, hg.SGD(hg.PerWeight(np.array([0.1, 0.2, 0.3])), 0.0), steps=3)
    for i, lr in enumerate((0.1, 0.2, 0.3)):
        assert by_weight[i] == hg.train(bowl, w, hg.SGD(lr, 0.0), steps=3)[i]
    assert relative_error(by_step, by_weight) > 0.01


# exact arithmetic


def exact_dynamics(optimizer, steps):
    problem = check_problem(LOSS, PARAMS, optimizer, None, steps)
    dynamics = problem.dynamics()
    assert isinstance(dynamics, ExactDynamics)
    return dynamics


@pytest.mark.parametrize("decay", [0.02, 0.5, np.linspace(0.0, 2.0, 400)])
def test_the_bits_that_decaying_weights_lose_are_those_that_are_kept(decay):
    """log₂(1/(1 − αλ)) for each weight and step: measured in the buffer, to a hundredth."""
    lr, steps = 0.25, 400
    dynamics = exact_dynamics(hg.SGD(lr, 0.5, decay, exact=True), steps)
    state = dynamics.start(record=True)
    for step in range(steps):
        state = dynamics.step(state, step)
    count = sum(w.size for w in flatten(PARAMS)[0])
    share = 1.0 - lr * np.broadcast_to(decay, (steps,))
    expected = -count * float(np.log2(share).sum())
    held = sum(
        16 * run.decayed.stack.size + float(np.log2(run.decayed.words.astype(float)).sum()) - 48 * run.w.size
        for run in state.fixed
    )
    assert held == pytest.approx(expected, rel=0.01, abs=count)
    assert dynamics.bits_lost() == pytest.approx(expected + count * steps, rel=1e-6)  # and one bit each at β = 1/2


@pytest.mark.parametrize("make", [hg.SGD, hg.Adam])
def test_decaying_weights_come_back_bit_for_bit(make):
    """Schedules with steps at which nothing decays, and one array that never does; 300 steps."""
    steps = 300
    schedule = np.where(np.arange(steps) % 3 == 0, 0.0, 0.01)

    def f(decay, adjoint):
        optimizer = make(np.linspace(0.05, 0.0, steps), weight_decay=[decay, (0.3, 0.0), 0.1], exact=True)
        return MODEL.loss(hg.train(LOSS, PARAMS, optimizer, steps=steps, adjoint=adjoint), X, T)

    by_adjoint = [grad(f)(schedule, adjoint) for adjoint in (hg.Stored(), hg.Reversible(), hg.Checkpointed(5))]
    assert np.linalg.norm(by_adjoint[0]) > 0.0
    assert all(np.array_equal(by_adjoint[0], other) for other in by_adjoint[1:])


def test_the_gradient_belongs_to_the_rounded_share():
    """A share of some units of 2⁻³²: rounding it matters, and is warned of; the derivative is that of what is run."""
    lr, decay = 2.0**-10, 80.4001 * 2.0**-22
    with pytest.warns(errors.PrecisionWarning, match=r"1 - lr · weight_decay, for SGD\.weight_decay, to a multiple"):
        trained = hg.train(bowl, np.ones(3), hg.SGD(lr, 0.5, decay, exact=True), steps=50)
    rounded = (1.0 - np.rint((1.0 - lr * decay) * 2.0**32) / 2.0**32) / lr
    again = hg.train(bowl, np.ones(3), hg.SGD(lr, 0.5, rounded, exact=True), steps=50)
    assert np.array_equal(trained, again)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            hg.SGD(1e-6, 0.5, 1e-6, exact=True),
            r"lr · weight_decay must lie in \[2\^-33, 1 - 2\^-16\].*got 1e-12 at step 0",
        ),
        (hg.SGD(2.0, 0.5, 0.5, exact=True), r"lr · weight_decay must lie in .*got 1\.0 at step 0"),
        (hg.SGD(0.1, nesterov=True, exact=True), r"SGD\(nesterov=True\) cannot be computed with exact=True"),
        (hg.Accumulated(hg.SGD(0.1, exact=True), 2), r"Accumulated cannot be computed with exact=True"),
        (hg.Clipped(hg.RMSProp(0.1), 1.0), None),
    ],
)
def test_what_cannot_be_exact(optimizer, message):
    if message is None:
        with pytest.raises(errors.AdjointError, match="RMSProp cannot be run backwards"):
            hg.train(LOSS, PARAMS, optimizer, steps=2, adjoint=hg.Reversible())
        return
    with pytest.raises(errors.HypergradError, match=message):
        hg.train(LOSS, PARAMS, optimizer, steps=2)


def test_nesterov_cannot_be_reversed():
    with pytest.raises(errors.AdjointError, match="SGD cannot be run backwards"):
        hg.train(LOSS, PARAMS, hg.SGD(0.1, nesterov=True), steps=2, adjoint=hg.Reversible())


def test_weights_that_do_not_decay_cost_nothing():
    plan = lambda optimizer: hg.plan(LOSS, PARAMS, optimizer, steps=50, memory_budget="1GB").memory
    assert plan(hg.SGD(0.1)) == plan(hg.SGD(0.1, weight_decay=0.0)) < plan(hg.SGD(0.1, weight_decay=0.1))
    assert plan(hg.SGD(0.1, exact=True)) < plan(hg.SGD(0.1, weight_decay=0.1, exact=True))


# clipping


def test_clipping_at_the_kink_and_on_both_sides():
    """One step from a gradient of norm 5; the derivative by the limit, and through the norm."""
    loss = lambda w, h, t: h * (3.0 * w[0] + 4.0 * w[1])
    w, lr = np.zeros(2), 0.5
    f = lambda limit, scale: hg.train(loss, w, hg.Clipped(hg.SGD(lr, 0.0), limit), scale, steps=1)[0]
    assert f(10.0, 1.0) == -lr * 3.0 and f(5.0, 1.0) == -lr * 3.0 and f(1.0, 1.0) == pytest.approx(-lr * 0.6)
    assert grad(f, 0)(10.0, 1.0) == grad(f, 0)(5.0, 1.0) == 0.0 and grad(f, 0)(1.0, 1.0) == pytest.approx(-lr * 0.6)
    assert grad(f, 1)(5.0, 1.0) == pytest.approx(-lr * 3.0), "at the kink that of the side below"
    assert grad(f, 1)(1.0, 1.0) == pytest.approx(0.0, abs=1e-15), "a longer gradient is clipped to the same"


def test_clipping_of_gradients_whose_square_overflows_and_of_none_at_all():
    steep = lambda w, h, t: 1e200 * (3.0 * w[0] + 4.0 * w[1])
    trained = hg.train(steep, np.zeros(2), hg.Clipped(hg.SGD(1.0, 0.0), 2.0), steps=1)
    np.testing.assert_allclose(trained, [-1.2, -1.6], rtol=1e-14)
    flat = lambda w, h, t: anp.sum(w**2)
    assert not hg.train(flat, np.zeros(2), hg.Clipped(hg.SGD(1.0, 0.0), 2.0), steps=1).any()
    root = lambda w, h, t: anp.sum(anp.sqrt(w))
    with pytest.raises(errors.NonFiniteLossGradientError):
        hg.train(root, np.zeros(2), hg.Clipped(hg.SGD(1.0, 0.0), 2.0), steps=1)


def test_clipping_keeps_a_reversible_run_bit_for_bit():
    def f(limit, adjoint):
        optimizer = hg.Clipped(hg.SGD(0.3, 0.9, 0.1, exact=True), limit)
        return MODEL.loss(hg.train(LOSS, PARAMS, optimizer, steps=200, adjoint=adjoint), X, T)

    assert grad(f)(0.1, hg.Stored()) == grad(f)(0.1, hg.Reversible()) != 0.0


# accumulation


def test_accumulation_is_descent_on_the_mean_loss():
    mean = lambda params, hyper, step: 0.5 * (LOSS(params, hyper, 2 * step) + LOSS(params, hyper, 2 * step + 1))
    for make in (hg.SGD, hg.Adam):
        once = hg.train(LOSS, PARAMS, hg.Accumulated(make(0.05), every=2), steps=9, save_at=[0, 1, 8, 9])
        expected = hg.train(mean, PARAMS, make(0.05), steps=4)
        assert relative_error(once[2], expected) < 1e-12
        assert relative_error(once[3], once[2]) == relative_error(once[1], once[0]) == 0.0


def test_a_callback_and_growth_rates_with_wrappers():
    seen = []
    optimizer = hg.Accumulated(hg.Clipped(hg.SGD(0.1), 0.5), every=2)
    hg.train(LOSS, PARAMS, optimizer, steps=3, callback=lambda *given: seen.append(given[2]))
    assert not seen[1].velocity[0][0].any() and seen[2].velocity[0][0].any()
    assert np.isfinite(hg.chaos.lyapunov(LOSS, PARAMS, optimizer, steps=12, directions=2).exponents).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hg.Clipped(0.1), r"Clipped wraps an optimizer, such as hypergrad\.SGD\(0\.1\), got 0\.1"),
        (lambda: hg.Clipped(hg.SGD), "Clipped wraps an optimizer"),
        (lambda: hg.Clipped(hg.Accumulated(hg.Clipped(hg.SGD(0.1)))), "Clipped twice, one inside the other"),
        (lambda: hg.Accumulated(hg.SGD(0.1), every=0), r"Accumulated\.every must be an integer ≥ 1, got 0"),
        (lambda: hg.Clipped(hg.SGD(0.1), max_norm=0.0), r"Clipped\.max_norm must lie in \(0, inf"),
        (
            lambda: hg.Clipped(hg.SGD(0.1), max_norm=[1.0, 2.0, 3.0]),
            r"Clipped\.max_norm bounds the norm over all arrays",
        ),
        (lambda: hg.Clipped(hg.SGD(-0.1)), r"SGD\.lr must lie in"),
    ],
)
def test_wrappers_that_cannot_work(make, message):
    with pytest.raises(errors.HypergradError, match=message):
        hg.train(LOSS, PARAMS, make(), steps=2)


def test_wrappers_are_no_rules_for_a_meta_descent():
    for optimizer in (hg.Clipped(hg.SGD(0.1)), hg.Accumulated(hg.SGD(0.1))):
        with pytest.raises(errors.ArgumentError, match=r"steps leaf by leaf, and \w+ needs all gradients at once"):
            hg.meta.minimize(lambda h: h**2, 1.0, optimizer=optimizer, steps=1, progress=False)
    with pytest.raises(errors.ArgumentError, match=r"works on the gradients of a whole run: hand it to"):
        hg.Clipped(hg.SGD(0.1)).step(None, None, None, None, 0)


# roots


def test_the_textbook_root_is_named_and_the_guarded_one_is_right():
    def rule(root):
        @dataclass(frozen=True)
        class Textbook(hg.Optimizer):
            lr: Any

            def init(self, w):
                return (0.0 * w,)

            def step(self, w, s, g, h, step):
                v = 0.9 * s[0] + 0.1 * g**2
                return w - h.lr * g / (root(v) + 1e-3), (v,)

        return Textbook

    dead = lambda w, hyper, step: anp.sum((w[:2] - 1.0) ** 2) + hyper * w[2] ** 2
    start = np.array([0.3, -0.2, 0.0])
    f = lambda hyper, kind: anp.sum(hg.train(dead, start, kind(0.05), hyper, steps=4) ** 2)
    with pytest.warns(errors.NonFiniteGradientWarning, match=r"Textbook's own update.*hypergrad\.optimizers\.root"):
        assert np.isnan(grad(f)(0.5, rule(anp.sqrt)))
    hg.testing.check_hypergradient(lambda hyper: f(hyper, rule(hg.optimizers.root)), 0.5)


def test_the_guarded_root_can_be_differentiated_again():
    root = hg.optimizers.root
    second = grad(grad(root))
    assert second(4.0) == pytest.approx(-0.25 * 4.0**-1.5) and grad(root)(0.0) == 0.0 and second(0.0) == 0.0
    assert math.isfinite(getval(root(0.0)))
