"""Schedules from free values: what they are, and how the chain rule treats their gradients."""

import configparser
import sys
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from problems import classifier

import hypergrad as hg
from hypergrad import errors, schedules

MODEL, LOSS, PARAMS, X, T = classifier()
RNG = np.random.default_rng(0)
INTERVALS = [(0.0, 1.0), (-2.0, 3.5), (0.0, np.inf), (1.5, np.inf), (-np.inf, 2.0), (-np.inf, np.inf)]


@pytest.mark.parametrize(("bins", "steps"), [(1, 7), (3, 7), (7, 7), (4, 12)])
def test_binned_holds_each_value_for_about_as_many_steps_and_sums_their_gradients(bins, steps):
    values, weights = RNG.standard_normal(bins), RNG.standard_normal(steps)
    schedule = schedules.binned(values, steps)
    _, lengths = np.unique(
        np.searchsorted(np.cumsum(np.ones(bins)), np.arange(steps) * bins / steps, "right"), return_counts=True
    )
    np.testing.assert_array_equal(schedule, np.repeat(values, lengths))
    assert lengths.max() - lengths.min() <= 1 and len(lengths) == bins
    gradient = grad(lambda v: anp.dot(weights, schedules.binned(v, steps)))(values)
    np.testing.assert_allclose(gradient, np.add.reduceat(weights, np.r_[0, np.cumsum(lengths)[:-1]]), rtol=1e-12)


@pytest.mark.parametrize(("bins", "steps"), [(1, 7), (3, 7), (7, 7), (4, 12)])
def test_bin_means_is_an_orthogonal_projection(bins, steps):
    schedule, weights = RNG.standard_normal(steps), RNG.standard_normal(steps)
    means = schedules.bin_means(schedule, bins)
    np.testing.assert_allclose(schedules.bin_means(means, bins), means, rtol=1e-12)
    assert np.dot(means, schedule - means) == pytest.approx(0.0, abs=1e-12)
    gradient = grad(lambda s: anp.dot(weights, schedules.bin_means(s, bins)))(schedule)
    np.testing.assert_allclose(gradient, schedules.bin_means(weights, bins), rtol=1e-12)


@pytest.mark.parametrize("width", [1, 3, 5, 99])
def test_moving_average_is_the_mean_of_what_the_window_holds(width):
    schedule = RNG.standard_normal(9)
    expected = [schedule[max(0, t - width // 2) : t + width // 2 + 1].mean() for t in range(9)]
    np.testing.assert_allclose(schedules.moving_average(schedule, width), expected, rtol=1e-12)


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_bounded_is_increasing_stays_inside_and_is_undone(low, high):
    free = np.linspace(-12.0, 12.0, 41)
    values = schedules.bounded(free, low, high)
    assert (np.diff(values) > 0).all() and (values > low).all() and (values < high).all()
    np.testing.assert_allclose(schedules.unbounded(values, low, high), free, rtol=1e-6, atol=1e-6)
    hg.testing.check_hypergradient(lambda x: anp.sum(schedules.bounded(x, low, high) ** 2), RNG.standard_normal(4))
    hg.testing.check_hypergradient(
        lambda x: anp.sum(anp.sin(schedules.unbounded(x, low, high))),
        schedules.bounded(RNG.standard_normal(4), low, high),
    )


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_far_out_bounded_neither_overflows_nor_leaves_the_interval(low, high):
    far = schedules.bounded(np.array([-1e3, 1e3]), low, high)
    assert np.isfinite(far).all() and (far >= low).all() and (far <= high).all()
    assert np.isfinite(grad(lambda x: anp.sum(schedules.bounded(x, low, high)))(np.array([-1e3, 1e3]))).all()


def test_hypergradient_of_schedules_from_free_values():
    def objective(free):
        lr = anp.exp(schedules.moving_average(schedules.bin_means(free["log_lr"], 4), 3))
        momentum = schedules.bounded(schedules.binned(free["momentum"], 9), 0.0, 1.0)
        return MODEL.loss(hg.train(LOSS, PARAMS, hg.SGD(lr, momentum), steps=9), X, T)

    hg.testing.check_hypergradient(objective, {"log_lr": RNG.standard_normal(9) - 1.0, "momentum": np.zeros(3)})


def heavy_ball(lr, momentum, steps):
    """u ← μ u + g, w ← w − η u, with the functions of the step that export returns."""
    w = np.array([3.0, -1.0])
    u, curvature = np.zeros(2), np.array([0.2, 1.0])
    for step in range(steps):
        u = (0.0 if momentum is None else momentum(step)) * u + curvature * w
        w = w - lr(step) * u
    return w


@pytest.mark.parametrize(
    ("lr", "momentum"),
    [
        (0.3, None),
        (0.3, 0.9),
        (np.linspace(1.0, 0.1, 50), 0.8),
        (0.4, np.linspace(0.0, 0.95, 50)),
        (np.linspace(1.0, 0.1, 50), np.linspace(0.95, 0.3, 50)),
    ],
)
def test_exported_functions_make_the_same_steps_in_the_other_form_of_momentum(lr, momentum):
    quadratic = lambda w, hyper, step: 0.5 * anp.sum(np.array([0.2, 1.0]) * w**2)
    optimizer = hg.SGD(lr, 0.0 if momentum is None else momentum)
    expected = hg.train(quadratic, np.array([3.0, -1.0]), optimizer, steps=50)
    exported = schedules.export(lr, momentum, to="function")
    np.testing.assert_allclose(heavy_ball(*exported, 50), expected, rtol=1e-12, atol=1e-13)
    assert exported.lr(49) == exported.lr(50) == exported.lr(10**6), "after the end the last value"


def test_exported_functions_of_nests_return_nests():
    rate = np.array([1.0, 0.5])
    lr, momentum = schedules.export({"W": rate, "b": [0.1, 0.2]}, {"W": 0.5, "b": 0.9}, to="function")
    assert lr(1) == {"W": 0.25, "b": pytest.approx([0.01, 0.02])}
    assert momentum(0) == {"W": 0.5, "b": [0.9, 0.9]}
    lr, momentum = schedules.export(2.0, [0.5, 0.75], to="function")
    assert lr(0) == [1.0, 0.5] and momentum(7) == [0.5, 0.75]


@pytest.mark.parametrize("library", ["torch", "optax"])
def test_a_missing_library_is_named_with_its_extra(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(errors.MissingExtraError, match=rf"needs {library}.*pip install -e '\.\[{library}\]'"):
        schedules.export(0.1, 0.9, to=library)
    extras = configparser.ConfigParser()
    extras.read(Path(__file__).parent.parent / "setup.cfg")
    assert library in extras["options.extras_require"]
    assert schedules.export(0.1, to="function").lr(3) == 0.1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: schedules.export(0.1, to="keras"),
            errors.ArgumentError,
            "must be one of 'function', 'torch', 'optax'",
        ),
        (
            lambda: schedules.export(np.ones(3), np.full(4, 0.5), to="function"),
            errors.ScheduleError,
            "one length, got 3, 4",
        ),
        (
            lambda: schedules.export([np.ones(3), np.ones(4)], to="function"),
            errors.ScheduleError,
            "one length, got 3, 4",
        ),
        (
            lambda: schedules.export(np.ones((2, 2)), to="function"),
            errors.ScheduleError,
            r"lr must be .*shape \(2, 2\)",
        ),
        (
            lambda: schedules.export(1.0, {"w": 1.0}, to="function"),
            errors.ScheduleError,
            r"must lie in \[0, 1\), got 1\.0",
        ),
        (lambda: schedules.export([1.0, 2.0], {"w": 0.5}, to="function"), errors.NestError, "momentum is a dict"),
        (
            lambda: schedules.export(hg.PerWeight(np.ones(2)), to="function"),
            errors.ScheduleError,
            "a PerWeight: a rate",
        ),
        (lambda: schedules.export("fast", to="function"), errors.NestError, r"lr is a builtins\.str"),
        (lambda: schedules.export(1.0, to="function").lr(-1), errors.ArgumentError, "step must be an integer ≥ 0"),
        (
            lambda: grad(lambda lr: schedules.export(lr, to="function").lr(0))(1.0),
            errors.ArgumentError,
            "lr is being differentiated: export what was found",
        ),
        (lambda: schedules.binned(np.ones(5), 4), errors.ScheduleError, "5 bins, but the schedule only 4 steps"),
        (lambda: schedules.binned(np.ones((2, 2)), 4), errors.ScheduleError, r"values must be .* got shape \(2, 2\)"),
        (lambda: schedules.binned([1.0, 2.0], 4), errors.NestError, r"values is a builtins\.list"),
        (lambda: schedules.binned(np.ones(2), 4.0), errors.ArgumentError, "steps must be an integer ≥ 1"),
        (lambda: schedules.bin_means(np.ones(3), 4), errors.ScheduleError, "3 steps, too few for 4 bins"),
        (lambda: schedules.bin_means(np.ones(3), 0), errors.ArgumentError, "bins must be an integer ≥ 1"),
        (lambda: schedules.moving_average(np.ones(3), 2), errors.ScheduleError, "width must be odd.* got 2"),
        (lambda: schedules.moving_average(1.0, 3), errors.ScheduleError, r"got shape \(\)"),
        (lambda: schedules.moving_average(np.ones(0), 3), errors.ScheduleError, r"got shape \(0,\)"),
        (lambda: schedules.bounded(0.0, 1.0, 1.0), errors.ScheduleError, r"low must lie below high.*\(1\.0, 1\.0\)"),
        (lambda: schedules.bounded("x", 0.0, 1.0), errors.NestError, r"free is a builtins\.str"),
        (lambda: schedules.unbounded(1.0, 0.0, 1.0), errors.ScheduleError, r"must lie in \(0, 1\), got 1\.0"),
        (lambda: schedules.unbounded(np.nan, 0.0), errors.ScheduleError, r"must lie in \(0, inf\), got nan"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
