"""Which estimator is advised, and why: functions whose slope and roughness are known, and trainings."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad
from problems import classifier, relative_error

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import Problem, estimators
from hypergrad.nests import flatten
from hypergrad.probe import advise
from hypergrad.probe.roughness import is_calm

MODEL, LOSS, PARAMS, X, T = classifier()
STEPS = 20
RATE = {"log_lr": -1.0, "log_scale": -1.0}


def net(**options):
    given = {
        "init": lambda h, seed: hg.init.scaled_normal(MODEL.shapes, anp.exp(h["log_scale"]), seed),
        "optimizer": lambda h: hg.SGD(anp.exp(h["log_lr"])),
        "outer_loss": lambda params: MODEL.loss(params, X, T),
        "steps": STEPS,
        **options,
    }
    return Problem(LOSS, **given)


def bowl(rate=0.5, steps=40, **options):
    """w ← w − α (w − h) from 0: w_T = h (1 − (1 − α)^T); its outer loss is not that of training."""
    return Problem(
        lambda w, hyper, step: 0.5 * anp.sum((w - hyper) ** 2),
        init=lambda h, seed: np.zeros(2),
        optimizer=lambda h: hg.SGD(rate, 0.0),
        outer_loss=lambda w: anp.sum((w - np.array([1.0, 2.0])) ** 2),
        steps=steps,
        hyper=lambda h: h,
        **options,
    )


def expected_of(advice, name):
    return next(one for one in advice.considered if one.estimator == name)


def of_linear_with_a_wave(slope, height, frequency):
    return lambda x: slope * x + height * anp.sin(frequency * x)


# Below the edge


def test_a_smooth_function_of_one_number_is_differentiated_forwards():
    found = advise(anp.sin, 0.3)
    assert (found.estimator, found.arguments, found.calm, found.error, found.cost) == ("forward", {}, True, 0.0, 2.0)
    assert np.isnan(found.products) and np.isnan(found.memory) and found.measured.numbers == 1
    assert found.measured.derivative == pytest.approx(np.cos(0.3)) and found.measured.spent == 20.0
    assert str(found).startswith(
        "Use hg.meta.estimators.forward(f): over quarters of a step of 0.1 the derivative misses"
    )


def test_what_trapezoids_miss_of_a_parabola_and_a_cube():
    """Of x² nothing; of (1 + x)³ over intervals of h it is h³/2 each, its third derivative being 6."""
    assert advise(lambda x: x**2, 0.3).measured.missed == pytest.approx([0.0, 0.0], abs=1e-12)
    missed = advise(lambda x: (1.0 + x) ** 3, 0.0, step=0.4).measured.missed
    for h, value in zip((0.2, 0.1), missed):
        grid = np.linspace(-0.4, 0.4, round(0.8 / h) + 1)
        slope = 3.0 * (1.0 + grid) ** 2
        assert value == pytest.approx((0.8 / h) * h**3 / 2.0 / np.sum(h * (slope[1:] + slope[:-1]) / 2.0))


def test_many_numbers_are_differentiated_backwards():
    of_many = lambda h: anp.sum(anp.sin(h["a"])) + h["b"]
    found = advise(of_many, {"a": np.linspace(0.0, 1.0, 30), "b": 0.5})
    assert found.estimator == "exact" and found.measured.numbers == 31
    forward = expected_of(found, "forward")
    assert not forward.possible and forward.cost == 32.0 and forward.why == "costs 32 trainings"
    assert expected_of(found, "smoothed").arguments["sigma"] == pytest.approx(0.1 / np.sqrt(31.0))


def test_what_it_costs_is_what_the_estimator_reports():
    of = net()
    found = advise(of, RATE)
    assert found.estimator == "exact" and found.code == "hg.meta.estimators.exact(problem)"
    for one in found.considered:
        if one.possible and one.estimator != "mixed":
            made = getattr(estimators, one.estimator)(of, **one.arguments)(RATE)
            products = 2.0 * STEPS * one.cost
            reported = (
                made.diagnostics.products if one.estimator != "smoothed" else 2.0 * STEPS * made.diagnostics.samples
            )
            assert products == pytest.approx(reported), one.estimator
    assert found.products == 4.0 * STEPS
    assert found.memory == hg.plan(LOSS, PARAMS, hg.SGD(1.0), steps=STEPS).memory


def test_truncation_is_measured_against_the_exact_hypergradient():
    of = net()
    _, exact = value_and_grad(of.f)(RATE)
    found = advise(of, RATE, budget=1.5)
    assert found.estimator == "truncated" and "too dear; measured here" in found.reason
    assert not expected_of(found, "exact").possible
    errors_here = {
        back: relative_error(estimators.truncated(of, steps=back)(RATE).gradient, exact) for back in (2, 5, 10)
    }
    assert dict(found.measured.truncated) == pytest.approx(errors_here)
    assert found.error == pytest.approx(min(errors_here.values()))


def test_implicit_differentiation_where_training_has_settled_and_hypergradients_are_too_dear():
    found = advise(bowl(), np.array([0.5, 0.2]), budget=1.5)
    assert found.estimator == "implicit" and found.error < 1e-9
    made = estimators.build(found, bowl())(np.array([0.5, 0.2]))
    np.testing.assert_allclose(made.gradient, 2.0 * (np.array([0.5, 0.2]) - np.array([1.0, 2.0])), rtol=1e-6)
    early = advise(bowl(rate=0.02), np.array([0.5, 0.2]), budget=1.5)
    assert early.estimator == "truncated"
    # the gradient of training falls by 1 − α a step; its last tenth are steps 36 to 39
    assert found.measured.decay == pytest.approx(np.mean(0.5 ** np.arange(36, 40)), rel=1e-9)


def test_too_little_memory_for_the_steps():
    of, hypers = net(steps=200), RATE
    enough = advise(of, hypers)
    assert enough.estimator == "exact"
    few = advise(of, hypers, memory_budget=enough.memory / 4.0)
    assert few.estimator == "forward" and few.cost == 3.0 and expected_of(few, "exact").cost > 3.0


def test_the_sum_of_outer_losses():
    of = net(objective="sum", every=5)
    found = advise(of, RATE, budget=1.5)
    assert found.estimator == "truncated" and found.arguments == {"steps": 2}
    names = {one.estimator for one in found.considered}
    assert names == {"exact", "forward", "truncated", "greedy", "smoothed", "mixed", "persistent"}
    assert expected_of(found, "greedy").cost == 1.2


# Past it


@pytest.mark.parametrize("height", [1e-4, 0.03])
def test_the_slope_and_the_roughness_of_a_line_with_a_wave(height):
    f = of_linear_with_a_wave(1.0, height, 1e5 + 0.123)
    found = advise(f, 0.3)
    assert not found.calm and found.estimator == "smoothed"
    measured = found.measured
    assert abs(measured.slope - 1.0) < 3.0 * measured.slope_error
    # half the difference of two waves has the variance of one wave, a half, twice over a quarter
    assert measured.roughness == pytest.approx(height / 2.0, rel=0.6)
    assert measured.spread == pytest.approx(height * 1e5 / np.sqrt(2.0), rel=0.6)
    values = expected_of(found, "smoothed")
    real = [estimators.smoothed(lambda h, seed: f(h), sigma=0.1)(0.3, seed).gradient - 1.0 for seed in range(100)]
    assert values.error == pytest.approx(np.sqrt(np.mean(np.square(real))), rel=0.4)


def test_a_mix_between_calm_and_chaos():
    found = advise(of_linear_with_a_wave(1.0, 4e-6, 1e5 + 0.123), 0.3)
    assert found.estimator == "mixed" and found.arguments == {"sigma": 0.1, "samples": 5}
    assert found.cost == 20.0 and "error of" in found.reason and "of exact" in found.reason


def test_jumps_that_no_derivative_sees():
    """A staircase whose derivative is 0.1 while it rises by 1."""
    stairs = lambda x: 0.1 * x + 0.9 * np.floor(1e3 * anp.sum(getattr(x, "_value", x))) / 1e3
    found = advise(stairs, 0.3)
    assert found.estimator == "smoothed" and found.measured.slope == pytest.approx(1.0, rel=0.02)
    assert expected_of(found, "exact").error == pytest.approx(0.9, rel=0.05)
    assert expected_of(found, "mixed").error > 0.5


def test_a_slope_that_values_do_not_resolve():
    found = advise(of_linear_with_a_wave(1e-3, 1.0, 1e5 + 0.123), 0.3)
    assert "do not resolve the slope" in found.reason and found.estimator == "smoothed"
    beyond = advise(of_linear_with_a_wave(1e-3, 1.0, 1e5 + 0.123), 0.3, budget=2.0)
    assert beyond.error > 1.0 and "no better than no gradient: take more than 2 trainings" in beyond.reason


@pytest.mark.filterwarnings("ignore:overflow")
def test_places_where_training_diverges_are_left_out_and_counted():
    of = Problem(
        lambda w, hyper, step: anp.sum(w**4),
        init=lambda h, seed: np.ones(2),
        optimizer=lambda h: hg.SGD(anp.exp(h), 0.0),
        outer_loss=lambda w: anp.sum(w**2),
        steps=40,
    )
    found = advise(of, -1.0, step=1.0)
    assert found.measured.diverged > 0 and "training diverges at" in found.reason and not found.calm


def test_doubt_is_settled_by_eighths():
    bent = lambda x: anp.sin(80.0 * x)
    found = advise(bent, 0.0)
    assert len(found.measured.missed) == 3 and found.calm and "over eighths of a step" in found.reason
    assert is_calm([0.6, 0.2]) and is_calm([0.9, 0.04]) and not is_calm([0.3, 0.2]) and not is_calm([np.inf, np.inf])


# How it is asked


def test_a_function_with_a_seed_one_without_and_a_problem():
    of = net()
    with_seed, problem = (advise(f, RATE, seed=2) for f in (lambda h, seed: of.f(h, seed), of))
    without = advise(lambda h: of.f(h, 2), RATE)
    for other in (with_seed, without):
        np.testing.assert_array_equal(other.measured.loss, problem.measured.loss)
        assert other.memory == problem.memory and other.products == problem.products
    assert not np.array_equal(advise(of, RATE).measured.loss, problem.measured.loss)
    assert {one.estimator for one in without.considered} == {"exact", "forward", "smoothed", "mixed"}


def test_every_estimator_can_be_built():
    from hypergrad.meta.estimators import advised

    assert set(advised._BY_NAME) == set(estimators.__all__) - {"Diagnostics", "Estimate", "build"}
    f = lambda h, seed: anp.sum(h**2)
    made = estimators.build(advise(f, np.ones(3)), f)
    assert (
        isinstance(made, type(estimators.exact(f))) and flatten(made(np.ones(3)).gradient)[0][0].tolist() == [2.0] * 3
    )


def test_what_hyperparameters_act_on():
    assert net().acts_on(RATE) == ("init", "optimizer") and bowl().acts_on(np.ones(2)) == ()


def test_a_problem_in_words():
    words = str(advise(net(), RATE))
    assert words.splitlines()[0].startswith("Use hg.meta.estimators.exact(problem): over quarters of a step of 0.1")
    assert "2 trainings an estimate, " in words and "kB over the steps" in words
    assert all(name in words for name in ("forward", "truncated", "smoothed", "mixed"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: advise(anp.sin, 0.3, step=0.0), errors.ArgumentError, "step must be a finite number above 0, got 0.0"),
        (lambda: advise(anp.sin, 0.3, budget=True), errors.ArgumentError, "budget must be a finite number above 0"),
        (lambda: advise(anp.sin, 0.3, budget=1.5), errors.ArgumentError, "no estimator fits a budget of 1.5 trainings"),
        (lambda: advise(anp.sin, 0.3, memory_budget="lots"), errors.ArgumentError, "memory_budget must be a number"),
        (lambda: advise(anp.sin, 0.3, seed=-1), errors.ArgumentError, "seed must be an integer ≥ 0, got -1"),
        (lambda: advise(anp.sin, np.nan), errors.ArgumentError, "hypers is not finite"),
        (lambda: advise(anp.sin, "0.3"), errors.NestError, "hypers"),
        (lambda: advise(lambda x: 1.0, 0.3), errors.ArgumentError, "does not depend on its argument"),
        (lambda: advise(lambda x: x * np.ones(2), 0.3), errors.ArgumentError, "must return a scalar"),
        (lambda: advise(3.0, 0.3), errors.ArgumentError, "advise needs a hypergrad.meta.Problem or a function"),
        (lambda: estimators.build("exact", anp.sin), errors.ArgumentError, "build needs what hypergrad.probe.advise"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_advice_is_not_differentiated():
    with pytest.raises(errors.DifferentiationError, match="advise cannot be differentiated"):
        value_and_grad(lambda h: advise(anp.sin, h).error)(0.3)
