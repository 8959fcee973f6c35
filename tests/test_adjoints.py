"""Every optimizer under every adjoint and schedule form, against unrolled autograd and against each other."""

import functools

import autograd.numpy as anp
import numpy as np
import pytest
import unrolled
from autograd import grad, jacobian, make_jvp, value_and_grad
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_table import FORMS, OPTIMIZERS, Nesterov, draw
from problems import classifier, penalised, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.adjoints import binomial
from hypergrad.engine.dynamics import Dynamics
from hypergrad.nests import flatten, unflatten

STEPS, SAVE_AT = 7, [0, 2, 5, 7]
MODEL, LOSS, PARAMS, X, T = classifier(seed=3)
PENALISED = penalised(LOSS)
HYPER = [-3.0, -2.0, -4.0, -3.0, -1.0, -2.0]
ADJOINTS = {
    "Stored": hg.Stored(),
    "Checkpointed(1)": hg.Checkpointed(1),
    "Checkpointed(3)": hg.Checkpointed(3),
    "Checkpointed(20)": hg.Checkpointed(20),
    "Truncated(all)": hg.Truncated(STEPS),
}
EXACT = [name for name, entry in OPTIMIZERS.items() if entry.exact]


def objective(saved):
    return sum((i + 1) * MODEL.loss(params, X, T) + anp.sum(params[0][0] ** (i + 1)) for i, params in enumerate(saved))


def through(make, adjoint, loss=PENALISED):
    def f(inputs):
        params, hyper, schedules = inputs
        saved = hg.train(loss, params, make(*schedules), hyper, steps=STEPS, adjoint=adjoint, save_at=SAVE_AT)
        return objective(saved)

    return f


def reference(entry, loss=PENALISED):
    def f(inputs):
        params, hyper, schedules = inputs
        return objective(unrolled.train(loss, params, entry.update, schedules, hyper, STEPS, SAVE_AT))

    return f


def inputs_of(entry, form, seed=0):
    return PARAMS, HYPER, draw(entry, form, STEPS, 3, seed)


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), hg.Reversible()])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loss_with_its_own_derivatives(name, adjoint):
    """Without hyper, so that they are used."""
    entry = OPTIMIZERS[name]
    reversing = adjoint == hg.Reversible()
    if reversing and not entry.exact:
        pytest.skip("cannot be run backwards")
    inputs = (PARAMS, None, draw(entry, "per array", STEPS, 3, 1))
    differentiated = lambda f: grad(lambda x: f((x[0], None, x[1])))((inputs[0], inputs[2]))
    gradient = differentiated(through(entry.exact if reversing else entry.make, adjoint, LOSS))
    assert relative_error(gradient, differentiated(reference(entry, LOSS))) < (1e-6 if reversing else 1e-9)


def check_all(gradient, expected, tolerance):
    for ours, theirs in zip(gradient, expected):
        assert relative_error(ours, theirs) < tolerance
    for ours, theirs in zip(gradient[2], expected[2]):
        assert relative_error(ours, theirs) < tolerance


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_against_unrolled_autograd(name, adjoint, form):
    entry = OPTIMIZERS[name]
    inputs = inputs_of(entry, form)
    value, gradient = value_and_grad(through(entry.make, ADJOINTS[adjoint]))(inputs)
    expected_value, expected = value_and_grad(reference(entry))(inputs)
    assert value == pytest.approx(expected_value, rel=1e-12)
    check_all(gradient, expected, 1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forward_mode(name, form):
    entry = OPTIMIZERS[name]
    inputs = inputs_of(entry, form)
    leaves, structure = flatten(inputs)
    rng = np.random.default_rng(5)
    direction = [np.asarray(rng.standard_normal(np.shape(leaf))) for leaf in leaves]
    makes = [entry.make] + ([entry.exact] if entry.exact else [])
    for make in makes:
        f = through(make, hg.Stored())
        forward = make_jvp(f)(inputs)(unflatten(structure, direction))[1]
        terms = [np.vdot(g, d) for g, d in zip(flatten(grad(f)(inputs))[0], direction)]
        assert forward == pytest.approx(sum(terms), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_dynamics_bit_for_bit(name, form):
    """Reversing gives the very numbers of the stored run of the same dynamics, and nearly those of floats."""
    entry = OPTIMIZERS[name]
    inputs = inputs_of(entry, form)
    value, gradient = value_and_grad(through(entry.exact, hg.Stored()))(inputs)
    for adjoint in (hg.Reversible(), hg.Checkpointed(1), hg.Checkpointed(3)):
        other_value, other = value_and_grad(through(entry.exact, adjoint))(inputs)
        assert other_value == value
        for a, b in zip(flatten(gradient)[0], flatten(other)[0]):
            np.testing.assert_array_equal(a, b)
    float_value, float_gradient = value_and_grad(through(entry.make, hg.Stored()))(inputs)
    assert value == pytest.approx(float_value, rel=1e-8)
    check_all(gradient, float_gradient, 1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_checker_and_the_adjoints_agree_on_finite_differences(name):
    entry = OPTIMIZERS[name]
    params, hyper, schedules = inputs_of(entry, "per step")
    f = through(entry.make, hg.Checkpointed(2))

    def scaled(h):
        return f((params, h["hyper"], [anp.exp(0.1 * log) * s for log, s in zip(h["logs"], schedules)]))

    hg.testing.check_hypergradient(scaled, {"hyper": hyper, "logs": [np.zeros(STEPS) for _ in schedules]})


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(OPTIMIZERS)),
    st.sampled_from(FORMS),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(0, 2**31),
)
def test_random_runs(name, form, steps, snapshots, seed):
    entry, rng = OPTIMIZERS[name], np.random.default_rng(seed)
    model, loss, params, X, T = classifier((4, 3, 2), rows=9, batch_size=int(rng.integers(1, 9)), seed=seed)
    schedules = draw(entry, form, steps, 2, seed)
    save_at = sorted(rng.choice(steps + 1, size=rng.integers(1, steps + 2), replace=False).tolist())
    weights = rng.uniform(0.5, 1.0, len(save_at))

    def objective(saved):
        return sum(weight * model.loss(p, X, T) for weight, p in zip(weights, saved))

    def ours(make, adjoint):
        def f(x):
            return objective(hg.train(loss, x[0], make(*x[1]), steps=steps, adjoint=adjoint, save_at=save_at))

        return value_and_grad(f)((params, schedules))

    stored = ours(entry.make, hg.Stored())
    f = lambda x: objective(unrolled.train(loss, x[0], entry.update, x[1], None, steps, save_at))
    assert relative_error(stored[1], grad(f)((params, schedules))) < 1e-8
    assert relative_error(ours(entry.make, hg.Checkpointed(snapshots))[1], stored[1]) < 1e-12
    if entry.exact:
        exact = ours(entry.exact, hg.Stored())
        for adjoint in (hg.Reversible(), hg.Checkpointed(snapshots)):
            value, gradient = ours(entry.exact, adjoint)
            assert value == exact[0]
            for a, b in zip(flatten(gradient)[0], flatten(exact[1])[0]):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2), hg.Reversible(), hg.Truncated(3)])
def test_the_callback_sees_the_forward_run_only(adjoint):
    seen = []
    f = lambda lr: MODEL.loss(
        hg.train(
            LOSS,
            PARAMS,
            hg.SGD(lr, 0.8, exact=True),
            steps=STEPS,
            adjoint=adjoint,
            callback=lambda step, params, state, gradient: seen.append((step, state.velocity[0][0].shape)),
        ),
        X,
        T,
    )
    grad(f)(0.3)
    assert seen == [(step, (6, 5)) for step in range(STEPS)]


def test_checkpointed_recomputes_as_little_as_the_binomial_schedule(monkeypatch):
    """Counts updates; the reference is dynamic programming over all schedules."""

    @functools.cache
    def fewest(steps, snapshots):
        if steps <= 1:
            return 0
        if snapshots == 1:
            return steps * (steps - 1) // 2
        return min(m + fewest(steps - m, snapshots - 1) + fewest(m, snapshots) for m in range(1, steps))

    calls = []
    advance = Dynamics.advance

    def counting(self, *args, **options):
        calls.append(args)
        return advance(self, *args, **options)

    monkeypatch.setattr(Dynamics, "advance", counting)
    quadratic = lambda w, hyper, step: 0.5 * anp.sum(w**2)

    def run(lr, steps, adjoint):
        return anp.sum(hg.train(quadratic, np.ones(2), hg.SGD(lr), steps=steps, adjoint=adjoint))

    for steps in (1, 2, 3, 5, 10, 17, 40):
        expected = grad(run)(0.1, steps, hg.Stored())
        for snapshots in (1, 2, 3, 5, 12, 50):
            calls.clear()
            gradient = grad(run)(0.1, steps, hg.Checkpointed(snapshots))
            only_to_be_reversed = max(steps - 1, 0) - len(binomial.waiting(steps, snapshots))
            recomputed = len(calls) - steps - only_to_be_reversed
            assert recomputed == fewest(steps, snapshots) - (steps - 1), (steps, snapshots)
            assert recomputed == binomial.recomputed(steps, snapshots)
            assert gradient == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("adjoint", [hg.Stored(), hg.Checkpointed(2)])
def test_a_jacobian_pulls_back_more_than_once(adjoint):
    def losses(log_lr):
        optimizer = hg.SGD(anp.exp(log_lr), exact=True)
        saved = hg.train(LOSS, PARAMS, optimizer, steps=STEPS, adjoint=adjoint, save_at=SAVE_AT)
        return anp.array([MODEL.loss(params, X, T) for params in saved])

    rows = jacobian(losses)(np.full(STEPS, -1.0))
    for k in (1, 2, 3):
        expected = grad(lambda x, k=k: losses(x)[k])(np.full(STEPS, -1.0))
        np.testing.assert_allclose(rows[k], expected, rtol=1e-12)


def test_truncated_is_the_derivative_with_the_earlier_steps_held_fixed():
    keep, log_lr = 3, np.linspace(-1.5, -0.5, STEPS)

    def end(log_lr, steps, start, adjoint=None):
        shifted = lambda p, h, t: LOSS(p, h, t + start[1])
        return hg.train(shifted, start[0], hg.SGD(anp.exp(log_lr), 0.0), steps=steps, adjoint=adjoint)

    f = lambda x: MODEL.loss(end(x, STEPS, (PARAMS, 0), hg.Truncated(keep)), X, T)
    middle = end(log_lr[:-keep], STEPS - keep, (PARAMS, 0))
    g = lambda x: MODEL.loss(end(x, keep, (middle, STEPS - keep)), X, T)
    truncated = grad(f)(log_lr)
    assert not truncated[:-keep].any()
    np.testing.assert_allclose(truncated[-keep:], grad(g)(log_lr[-keep:]), rtol=1e-9)
    initial = grad(lambda p: MODEL.loss(end(log_lr, STEPS, (p, 0), hg.Truncated(keep)), X, T))(PARAMS)
    assert not any(leaf.any() for leaf in flatten(initial)[0])


@pytest.mark.parametrize(
    ("optimizer", "adjoint", "error", "message"),
    [
        (hg.SGD(0.1), hg.Reversible(), errors.AdjointError, r"needs exact arithmetic: SGD\(…, exact=True\)"),
        (hg.RMSProp(0.1), hg.Reversible(), errors.AdjointError, r"RMSProp cannot be run backwards; use Checkpointed"),
        (Nesterov(0.1), hg.Reversible(), errors.AdjointError, r"Nesterov cannot be run backwards"),
        (hg.SGD(0.1), hg.Checkpointed(0), errors.ArgumentError, r"Checkpointed\(snapshots=…\).*≥ 1, got 0"),
        (hg.SGD(0.1), hg.Checkpointed(-2), errors.ArgumentError, r"got -2"),
        (hg.SGD(0.1), hg.Checkpointed(2.5), errors.ArgumentError, r"got 2\.5"),
        (hg.SGD(0.1), hg.Truncated(8), errors.AdjointError, r"Truncated\(steps=8\).*run's 7 steps"),
        (hg.SGD(0.1), hg.Truncated(0), errors.ArgumentError, r"Truncated\(steps=…\)"),
        (hg.SGD(0.1, 0.0, exact=True), hg.Reversible(), errors.ScheduleError, r"SGD\.momentum must lie in \[2\^-16"),
        (hg.SGD(0.1, 1e-6, exact=True), hg.Stored(), errors.ScheduleError, r"got 1e-06 at step 0; use exact=False"),
        (hg.SGD(0.1, 1 - 1e-11, exact=True), hg.Stored(), errors.ScheduleError, r"1 - 2\^-33"),
        (hg.Adam(0.1, 0.9, 1 - 1e-11, exact=True), hg.Stored(), errors.ScheduleError, r"Adam\.b2 must lie in"),
        (hg.Adam(0.1, eps=0.0), hg.Stored(), errors.ScheduleError, r"Adam\.eps must lie in \(0, inf\), got 0\.0"),
        (hg.RMSProp(0.1, decay=1.0), hg.Stored(), errors.ScheduleError, r"RMSProp\.decay must lie in \[0, 1\)"),
        (hg.SGD, hg.Stored(), errors.ArgumentError, r"optimizer must be an optimizer"),
    ],
)
def test_bad_combinations(optimizer, adjoint, error, message):
    def forbidden(params, hyper, step):
        raise AssertionError("training began")

    f = lambda p: hg.train(forbidden, p, optimizer, steps=STEPS, adjoint=adjoint)[0][0][0, 0]
    with pytest.raises(error, match=message):
        grad(f)(PARAMS)


def test_float32_cannot_be_exact():
    single = hg.init.scaled_normal(MODEL.shapes, 0.5, 0, dtype=np.float32)
    with pytest.raises(errors.NestError, match=r"params\[0\]\[0\] is float32, but exact arithmetic needs float64"):
        hg.train(LOSS, single, hg.SGD(0.1, exact=True), steps=2)


def test_a_used_up_reversal_raises():
    def losses(lr):
        saved = hg.train(LOSS, PARAMS, hg.SGD(lr, exact=True), steps=3, adjoint=hg.Reversible(), save_at=[1, 3])
        return anp.array([MODEL.loss(params, X, T) for params in saved])

    with pytest.raises(errors.ReversalError, match="used up by its first pullback"):
        jacobian(losses)(0.1)


def test_a_loss_that_changes_between_calls_is_noticed():
    rng = np.random.default_rng(0)
    noisy = lambda p, h, t: LOSS(p, h, t) * (1.0 + 0.1 * rng.random())
    options = {"steps": 3, "adjoint": hg.Reversible()}
    f = lambda lr, check: MODEL.loss(
        hg.train(noisy, PARAMS, hg.SGD(lr, exact=True), **options, check_purity=check), X, T
    )
    with pytest.raises(errors.ReversalError, match="not come back to its start bit for bit"):
        grad(f)(0.1, False)
    with pytest.raises(errors.ImpureLossError, match="step 1 was computed again, and the loss"):
        grad(f)(0.1, True)


def test_parameters_too_large_for_fixed_point():
    loss = lambda w, h, t: 0.5 * anp.sum(w**2)
    with pytest.raises(errors.FixedPointOverflowError, match=r"parameter params reached 5e\+03 at step 0.*below 1024"):
        hg.train(loss, np.array([1.0, 5e3]), hg.SGD(0.1, exact=True), steps=3)
    grows = lambda lr: hg.train(loss, np.array([1.0]), hg.SGD(lr, 0.5, exact=True), steps=200)
    with pytest.raises(errors.FixedPointOverflowError) as caught:
        grows(9.0)
    assert 0 < caught.value.step < 200 and caught.value.largest >= 1024
    assert f"at step {caught.value.step}" in str(caught.value)
