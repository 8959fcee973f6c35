"""What a descent keeps: it goes on from there, refuses what is of another, and loses nothing."""

from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from descending import minimize, rosenbrock

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import TakeBack, estimators, maps
from hypergrad.probe import CacheWarning


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


def test_the_line_search_is_stored_with_the_rest(tmp_path):
    calls = []
    f = lambda h: calls.append(1) or anp.sum(h**4)
    first = minimize(f, np.array([3.0, 1.0]), steps=3, store=tmp_path)
    before = len(calls)
    assert before > 5, "evaluations, the first value again, and the line search"
    again = minimize(f, np.array([3.0, 1.0]), steps=3, store=tmp_path, recheck=False)
    assert len(calls) == before and [e.value for e in again.history] == [e.value for e in first.history]


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
