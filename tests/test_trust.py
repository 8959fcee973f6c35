"""The report on one derivative: verdicts where the answer is known, and what else it tells."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.tracer import getval
from problems import classifier

import hypergrad as hg
from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import runner
from hypergrad.chaos import trust
from hypergrad.errors import ArgumentError, NestError

MODEL, LOSS, PARAMS, X, T = classifier()


def objective(hypers, seed=0):
    params = hg.init.scaled_normal(MODEL.shapes, anp.exp(hypers["log_scale"]), seed)
    trained = hg.train(LOSS, params, hg.SGD(anp.exp(hypers["log_lr"])), steps=10)
    return MODEL.loss(trained, X, T)


HYPERS = {"log_scale": -0.7, "log_lr": np.full(10, -1.0)}


def test_a_smooth_function_is_trusted_as_far_as_it_is_straight():
    report = trust(anp.sin, 0.3)
    assert report.verdict == "trust" and report.scale == report.distances[-1] == pytest.approx(0.128)
    assert report.derivative == pytest.approx(np.cos(0.3)) and report.mismatch.max() < 0.01
    wavy = trust(lambda x: anp.sin(30.0 * x), 0.0)
    assert wavy.verdict == f"trust below {wavy.scale:.3g}" and 0.008 <= wavy.scale <= 0.064
    assert f"{wavy.scale:.3g}" in wavy.reason and wavy.nearby == "trust"


def test_the_verdict_is_about_the_step():
    """One sentence with the derivative and the slope of the difference; smooth at short range is not enough."""
    f = lambda x: 0.047 * x + 0.6 * anp.tanh(20.0 * (x - 0.06)) * (x > -1.0)
    flat = lambda x: 0.047 * x + 0.0575 * anp.tanh((x - 0.05) / 1e-3)
    report = trust(flat, 0.0, step=0.1)
    assert report.nearby == "trust" and report.verdict == f"trust below {report.scale:.3g}" and report.scale < 0.1
    assert report.step == 0.1 and report.derivative == pytest.approx(0.047)
    assert report.slope == pytest.approx((flat(0.1) - flat(-0.1)) / 0.2) == pytest.approx(0.622, rel=1e-3)
    assert "the derivative is 0.047 and the slope of the difference over ±0.1 is 0.622" in report.reason
    np.testing.assert_allclose(report.changes, [flat(-0.1) - flat(0.0), flat(0.1) - flat(0.0)])
    short = trust(flat, 0.0, step=0.01)
    assert short.verdict == "trust" and short.slope == pytest.approx(0.047)
    assert trust(f, 0.5, step=0.1).verdict == "trust" and trust(f, 0.5, step=1.0).verdict != "trust"
    assert trust(anp.sin, 0.3).step == pytest.approx(0.1) and trust(anp.sin, 0.3, distance=1e-4).step == 5e-3


def test_a_trend_is_trusted_only_over_steps_that_follow_it():
    stairs = lambda x: x + 1e-3 * np.sin(1e5 * getval(x))
    assert trust(stairs, 1.0, step=0.1).verdict.startswith("trust at scales above")
    report = trust(stairs, 1.0, step=0.004)
    assert report.verdict == "don't" and report.nearby.startswith("trust at scales above") and np.isnan(report.scale)
    assert "does not hold for this step" in report.reason


def test_a_step_downhill_over_a_minimum_is_told():
    report = trust(lambda x: (x - 0.02) ** 2, 0.0)
    assert report.verdict == "trust" and "passes a minimum" in report.reason
    assert "passes" not in trust(lambda x: (x - 0.2) ** 2, 0.0).reason


def test_what_is_not_finite_a_step_away_is_not_trusted():
    def f(x):
        return x * np.inf if getval(x) > 1.05 else x

    assert trust(f, 1.0, step=0.1).verdict == "trust below 0.032"


def test_the_mismatch_is_that_of_trapezoids():
    """For x³ around a the miss of a trapezoid is half the cube of its length, over 3 a² times the length."""
    report = trust(lambda x: x**3, 2.0)
    np.testing.assert_allclose(report.mismatch, report.distances**2 / 2 / 12, rtol=0.01)


def test_near_a_minimum_the_slope_around_counts():
    report = trust(lambda x: x**2 + 0.1 * x**3, 0.0)
    assert report.verdict == "trust"


def test_what_is_wilder_than_the_distance_is_not_trusted():
    report = trust(lambda x: anp.sin(1e6 * x), 0.3)
    assert report.verdict == "don't" and np.isnan(report.scale) and report.mismatch[0] > 0.3
    assert "misses the difference of f by" in report.reason
    assert trust(lambda x: anp.sin(1e6 * x), 0.3, distance=1e-8).verdict == "trust"


def test_a_trend_under_short_ripples_is_trusted_at_larger_scales():
    """The derivative is that of the trend; what is added is rounding of its own."""

    def stairs(x):
        return x + 1e-3 * np.sin(1e5 * getval(x))

    report = trust(stairs, 1.0)
    assert report.verdict == f"trust at scales above {report.scale:.3g}" and 0.01 < report.scale < 0.1
    assert (report.mismatch[report.distances >= report.scale] <= report.tolerance).all()


def test_an_island_in_chaos_is_not_trusted_but_the_shore_is():
    """Smooth from −0.01 to 0.01; and smooth below 0.01."""
    island = lambda x: x + 0.05 * anp.sin(1e5 * x) * (x**2 > 1e-4)
    report = trust(island, 0.0)
    assert report.verdict == "don't" and report.mismatch[0] < 1e-9 and "on either side, it misses" in report.reason
    assert report.beside.shape == (2, 4) and (report.beside[:, 1:] > 0.5).all()
    for sign in (1, -1):
        shore = lambda x, sign=sign: x + 0.05 * anp.sin(1e5 * x) * (sign * x > 0.01)
        report = trust(shore, 0.0)
        smooth, rough = report.beside[::sign]
        assert report.nearby == "trust" and smooth.max() < 1e-9 < 0.5 < rough[1:].min()
        assert report.verdict == "trust below 0.008", "a step of 0.1 goes into the rough"


@pytest.mark.parametrize("f", [lambda x: anp.sin(300.0 * x), lambda x: anp.exp(-((x / 0.012) ** 2))])
def test_what_is_just_smooth_enough_is_no_island(f):
    report = trust(f, 0.0, step=0.002)
    assert report.verdict == "trust" and report.scale == report.distances[0] and report.mismatch[0] > 0.01
    assert trust(f, 0.0).verdict == "trust below 0.002"


def test_what_is_not_finite_is_not_trusted():
    def f(x):
        return x * np.inf if getval(x) > 1.0 else x

    assert trust(f, 1.0).verdict == "don't"


def test_a_hypergradient_along_itself():
    """Along the gradient the derivative is its norm; the tangent's norms are those of the run."""
    report = trust(objective, HYPERS)
    gradient = grad(objective)(HYPERS)
    assert report.derivative == pytest.approx(np.sqrt(gradient["log_scale"] ** 2 + np.sum(gradient["log_lr"] ** 2)))
    assert report.verdict == "trust" and report.tangent_norms.shape == (10,) and np.isfinite(report.growth)
    last = np.log(report.tangent_norms[-1] / report.tangent_norms[4]) / 5
    assert report.growth == pytest.approx(last)


def test_directions():
    lr_alone = {"log_scale": 0.0, "log_lr": np.full(10, 2.0)}
    report = trust(objective, HYPERS, direction=lr_alone)
    expected = np.sum(grad(objective)(HYPERS)["log_lr"]) / np.sqrt(10)
    assert report.derivative == pytest.approx(expected)
    one, same, other = (trust(objective, HYPERS, direction="random", seed=s).derivative for s in (1, 1, 2))
    assert one == same != other


def test_seeds_and_float32_are_reported_where_f_takes_them():
    report = trust(objective, HYPERS, seeds=3, direction="random")
    assert report.by_seed.shape == (3,) and report.by_seed[0] == report.derivative and np.std(report.by_seed) > 0.0
    assert np.isnan(report.single)

    def in_either(log_lr, dtype=np.float64):
        params = hg.init.scaled_normal(MODEL.shapes, 0.5, 0, dtype)
        return MODEL.loss(hg.train(LOSS, params, hg.SGD(anp.exp(log_lr)), steps=5), X, T)

    report = trust(in_either, -1.0)
    assert report.single == pytest.approx(report.derivative, rel=1e-4) and report.single != report.derivative
    assert report.by_seed.size == 0


def test_the_tangent_grows_in_chaos_and_not_before():
    """Of descent on the loss whose step is the logistic map, at 3.2 and at 3.99."""
    loss = lambda w, r, step: anp.sum(w**2 / 2 - r * (w**2 / 2 - w**3 / 3))
    f = lambda r: anp.sum(hg.train(loss, np.array([0.3]), hg.SGD(1.0, 0.0), r, steps=60))
    assert trust(f, 3.2).growth < 0.05 and trust(f, 3.2).verdict == "trust"
    report = trust(f, 3.99)
    assert report.growth == pytest.approx(np.log(2.0), abs=0.25) and report.verdict == "don't"
    assert "its tangent grows by a factor" in report.reason


def test_the_points_of_january_are_flagged_past_the_edge_only():
    """At every 20th value of the recorded sweep."""
    _, results = runner.load(jan14, runner.FIGURES / "jan14_lr_wiggliness", 2)
    x, loss, gradient = results.values, results.loss[0, :, 0], results.gradient[0, :, 0]

    def f(value):
        i = int(np.argmin(np.abs(x - getval(value))))
        return loss[i] + gradient[i] * (value - getval(value))

    at = x[64:-64:20]
    reports = [trust(f, float(value), distance=float(x[1] - x[0])) for value in at]
    flagged = np.array([report.nearby != "trust" for report in reports])
    assert flagged[at > 1.9].all() and not flagged[at < 1.6].any()
    too_long = np.array([report.verdict != "trust" for report in reports])
    assert too_long[at > 1.5].all() and not too_long[at < 1.2].any(), (
        "where the derivative ripples, steps must be short"
    )


def test_plot(tmp_path):
    for f in (anp.sin, lambda x: anp.sin(1e6 * x)):
        report = trust(f, 0.3)
        figure = report.plot(xlabel="x")
        left, right = figure.axes
        assert left.get_xlabel() == "x" and right.get_xscale() == "log"
        figure.savefig(tmp_path / "trust.png")
        assert (tmp_path / "trust.png").stat().st_size > 10_000


rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: trust(anp.sin, 0.3, distance=0.0), ArgumentError, "distance must be a finite number above 0, got 0.0"),
        (lambda: trust(anp.sin, 0.3, tolerance=np.nan), ArgumentError, "tolerance must be"),
        (lambda: trust(anp.sin, 0.3, step=-0.1), ArgumentError, "step must be a finite number above 0, got -0.1"),
        (lambda: trust(anp.sin, np.inf), ArgumentError, "hypers is not finite"),
        (lambda: trust(anp.sin, 3), NestError, "integer"),
        (lambda: trust(lambda x: x * np.ones(2), 0.3), ArgumentError, r"shape \(2,\).*scalar"),
        (lambda: trust(lambda x: x * rng.random(), 1.0), ArgumentError, "not deterministic"),
        (lambda: trust(lambda x: 2.0, 1.0), ArgumentError, "does not depend"),
        (lambda: trust(objective, HYPERS, direction="up"), ArgumentError, "direction must be 'gradient', 'random' or"),
        (lambda: trust(objective, HYPERS, direction={"log_lr": np.ones(10)}), NestError, "direction is a dict"),
        (lambda: trust(objective, HYPERS, direction={"log_scale": 1.0, "log_lr": 1.0}), ArgumentError, "shapes"),
        (
            lambda: trust(objective, HYPERS, direction={"log_scale": 0.0, "log_lr": np.zeros(10)}),
            ArgumentError,
            "the direction is zero",
        ),
        (lambda: trust(anp.sin, 0.3, seeds=0), ArgumentError, "seeds must be an integer ≥ 1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
