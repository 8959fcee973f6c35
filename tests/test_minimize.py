"""Meta-optimisation as a whole: maps, bounds, random draws, validation, SciPy's methods, stops, doubts, trackers."""

from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import TakeBack, estimators, maps
from hypergrad.meta.objective import Mapping
from hypergrad.nests import flatten
from hypergrad.probe import CacheWarning

MODEL, LOSS, PARAMS, X, T = classifier()


def minimize(f, hypers, *, steps=4, **options):
    return hg.meta.minimize(f, hypers, steps=steps, progress=False, **options)


def rosenbrock(h):
    return (1.0 - h["x"]) ** 2 + 100.0 * (h["y"] - h["x"] ** 2) ** 2


def noisy(h, seed):
    draw = np.random.default_rng(seed).standard_normal(2)
    return anp.sum((h - draw) ** 2)


def trained_loss(h, callback=None):
    trained = hg.train(LOSS, PARAMS, hg.SGD(h["lr"], h["momentum"]), steps=4, callback=callback)
    return MODEL.loss(trained, X, T)


# Maps

positive = st.floats(0.01, 100.0)
MAPS = {
    "plain": (maps.plain(), lambda a: a),
    "log": (maps.log(), lambda a: np.exp(a)),
    "logit": (maps.logit(-1.0, 3.0), lambda a: -1.0 + 4.0 / (1.0 + np.exp(-a))),
    "softmax": (maps.softmax(), lambda a: np.exp(a) / np.exp(a).sum()),
    "increasing": (maps.monotone(), lambda a: np.cumsum(np.r_[a[0], np.exp(a[1:])])),
    "decreasing": (maps.monotone(False), lambda a: np.cumsum(np.r_[a[0], -np.exp(a[1:])])),
    "tied": (maps.tied(maps.log()), lambda a: np.exp(a)),
}


@pytest.mark.parametrize("name", MAPS)
@given(free=st.lists(st.floats(-3.0, 3.0), min_size=2, max_size=5))
@settings(max_examples=25)
def test_a_map_and_its_inverse(name, free):
    one, expected = MAPS[name]
    values = one.value([np.array(free)])
    np.testing.assert_allclose(values[0], expected(np.array(free)), rtol=1e-12)
    again = one.value(one.free(values, ["h"]))
    np.testing.assert_allclose(again[0], values[0], rtol=1e-9)


def test_steps_are_taken_on_the_free_variables_and_f_sees_the_others():
    f = lambda h: (anp.log(h["a"]) - 1.0) ** 2 + anp.sum(h["b"] ** 2)
    result = minimize(f, {"a": 2.0, "b": np.ones(2)}, step_size=0.25, maps={"a": maps.log(), "b": maps.plain()})
    free = np.log(2.0)
    for found in result.history:
        assert found.hypers["a"] == pytest.approx(np.exp(free), rel=1e-12)
        assert found.gradient["a"] == pytest.approx(2.0 * (free - 1.0), rel=1e-10)
        assert found.free["a"] == pytest.approx(free, rel=1e-12)
        free -= 0.25 * 2.0 * (free - 1.0)


def test_tied_leaves_move_together_along_the_mean():
    f = lambda h: (h["u"] - 1.0) ** 2 + 3.0 * (h["v"] + 1.0) ** 2
    result = minimize(f, {"u": 0.5, "v": 0.5}, steps=60, step_size=0.2, maps=maps.tied())
    assert result.hypers["u"] == result.hypers["v"] == pytest.approx(-0.5, abs=1e-6)  # of 4 h² + 4 h + 4
    assert result.history[1].hypers["u"] == pytest.approx(0.5 - 0.2 * (-1.0 + 9.0) / 2.0, rel=1e-12)


def test_a_simplex_and_a_monotone_schedule_stay_what_they_are():
    target = np.array([0.7, 0.2, 0.1])
    f = lambda h: anp.sum((h["p"] - target) ** 2) + anp.sum((h["s"] - np.array([3.0, 2.0, 2.5])) ** 2)
    start = {"p": np.full(3, 1 / 3), "s": np.array([1.0, 0.5, 0.1])}
    result = minimize(f, start, steps=300, method="L-BFGS-B", maps={"p": maps.softmax(), "s": maps.monotone(False)})
    np.testing.assert_allclose(result.hypers["p"], target, atol=1e-3)
    np.testing.assert_allclose(result.hypers["s"], [3.0, 2.25, 2.25], atol=1e-2)
    assert all(np.isclose(e.hypers["p"].sum(), 1.0) and np.all(np.diff(e.hypers["s"]) < 0.0) for e in result.history)


@pytest.mark.parametrize(
    ("given_maps", "message"),
    [
        (maps.log(), r"hypers\['a'\] is mapped by its logarithm and must be positive, got .*-1\.0"),
        ({"a": maps.logit(0.0, 1.0), "b": maps.plain()}, r"hypers\['a'\] must lie inside \(0, 1\)"),
        ({"a": maps.softmax(), "b": maps.plain()}, r"hypers\['a'\] is mapped by maps\.softmax"),
        ({"a": maps.monotone(), "b": maps.plain()}, r"hypers\['a'\] must be one-dimensional and increase"),
        (maps.tied(), r"hypers\['b'\] is tied to hypers\['a'\]"),
        ({"a": "log", "b": maps.plain()}, r"maps\['a'\] must be one of hypergrad\.meta\.maps.*got 'log'"),
    ],
)
def test_a_start_that_no_free_variable_leads_to_is_refused(given_maps, message):
    with pytest.raises(errors.ArgumentError, match=message):
        minimize(lambda h: h["a"] + h["b"], {"a": -1.0, "b": 2.0}, maps=given_maps)


@pytest.mark.parametrize("given", [{"a": maps.log()}, {"a": maps.log(), "b": None}])
def test_where_a_leaf_has_no_map_the_one_that_leaves_it_is_named(given):
    with pytest.raises(errors.NestError, match=r"'b'.*maps\.plain\(\) is the map of a leaf that stays as it is"):
        minimize(lambda h: h["a"] + h["b"], {"a": 1.0, "b": 2.0}, maps=given)


# Bounds


@pytest.mark.parametrize("options", [{"step_size": 0.5}, {"method": "L-BFGS-B"}, {"method": "SLSQP"}, {}])
@pytest.mark.parametrize("mapped", [None, maps.log()])
def test_steps_end_at_the_bounds(options, mapped):
    f = lambda h: anp.sum((h - np.array([5.0, 1.2, 0.1])) ** 2)
    result = minimize(f, np.ones(3), steps=60, bounds=(np.array([0.0, 0.5, 0.5]), 2.0), maps=mapped, **options)
    np.testing.assert_allclose(result.hypers, [2.0, 1.2, 0.5], rtol=1e-3)
    assert all(np.all((e.hypers <= 2.0 + 1e-12) & (e.hypers >= [0, 0.5 - 1e-12, 0.5 - 1e-12])) for e in result.history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": (0.0, 1.0)}, r"hypers\['b'\] starts outside its bounds: it is .*2\.0"),
        ({"bounds": {"a": 1.0}}, r"bounds must be a pair \(low, high\)"),
        ({"bounds": ({"a": np.nan, "b": 0.0}, 9.0)}, r"bounds\[0\]\['a'\] must be a number or an array"),
        ({"bounds": (-9.0, np.zeros(3))}, r"bounds\[1\] has shape \(3,\), but hypers\['a'\] has \(\)"),
        (
            {"bounds": (-9.0, 9.0), "maps": maps.tied(maps.softmax())},
            r"is mapped by maps\.tied\(maps\.softmax\(\)\), which mixes",
        ),
        ({"bounds": (-9.0, 9.0), "method": "BFGS"}, "BFGS takes no bounds; L-BFGS-B, TNC, SLSQP, trust-constr do"),
        ({"method": "Nelder-Mead"}, "method must be one of CG, BFGS"),
        ({"method": "BFGS", "step_size": 1.0}, "step_size: only for our own steps"),
        ({"method": "BFGS", "seeds": 2}, "fresh seeds make values of different functions"),
        ({"seeds": 0}, "seeds must be an integer ≥ 1, got 0"),
        ({"seeds": []}, r"seeds must be how many to draw .* got \[\]"),
        ({"seeds": [1, -2]}, r"seeds\[1\] must be an integer ≥ 0, got -2"),
        ({"n_jobs": 0}, "n_jobs must be a number of workers"),
        ({"on_chaos": "flee"}, "on_chaos must be None"),
        ({"tolerance": 2.0}, r"tolerance must lie in \[0, 1\), got 2\.0"),
        ({"patience": 0}, "patience must be an integer ≥ 1, got 0"),
        ({"validate": 3.0}, r"validate must be a function, got 3\.0"),
    ],
)
def test_bad_arguments_are_reported_before_f_is_called(options, message):
    def forbidden(*_):
        raise AssertionError("f was called")

    with pytest.raises(errors.ArgumentError, match=message):
        minimize(forbidden, {"a": 0.5, "b": 2.0}, **options)


def test_a_map_that_mixes_entries_takes_no_bounds():
    with pytest.raises(errors.ArgumentError, match=r"hypers is mapped by maps\.softmax\(\).*takes no bounds"):
        minimize(lambda h: h[0], np.array([0.5, 0.5]), maps=maps.softmax(), bounds=(0.1, 0.9))


# SciPy's methods


@pytest.mark.parametrize("method", ["CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_the_methods_of_scipy_find_the_minimum(method):
    result = minimize(rosenbrock, {"x": -1.0, "y": 2.0}, steps=500, method=method)
    assert result.hypers["x"] == pytest.approx(1.0, abs=1e-3) and result.reason.startswith(f"{method} ended: ")
    assert [e.iteration for e in result.history] == list(range(len(result.history)))
    few = minimize(rosenbrock, {"x": -1.0, "y": 2.0}, steps=6, method=method)
    assert len(few.history) == 7 and few.reason == "all steps were made"
    assert [e.value for e in few.history] == [e.value for e in result.history[:7]]


def test_a_method_of_scipy_goes_on_after_it_was_ended(tmp_path):
    calls = []

    def counted(h):
        calls.append(1)
        if len(calls) == 8:
            raise ZeroDivisionError
        return rosenbrock(h)

    start = {"x": -1.0, "y": 2.0}
    expected = minimize(rosenbrock, start, steps=20, method="L-BFGS-B")
    with pytest.raises(ZeroDivisionError):
        minimize(counted, start, steps=20, method="L-BFGS-B", store=tmp_path)
    found = minimize(counted, start, steps=20, method="L-BFGS-B", store=tmp_path)
    assert [e.value for e in found.history] == [e.value for e in expected.history]
    assert len(calls) == 8 + 1 + len(expected.history) - 6, "six were stored, and one of them is computed again"


def test_a_method_of_scipy_comes_back_from_what_cannot_be_trained():
    def diverging(h):
        loss = lambda w, hyper, step: anp.sum(w**4)
        trained = hg.train(loss, np.ones(2), hg.SGD(anp.exp(h), 0.0), steps=40)
        return anp.sum(trained**2) - 20.0 * h

    result = minimize(diverging, -4.0, steps=25, method="L-BFGS-B")
    assert any(e.diverged_at >= 0 for e in result.history)
    assert all(e.taken_back == (e.diverged_at >= 0) for e in result.history) and result.value < result.history[0].value
    assert np.isfinite(result.value)


def test_results_of_another_start_are_refused_and_left_alone(tmp_path):
    minimize(rosenbrock, {"x": -1.0, "y": 2.0}, step_size=1e-3, store=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for start in ({"x": 0.0, "y": 2.0}, {"x": np.zeros(2), "y": 2.0}):
        with pytest.raises(errors.OtherFunctionError, match="of a descent that starts elsewhere: give another"):
            minimize(rosenbrock, start, step_size=1e-3, store=tmp_path, recheck=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@dataclass(frozen=True)
class Mine(hg.Optimizer):
    """An optimizer of one's own, with a flag."""

    lr: Any
    squared: bool = False

    def init(self, w):
        return ()

    def step(self, w, s, g, h, step):
        return w - h.lr * (g**2 if self.squared else g), s


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ({"step_size": 0.25}, {"step_size": 0.2}, r"the step size of hypers\['a'\] was 0\.25 and is 0\.2 now"),
        (
            {"step_size": {"a": 0.2, "b": np.array([0.2, 0.1])}},
            {"step_size": {"a": 0.2, "b": np.array([0.2, 0.2])}},
            r"the step size of hypers\['b'\] was 0\.1 at \[1\] and is 0\.2 now; give",
        ),
        ({"step_size": 0.25}, {}, "step_size was given and is that of a line search now"),
        ({"optimizer": hg.Adam(0.1)}, {"optimizer": hg.RMSProp(0.1)}, r"optimizer was Adam\(.*and is RMSProp\("),
        ({"optimizer": hg.Adam(0.1)}, {"optimizer": hg.Adam(0.1, b1=0.5)}, r"b1 of hypers\['a'\] was 0\.9 and is 0\.5"),
        (
            {"optimizer": hg.Adam(0.1)},
            {"optimizer": hg.Adam(0.2)},
            r"the step size of hypers\['a'\] was 0\.1 and is 0\.2",
        ),
        (
            {"optimizer": Mine(0.1)},
            {"optimizer": Mine(0.1, squared=True)},
            r"squared=False\) and is Mine\(squared=True",
        ),
        ({"method": "L-BFGS-B"}, {"method": "BFGS"}, "method was L-BFGS-B and is BFGS now"),
        ({"method": "BFGS"}, {}, "method was BFGS and is steps of our own now"),
        ({"seeds": 2}, {"seeds": 3}, "seeds was 2 new ones at each iteration and is 3 new ones"),
        ({"seeds": [0, 1]}, {"seeds": [0, 2]}, r"seeds was \[0, 1\] and is \[0, 2\] now"),
        (
            {"take_back": TakeBack()},
            {"take_back": TakeBack(loss=2.0)},
            r"take_back was TakeBack\(loss=1\.1, .*loss=2\.0",
        ),
        ({"on_chaos": "stop"}, {"on_chaos": "shrink"}, "on_chaos was stop and is shrink now"),
        ({}, {"transform": lambda gradient: gradient}, "transform was none and is a function now"),
        ({"validate": lambda h: 0.0}, {}, "validate was a function and is none now"),
        (
            {"maps": maps.log()},
            {"maps": {"a": maps.log(), "b": maps.logit(0.0, 9.0)}},
            r"maps was .*maps\.logit\(0, 9\)",
        ),
        ({"bounds": (0.0, 9.0)}, {"bounds": (0.0, 8.0)}, r"the upper bound of hypers\['a'\] was 9\.0 and is 8\.0 now"),
        ({"bounds": (0.0, 9.0)}, {}, r"the lower bound of hypers\['a'\] was 0\.0 and is none now"),
    ],
)
def test_results_of_another_descent_are_refused_by_name_and_left_alone(tmp_path, then, now, says):
    """And the same descent goes on there, with more steps, workers or another way to end."""
    start = {"a": 1.0, "b": np.array([2.0, 3.0])}

    def f(h, seed=0):
        return anp.sum((h["b"] - seed) ** 2) + h["a"] ** 2

    expected = minimize(f, start, steps=3, store=tmp_path, **then)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for recheck in (True, False):
        with pytest.raises(errors.OtherFunctionError, match=says) as caught:
            minimize(f, start, steps=3, store=tmp_path, recheck=recheck, **now)
        assert f"the results in {tmp_path} are of another descent: " in str(caught.value)
        assert str(caught.value).endswith("; give another folder, delete this one, or give what was given then")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    longer = minimize(f, start, steps=4, store=tmp_path, patience=50, **then)
    assert [e.value for e in longer.history[:4]] == [e.value for e in expected.history]


def test_another_estimator_is_refused_and_more_workers_are_not(tmp_path):
    f = lambda h, seed: h**2
    of = lambda sigma, n_jobs=1: estimators.smoothed(f, sigma=sigma, samples=2, n_jobs=n_jobs)
    minimize(f, 1.0, steps=2, step_size=0.1, estimator=of(0.1), store=tmp_path)
    with pytest.raises(errors.OtherFunctionError, match=r"estimator was Smoothed\(.*and is Smoothed\("):
        minimize(f, 1.0, steps=2, step_size=0.1, estimator=of(0.2), store=tmp_path)
    minimize(f, 1.0, steps=2, step_size=0.1, estimator=of(0.1, n_jobs=2), store=tmp_path)


def test_another_transform_is_seen_where_the_path_parts(tmp_path):
    f, options = (lambda h: h**2), {"steps": 3, "step_size": 0.25, "store": tmp_path}
    minimize(f, 1.0, transform=lambda g: g, **options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    clipped = lambda g: np.clip(g, -0.7, 0.7)
    with pytest.raises(errors.OtherFunctionError, match="this one comes to other hyperparameters; a transform, "):
        minimize(f, 1.0, transform=clipped, **options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.warns(CacheWarning, match="it is of other hyperparameters"):
        found = minimize(f, 1.0, transform=clipped, recheck=False, **options)
    assert [e.hypers for e in found.history] == [
        e.hypers for e in minimize(f, 1.0, transform=clipped, **options).history
    ]


def test_what_was_kept_of_a_descent_without_an_iteration_binds_nobody(tmp_path):
    """It was killed before its first iteration was done; nor does a description that is damaged."""

    def broken(h):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        minimize(broken, 1.0, step_size=0.25, store=tmp_path)
    assert (tmp_path / "descent.npz").exists()
    minimize(lambda h: h**2, 1.0, step_size=0.1, store=tmp_path)
    (tmp_path / "descent.npz").write_bytes(b"")
    with pytest.warns(CacheWarning, match=r"description of a descent .*descent\.npz is not usable"):
        minimize(lambda h: h**2, 1.0, step_size=0.1, store=tmp_path)
    with pytest.raises(errors.OtherFunctionError, match=r"was 0\.1 and is 0\.2 now"):
        minimize(lambda h: h**2, 1.0, step_size=0.2, store=tmp_path)


# Random draws


def test_the_mean_over_fresh_seeds_and_its_standard_error():
    result = minimize(noisy, np.zeros(2), steps=3, seeds=4, step_size=0.1)
    for i, found in enumerate(result.history):
        values = np.array([noisy(found.hypers, seed) for seed in range(4 * i, 4 * i + 4)])
        gradients = np.array([grad(noisy)(found.hypers, seed) for seed in range(4 * i, 4 * i + 4)])
        assert found.value == pytest.approx(values.mean(), rel=1e-12)
        assert found.error == pytest.approx(values.std(ddof=1) / 2.0, rel=1e-12)
        np.testing.assert_allclose(found.gradient, gradients.mean(axis=0), rtol=1e-12)
        assert found.gradient_error == pytest.approx(np.linalg.norm(gradients.std(axis=0, ddof=1) / 2.0), rel=1e-12)


def test_a_list_of_seeds_makes_one_function_of_them():
    result = minimize(noisy, np.zeros(2), steps=60, seeds=[3, 5, 9], method="BFGS")
    draws = [np.random.default_rng(seed).standard_normal(2) for seed in (3, 5, 9)]
    np.testing.assert_allclose(result.hypers, np.mean(draws, axis=0), atol=1e-5)


def test_workers_change_no_bits():
    one, two = (minimize(noisy, np.zeros(2), seeds=4, step_size=0.1, n_jobs=jobs) for jobs in (1, 2))
    assert [(e.value, *e.gradient) for e in one.history] == [(e.value, *e.gradient) for e in two.history]


def test_a_function_that_is_none_is_noticed():
    rng = np.random.default_rng(0)
    with pytest.raises(
        errors.ArgumentError, match=r"f\(hypers\) must give the same value .* take random draws from a seed"
    ):
        minimize(lambda h: (h - rng.standard_normal()) ** 2, 1.0)
    with pytest.raises(errors.ArgumentError, match=r"f\(hypers, seed\) must give the same value"):
        minimize(lambda h, seed: (h - rng.standard_normal()) ** 2, 1.0, seeds=2)
    minimize(lambda h: (h - rng.standard_normal()) ** 2, 1.0, step_size=0.1, recheck=False)


# Validation and the third split


def test_the_best_is_chosen_by_validation_and_the_third_split_reported():
    tested = []
    f, validate = (lambda h: h**2), (lambda h: (h - 0.5) ** 2)
    test = lambda h: tested.append(h) or abs(h)
    result = minimize(f, 1.0, steps=6, step_size=0.25, validate=validate, test=test)
    assert [e.hypers for e in result.history[:3]] == [1.0, 0.5, 0.25]
    assert (result.hypers, result.value) == (0.5, 0.25) and tested == [1.0, 0.5]
    assert result.start == (1.0, 0.25, 1.0) and result.best == (0.25, 0.0, 0.5)
    lines = result.report().split("\n")
    assert lines[0].split() == ["optimized", "validated", "untouched"]
    assert lines[1].split() == ["start", "1", "0.25", "1"] and lines[2].split() == ["best", "0.25", "0", "0.5"]
    assert "untouched" not in minimize(f, 1.0, step_size=0.25).report()


@pytest.mark.parametrize(
    ("name", "f", "error", "message"),
    [
        ("validate", lambda h: np.nan, errors.NonFiniteHypergradientError, "the value of validate is not finite"),
        ("validate", lambda h: "low", errors.ArgumentError, "validate must return a number, got 'low'"),
        ("test", lambda h: np.inf, errors.NonFiniteHypergradientError, "the value of test is not finite"),
    ],
)
def test_what_validation_returns_is_checked_and_nothing_lost(tmp_path, name, f, error, message):
    later = lambda h: f(h) if h < 0.2 else 1.0
    with pytest.raises(error, match=message) as caught:
        minimize(lambda h: h**2, 1.0, steps=4, step_size=0.25, store=tmp_path, **{name: later})
    expected = [1.0, 0.5, 0.25] if name == "validate" else [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert [e.hypers for e in caught.value.history] == expected
    assert len(list(tmp_path.glob("iteration*.npz"))) == len(expected)


# Step sizes, stops


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_without_a_step_size_the_path_does_not_depend_on_the_unit_of_f(unit):
    f = lambda h: unit * anp.sum(np.array([1.0, 3.0]) * h**2)
    expected = minimize(lambda h: f(h) / unit, np.array([3.0, 1.0]), steps=12)
    found = minimize(f, np.array([3.0, 1.0]), steps=12)
    np.testing.assert_allclose(
        [e.hypers for e in found.history], [e.hypers for e in expected.history], rtol=1e-6, atol=1e-12
    )
    assert found.value < 1e-3 * found.history[0].value


def test_the_line_search_is_stored_with_the_rest(tmp_path):
    calls = []
    f = lambda h: calls.append(1) or anp.sum(h**4)
    first = minimize(f, np.array([3.0, 1.0]), steps=3, store=tmp_path)
    before = len(calls)
    assert before > 5, "evaluations, the first value again, and the line search"
    again = minimize(f, np.array([3.0, 1.0]), steps=3, store=tmp_path, recheck=False)
    assert len(calls) == before and [e.value for e in again.history] == [e.value for e in first.history]


def test_a_line_search_shrinks_where_the_first_try_is_too_far():
    result = minimize(lambda h: 1e4 * h**2, 0.01, steps=3)
    assert result.history[1].value < result.history[0].value


def test_it_ends_by_tolerance_patience_or_callback():
    f = lambda h: h**2
    by_norm = minimize(f, 1.0, steps=50, step_size=0.25, tolerance=0.1)
    assert len(by_norm.history) == 5 and by_norm.reason == "the norm of the hypergradient is down to 0.125"
    by_patience = minimize(f, 1.0, steps=50, step_size=1.0, patience=3)  # h ← −h
    assert len(by_patience.history) == 4 and by_patience.reason == "no new best in 3 evaluations"
    seen = []
    by_callback = minimize(f, 1.0, steps=50, step_size=0.25, callback=lambda e: seen.append(e) or len(seen) == 3)
    assert by_callback.history == seen and by_callback.reason == "the callback returned True"
    assert len(minimize(f, 1.0, steps=2, step_size=0.25, callback=lambda e: 1).history) == 3, "1 is not True"


def test_an_error_of_a_callback_has_a_name_and_loses_nothing(tmp_path):
    def tracker(evaluation):
        if evaluation.iteration == 2:
            raise OSError("no space left")

    with pytest.raises(
        errors.CallbackError, match="the callback raised OSError at meta-iteration 2: no space"
    ) as caught:
        minimize(lambda h: h**2, 1.0, step_size=0.25, callback=tracker, store=tmp_path)
    assert len(caught.value.history) == len(list(tmp_path.glob("iteration*.npz"))) == 3
    assert isinstance(caught.value.__cause__, OSError)


def test_ctrl_c_returns_what_was_found_and_a_second_one_raises():
    def interrupted(h):
        if h < 0.2:
            raise KeyboardInterrupt
        return h**2

    result = minimize(interrupted, 1.0, step_size=0.25)
    assert [e.hypers for e in result.history] == [1.0, 0.5, 0.25] and result.hypers == 0.25
    assert result.was_interrupted and result.reason == "interrupted after 3 of 5 evaluations"
    with pytest.raises(KeyboardInterrupt):
        minimize(interrupted, 1.0, step_size=0.25, test=interrupted_again)
    with pytest.raises(KeyboardInterrupt):
        minimize(interrupted, 0.1, step_size=0.25)


def interrupted_again(h):
    raise KeyboardInterrupt


# Doubts


def wavy(h):
    """A valley with ripples that no step over it sees."""
    return h**2 + 1e-3 * anp.sin(1e6 * h)


def test_a_hypergradient_that_does_not_describe_f_is_in_doubt():
    calm = minimize(lambda h: h**2, 1.0, step_size=0.1)
    assert not any(e.doubt for e in calm.history) and max(e.mismatch for e in calm.history[1:]) < 1e-9
    rough = minimize(wavy, 1.0, step_size=1e-4)
    doubted = sum("miss the difference of f by" in e.doubt for e in rough.history)
    assert doubted >= 2 and f"in doubt at {doubted} of them" in rough.report()
    stopped = minimize(wavy, 1.0, step_size=1e-4, on_chaos="stop")
    assert len(stopped.history) < 5 and stopped.reason.startswith(
        "the hypergradient is in doubt: the hypergradients at"
    )


def test_a_mean_below_its_standard_error_is_in_doubt():
    found = minimize(noisy, np.zeros(2), steps=40, seeds=6, step_size=0.2).history
    assert any("below its standard error over the seeds" in e.doubt for e in found)
    assert all(np.isnan(e.mismatch) for e in found), "of other draws nothing is known of a difference"
    assert minimize(noisy, np.zeros(2), steps=5, seeds=[1, 2], step_size=0.2).history[1].mismatch < 1e-9


def test_an_estimator_answers_where_there_is_doubt(tmp_path):
    asked = []

    def estimator(hypers, iteration):
        asked.append(iteration)
        return hypers**2, 2.0 * hypers, {"samples": 1}

    options = {"step_size": 0.25, "on_chaos": estimator, "store": tmp_path, "recheck": False}
    result = minimize(wavy, 1.0, steps=6, **options)
    later = result.history[2:]
    assert asked and all(e.answer == 2.0 * e.hypers for e in result.history if e.doubt)
    assert all(b.hypers == a.hypers - 0.25 * a.answer for a, b in zip(result.history[1:], later) if a.doubt)
    before = list(asked)
    again = minimize(wavy, 1.0, steps=6, **options)
    assert asked == before and [e.value for e in again.history] == [e.value for e in result.history]


def test_a_gradient_by_the_hyperparameters_is_pulled_back_through_the_maps():
    estimator = lambda hypers, iteration: (0.0, 2.0 * hypers)
    result = minimize(lambda h: wavy(h), 1.0, steps=3, step_size=0.1, maps=maps.log(), on_chaos=estimator)
    doubted = [e for e in result.history if e.doubt]
    assert doubted and all(e.answer == pytest.approx(2.0 * e.hypers**2, rel=1e-12) for e in doubted)


def test_tangents_that_grow_are_in_doubt():
    """The logistic map: w ← 4 w (1 − w) is chaotic, and w ← 2.5 w (1 − w) is not."""

    def after(rate):
        loss = lambda w, hyper, step: anp.sum(0.5 * w**2 - hyper * (w**2 / 2.0 - w**3 / 3.0))
        return anp.sum(hg.train(loss, np.array([0.3]), hg.SGD(1.0, 0.0), rate, steps=20))

    chaotic, calm = (minimize(after, rate, steps=0, on_chaos="stop").history[0] for rate in (4.0, 2.5))
    assert "a tangent grows by a factor" in chaotic.doubt and chaotic.growth > 1.0
    assert calm.growth < 1.0 and not calm.doubt
    assert np.isnan(minimize(after, 4.0, steps=0).history[0].growth)


def test_a_run_led_into_chaos_ends_at_its_best():
    f = lambda log_lr: trained_loss({"lr": anp.exp(log_lr), "momentum": 0.9})
    far = minimize(f, 0.0, steps=8, step_size=200.0, take_back=TakeBack())
    shrunk = minimize(f, 0.0, steps=8, step_size=200.0, on_chaos="shrink")
    for result in (far, shrunk):
        assert any(e.taken_back for e in result.history)
        assert result.value == min(e.value for e in result.history if not e.taken_back) < result.history[0].value
    assert all(e.taken_back or not e.doubt for e in shrunk.history)


def test_maps_are_declared_once_for_all_below():
    structure = flatten({"a": [1.0, 2.0], "b": 3.0})[1]
    mapping = Mapping.of({"a": maps.log(), "b": maps.plain()}, structure)
    assert mapping.groups == [[0, 1], [2]] and repr(mapping.map_of(1)) == "maps.log()"
