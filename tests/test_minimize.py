"""Descents of hg.meta.minimize: methods, seeds, the third split, how they end, and when they are in doubt."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from descending import minimize, rosenbrock, wavy
from problems import classifier

import hypergrad as hg
from hypergrad import errors
from hypergrad.meta import TakeBack, maps

MODEL, LOSS, PARAMS, X, T = classifier()


def noisy(h, seed):
    draw = np.random.default_rng(seed).standard_normal(2)
    return anp.sum((h - draw) ** 2)


def trained_loss(h, callback=None):
    trained = hg.train(LOSS, PARAMS, hg.SGD(h["lr"], h["momentum"]), steps=4, callback=callback)
    return MODEL.loss(trained, X, T)


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


@pytest.mark.parametrize("method", ["CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_the_methods_of_scipy_find_the_minimum(method):
    result = minimize(rosenbrock, {"x": -1.0, "y": 2.0}, steps=500, method=method)
    assert result.hypers["x"] == pytest.approx(1.0, abs=1e-3) and result.reason.startswith(f"{method} ended: ")
    assert [e.iteration for e in result.history] == list(range(len(result.history)))
    few = minimize(rosenbrock, {"x": -1.0, "y": 2.0}, steps=6, method=method)
    assert len(few.history) == 7 and few.reason == "all steps were made"
    assert [e.value for e in few.history] == [e.value for e in result.history[:7]]


def test_a_method_of_scipy_comes_back_from_what_cannot_be_trained():
    def diverging(h):
        loss = lambda w, hyper, step: anp.sum(w**4)
        trained = hg.train(loss, np.ones(2), hg.SGD(anp.exp(h), 0.0), steps=40)
        return anp.sum(trained**2) - 20.0 * h

    result = minimize(diverging, -4.0, steps=25, method="L-BFGS-B")
    assert any(e.diverged_at >= 0 for e in result.history)
    assert all(e.taken_back == (e.diverged_at >= 0) for e in result.history) and result.value < result.history[0].value
    assert np.isfinite(result.value)


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


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_without_a_step_size_the_path_does_not_depend_on_the_unit_of_f(unit):
    f = lambda h: unit * anp.sum(np.array([1.0, 3.0]) * h**2)
    expected = minimize(lambda h: f(h) / unit, np.array([3.0, 1.0]), steps=12)
    found = minimize(f, np.array([3.0, 1.0]), steps=12)
    np.testing.assert_allclose(
        [e.hypers for e in found.history], [e.hypers for e in expected.history], rtol=1e-6, atol=1e-12
    )
    assert found.value < 1e-3 * found.history[0].value


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
