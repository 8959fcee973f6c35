"""Power laws with a floor: recovered, with honest intervals, against other ways to fit; and trials outside one."""

import numpy as np
import pytest
from scipy.optimize import curve_fit, differential_evolution
from scipy.stats import binom

import hypergrad as hg
from hypergrad.errors import ArgumentError, FitError

X = np.repeat(np.geomspace(1.0, 100.0, 12), 3)
DEPTH = np.repeat([2.0, 3.0, 5.0, 7.0, 9.0], 5)
# Besiroglu et al. (2024), table of the refit of Hoffmann et al. (2022): E, A, B, α, β.
REFIT = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)


def noisy(seed, noise=0.02, x=X):
    return (0.5 + 2.0 * x**-0.7) * np.exp(noise * np.random.default_rng((seed, 5)).standard_normal(len(x)))


def losses_of_refit(N, D):
    E, A, B, a, b = REFIT
    return E + A * N**-a + B * D**-b


def grid():
    return (a.ravel() for a in np.meshgrid(np.geomspace(5e7, 1.6e10, 8), np.geomspace(1e9, 5e11, 8)))


def huber(theta, x, y, delta=1e-3):
    """The loss as the paper has it, written once more."""
    r = np.abs(np.logaddexp(theta[0], theta[1] - theta[2] * np.log(x)) - np.log(y))
    return np.sum(np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)))


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.5, 2.0, 0.7), (1e-3, 50.0, 0.1), (3.0, 1e-2, 2.5)])
def test_points_of_a_law_give_that_law(floor, scale, exponent):
    law = hg.fit.power_law(X, floor + scale * X**-exponent, bootstraps=0)
    assert law.floor == pytest.approx(floor, rel=1e-2, abs=1e-3)
    assert (law.scale, law.exponent) == pytest.approx((scale, exponent), rel=1e-2)
    assert np.abs(law.residuals).max() < 1e-4 and law.loss < 1e-6
    assert law.predict(1_000.0) == pytest.approx(floor + scale * 1_000.0**-exponent, rel=1e-2)


def test_points_of_the_published_law_of_two_variables_give_that_law():
    N, D = grid()
    law = hg.fit.power_law({"N": N, "D": D}, losses_of_refit(N, D), bootstraps=0)
    found = law.floor, law.scale["N"], law.scale["D"], law.exponent["N"], law.exponent["D"]
    assert found == pytest.approx(REFIT, rel=2e-2)
    held_out = law.predict({"N": 70e9, "D": 1.4e12})
    assert held_out == pytest.approx(losses_of_refit(70e9, 1.4e12), rel=1e-3)
    assert law.predict({"N": N[:4].reshape(2, 2), "D": D[:4].reshape(2, 2)}).shape == (2, 2)


def test_the_loss_is_as_low_as_a_search_over_all_laws_finds():
    y = noisy(0)
    law = hg.fit.power_law(X, y, bootstraps=0)
    theta = np.log(law.floor), np.log(law.scale), law.exponent
    assert law.loss == pytest.approx(huber(theta, X, y), rel=1e-9)
    bounds = [(-5.0, 0.5), (-3.0, 3.0), (0.0, 3.0)]
    other = differential_evolution(huber, bounds, (X, y), seed=0, tol=1e-10, maxiter=400)
    assert law.loss <= other.fun * (1.0 + 1e-4)


def test_with_a_large_delta_it_is_least_squares_of_the_logs():
    y = noisy(1)
    law = hg.fit.power_law(X, y, delta=10.0, bootstraps=0)
    form = lambda x, e, a, b: np.logaddexp(e, a - b * np.log(x))
    expected, _ = curve_fit(form, X, np.log(y), p0=(-0.5, 0.5, 0.5), ftol=1e-12, xtol=1e-12)
    found = np.log(law.floor), np.log(law.scale), law.exponent
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_a_few_points_far_off_do_not_draw_the_law_to_them():
    y = noisy(2, 0.005)
    y[[3, 20]] *= 3.0
    law = hg.fit.power_law(X, y, bootstraps=0)
    assert (law.floor, law.scale, law.exponent) == pytest.approx((0.5, 2.0, 0.7), rel=0.05)


@pytest.mark.parametrize("resample", ["points", "residuals"])
def test_intervals_hold_the_coefficients_as_often_as_they_say(resample):
    """Of 3 × 12 intervals of nominally 90 %; by chance fewer than the bound are right in one case of a thousand."""
    hits, draws = 0, 12
    for seed in range(draws):
        law = hg.fit.power_law(X, noisy(seed), bootstraps=50, starts=3, resample=resample)
        for what, value in (("floor", 0.5), ("scale", 2.0), ("exponent", 0.7)):
            low, high = law.interval(what, level=0.9)
            hits += low <= value <= high
    # The three coefficients of a draw go together, so that there are little more than as many trials as draws.
    assert hits >= 3 * binom.ppf(1e-3, draws, 0.9)
    assert hits < 3 * draws, "intervals that are always right are too wide"


def test_intervals_of_two_variables_and_of_predictions():
    N, D = grid()
    y = losses_of_refit(N, D) * np.exp(0.005 * np.random.default_rng(0).standard_normal(len(N)))
    law = hg.fit.power_law({"N": N, "D": D}, y, bootstraps=20, starts=3)
    exponents = law.interval("exponent")
    assert set(exponents) == {"N", "D"} and all(low < high for low, high in exponents.values())
    assert law.interval("floor", 0.5)[0] >= law.interval("floor")[0]
    low, high = law.predicted_interval({"N": N, "D": D})
    assert low.shape == N.shape and (low <= high).all() and np.mean((low <= y) & (y <= high)) > 0.1
    again = hg.fit.power_law({"N": N, "D": D}, y, bootstraps=20, starts=3)
    np.testing.assert_array_equal(again.samples, law.samples)
    other = hg.fit.power_law({"N": N, "D": D}, y, bootstraps=20, starts=3, seed=1)
    assert (other.samples != law.samples).any()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([1.0, 2.0], [1.0, 0.9], "3 parameters needs at least as many points, got 2"),
        ([2.0] * 5, [1.0, 0.9, 0.8, 1.0, 1.1], "x has 1 distinct value: "),
        ([2.0, 2.0, 3.0, 3.0], [1.0, 0.9, 0.8, 1.0], "x has 2 distinct values: "),
        ([1.0, 2.0, 4.0], [1.0, 0.0, 0.5], r"y\[1\] is 0\.0: .*positive and finite"),
        ([1.0, 2.0, 4.0], [1.0, 0.7, np.nan], r"y\[2\] is nan: .*leave out trials that diverged"),
        ([-1.0, 2.0, 4.0], [1.0, 0.7, 0.5], r"x\[0\] is -1\.0"),
        ([1.0, 2.0, 4.0], [1.0, 0.7], "of the same length"),
        ("abc", [1.0, 0.7, 0.5], "x must be numbers"),
        ({}, [1.0, 0.7, 0.5], "x is an empty mapping"),
        ({"N": [1.0, 2.0, 3.0], "D": [1.0, 2.0]}, [1.0, 2.0, 3.0], "the variables must have the same length"),
        (
            {"N": [1.0, 2.0, 3.0, 4.0], "D": [1.0, 2.0, 3.0, 5.0]},
            [1.0] * 4,
            "5 parameters needs at least as many points",
        ),
        ({"N": [1.0, 2.0, 3.0] * 2, "D": [4.0] * 6}, [1.0] * 6, "D has 1 distinct value"),
    ],
)
def test_points_that_no_law_can_be_fitted_to(x, y, words):
    for fit in (hg.fit.power_law, hg.fit.irregular):
        with pytest.raises(FitError, match=words):
            fit(x, y)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delta": 0.0}, "delta must be a positive number"),
        ({"starts": 0}, "starts must be an integer ≥ 1"),
        ({"bootstraps": -1}, "bootstraps must be an integer ≥ 0"),
        ({"resample": "rows"}, 'resample must be "points" or "residuals"'),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ArgumentError, match=words):
        hg.fit.power_law(X, noisy(0), **options)


def test_what_a_law_cannot_be_asked():
    law = hg.fit.power_law(X, noisy(0), bootstraps=0, starts=2)
    with pytest.raises(ArgumentError, match="fitted with bootstraps=0"):
        law.interval("floor")
    with pytest.raises(ArgumentError, match='ask for "floor", "scale" or "exponent"'):
        law.interval("alpha")
    with pytest.raises(FitError, match=r"x is 0\.0"):
        law.predict(0.0)
    two = hg.fit.power_law({"N": X, "D": np.tile(X[::3], 3)}, noisy(0), bootstraps=2, starts=2)
    with pytest.raises(FitError, match="the variables N, D"):
        two.predict({"N": 1.0})
    with pytest.raises(ArgumentError, match="level must lie in"):
        two.interval("floor", level=1.0)
    with pytest.raises(FitError, match="all held too few distinct ones"):
        x = {name: np.random.default_rng(i).permutation(9) + 1.0 for i, name in enumerate("abcd")}
        hg.fit.power_law(x, np.linspace(1.0, 2.0, 9), bootstraps=1, starts=1)


def trials(seed):
    rng = np.random.default_rng((seed, 9))
    return (0.3 + 0.4 * DEPTH**-0.8) * np.exp(0.02 * rng.standard_normal(len(DEPTH)))


@pytest.mark.parametrize("leave", ["one", "all"])
def test_regular_trials_are_flagged_as_seldom_as_the_level_says(leave):
    flagged = sum(hg.fit.irregular(DEPTH, trials(seed), leave=leave, starts=2).flagged.any() for seed in range(20))
    assert flagged <= binom.ppf(0.999, 20, 0.05)


def test_trials_that_are_off_are_found_and_the_law_is_that_of_the_others():
    y = trials(0)
    y[[7, 22]] *= [1.2, 1.15]
    found = hg.fit.irregular(DEPTH, y)
    assert found.flagged.nonzero()[0].tolist() == [7, 22] and (found.score[[7, 22]] > 4.0).all()
    regular = ~found.flagged
    law = hg.fit.power_law(DEPTH[regular], y[regular], bootstraps=0)
    assert found.law.predict(4.0) == pytest.approx(law.predict(4.0), rel=1e-6)
    others = regular & (np.arange(25) != 3)
    without = hg.fit.power_law(DEPTH[others], y[others], bootstraps=0)
    assert found.predicted[3] == pytest.approx(without.predict(DEPTH[3]), rel=1e-3)
    means = [np.log(y[others & (d == DEPTH)]).mean() for d in DEPTH[others]]
    deviations = np.log(y[others]) - means
    assert found.spread[3] == pytest.approx(np.sqrt(np.sum(deviations**2) / (22 - 5)), rel=1e-9)


def test_a_whole_row_that_is_off_draws_the_law_to_itself_unless_all_of_it_is_left_out():
    y = trials(1)
    y[DEPTH == 9.0] *= 1.06
    last = DEPTH == 9.0
    one, every = (hg.fit.irregular(DEPTH, y, leave=leave, level=0.999) for leave in ("one", "all"))
    others = hg.fit.power_law(DEPTH[~last], y[~last], bootstraps=0).predict(9.0)
    np.testing.assert_allclose(every.predicted[last], others, rtol=1e-3)
    assert (one.predicted[last] > 1.01 * others).all()


def test_without_seeds_the_spread_is_that_of_the_residuals():
    x = np.geomspace(1.0, 64.0, 13)
    y = noisy(3, 0.01, x)
    y[6] *= 1.3
    found = hg.fit.irregular(x, y)
    assert found.flagged[6] and found.flagged.sum() <= 2 and np.argmax(np.abs(found.score)) == 6
    regular = ~found.flagged
    others = regular & (np.arange(13) != 2)
    law = hg.fit.power_law(x[others], y[others], bootstraps=0)
    assert found.spread[2] == pytest.approx(np.sqrt(np.sum(law.residuals**2) / (others.sum() - 3)), rel=0.05)


def test_what_irregular_cannot_do():
    with pytest.raises(ArgumentError, match='leave must be "one" or "all"'):
        hg.fit.irregular(DEPTH, trials(0), leave="two")
    with pytest.raises(ArgumentError, match="level must lie in"):
        hg.fit.irregular(DEPTH, trials(0), level=95)
    with pytest.raises(FitError, match="the trials do not scatter"):
        hg.fit.irregular(DEPTH, 0.3 + 0.4 / DEPTH)
    with pytest.raises(FitError, match="without the trials at the x of trial 0: x has 2 distinct values"):
        hg.fit.irregular([1.0, 1.0, 2.0, 2.0, 4.0, 4.0], [1.0, 1.1, 0.8, 0.9, 0.6, 0.7], leave="all")
